//! Vectors of floats: what the kernels are written in, once for all instruction sets.

use std::arch::x86_64::*;

/// A vector of an instruction set.
///
/// # Safety of its functions
/// The processor has the instruction set, and memory is there for all lanes that are loaded or stored: those
/// that a mask leaves out are not touched, and may lie outside of what is allocated.
pub trait Lanes: Copy {
    const LANES: usize;
    /// Lanes from one on and before another.
    type Mask: Copy;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The lanes `from..to`; both may lie outside of the vector.
    unsafe fn mask(from: isize, to: isize) -> Self::Mask;
    /// Zero where the mask is not.
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self;
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask);
    /// `self · by + to`, rounded once.
    unsafe fn times_plus(self, by: Self, to: Self) -> Self;
    /// The greater; `other` where one is no number.
    unsafe fn at_least(self, other: Self) -> Self;
    /// The smaller; `other` where one is no number.
    unsafe fn at_most(self, other: Self) -> Self;
    /// Every other value of this vector and the next, from the first on.
    unsafe fn evens(self, next: Self) -> Self;
}

#[derive(Clone, Copy)]
pub struct Ymm(__m256);

#[derive(Clone, Copy)]
pub struct Zmm(__m512);

impl Lanes for Ymm {
    const LANES: usize = 8;
    type Mask = __m256i;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the trait asks of the caller.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn mask(from: isize, to: isize) -> Self::Mask {
        let [from, to] = [from, to].map(|lane| lane.clamp(0, 8) as i32);
        // SAFETY: as the trait asks of the caller.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_and_si256(
                _mm256_cmpgt_epi32(lanes, _mm256_set1_epi32(from - 1)),
                _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lanes),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm256_maskload_ps(from, mask)) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask) {
        // SAFETY: as the trait asks of the caller.
        unsafe { _mm256_maskstore_ps(to, mask, self.0) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, by: Self, to: Self) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm256_fmadd_ps(self.0, by.0, to.0)) }
    }

    #[inline(always)]
    unsafe fn at_least(self, other: Self) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn at_most(self, other: Self) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm256_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn evens(self, next: Self) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe {
            // Of both halves of both vectors in turn; then in order.
            let mixed = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(self.0, next.0));
            Self(_mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(
                mixed,
            )))
        }
    }
}

impl Lanes for Zmm {
    const LANES: usize = 16;
    type Mask = __mmask16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the trait asks of the caller.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn mask(from: isize, to: isize) -> Self::Mask {
        let below = |lane: isize| ((1_u32 << lane.clamp(0, 16)) - 1) as u16;
        below(to) & !below(from)
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm512_maskz_loadu_ps(mask, from)) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: Self::Mask) {
        // SAFETY: as the trait asks of the caller.
        unsafe { _mm512_mask_storeu_ps(to, mask, self.0) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, by: Self, to: Self) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm512_fmadd_ps(self.0, by.0, to.0)) }
    }

    #[inline(always)]
    unsafe fn at_least(self, other: Self) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn at_most(self, other: Self) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn evens(self, next: Self) -> Self {
        // SAFETY: as the trait asks of the caller.
        unsafe {
            let places =
                _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            Self(_mm512_permutex2var_ps(self.0, places, next.0))
        }
    }
}
