//! AVX-512 VNNI: `vpdpbusd` adds four products of u8 and i8 to an i32, without saturation.
//!
//! Four vectors of sums, of 16 channels each, become 64 bytes by packing within the 128-bit parts of
//! vectors, and bytes of four rows become quads by unpacking within them. So that the bytes are in
//! order, part p of vector v holds the channels from `16 p + 4 v` on; see [`position`].

mod depthwise;
mod finish;
mod matrix;

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256, _mm256_storeu_si256,
    _mm512_castsi128_si512, _mm512_castsi256_si512, _mm512_castsi512_si128, _mm512_castsi512_si256,
    _mm512_extracti32x4_epi32, _mm512_extracti64x4_epi64, _mm512_inserti32x4, _mm512_inserti64x4,
    _mm512_load_si512, _mm512_loadu_si512, _mm512_storeu_si512,
};

use bytemuck::{Pod, Zeroable};

pub use depthwise::{Blocks, blocks, depthwise, in_pairs, in_registers};
pub use matrix::{matrix, panels};

use super::panel::{PANEL, QUAD};

/// Bytes of a vector.
const BYTES: usize = 64;

/// A vector of bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Quad([[i8; QUAD]; PANEL]);

impl Quad {
    /// From the weights of four k, or of four rows of a window, by lane.
    pub fn new(weights: &[[i8; QUAD]; PANEL]) -> Self {
        Self(*weights)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(&self) -> __m512i {
        // SAFETY: the array has 64 bytes and, by its type, their alignment.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }
}

/// Which of the values of a panel of `vectors` a lane of one of them has.
fn position(vectors: usize, vector: usize, lane: usize) -> usize {
    lane / 4 * 4 * vectors + vector * 4 + lane % 4
}

/// A vector of equally many bytes from `PIXELS` places, each `step` after the one before.
///
/// # Safety
/// The bytes are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn gather<const PIXELS: usize>(first: *const u8, step: usize) -> __m512i {
    // SAFETY: the caller says so.
    unsafe {
        match PIXELS {
            _ if step == BYTES / PIXELS => _mm512_loadu_si512(first.cast()),
            1 => _mm512_loadu_si512(first.cast()),
            2 => {
                let half = |place: usize| _mm256_loadu_si256(first.add(place * step).cast());
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half(0)), half(1))
            }
            _ => {
                let quarter = |place: usize| _mm_loadu_si128(first.add(place * step).cast());
                let values = _mm512_castsi128_si512(quarter(0));
                let values = _mm512_inserti32x4::<1>(values, quarter(1));
                let values = _mm512_inserti32x4::<2>(values, quarter(2));
                _mm512_inserti32x4::<3>(values, quarter(3))
            }
        }
    }
}

/// Writes equally many bytes of a vector to `PIXELS` places, each `step` after the one before.
///
/// # Safety
/// There is room for them.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn scatter<const PIXELS: usize>(bytes: __m512i, first: *mut u8, step: usize) {
    // SAFETY: the caller says so.
    unsafe {
        match PIXELS {
            // Nothing lies between the places.
            _ if step == BYTES / PIXELS => _mm512_storeu_si512(first.cast(), bytes),
            1 => _mm512_storeu_si512(first.cast(), bytes),
            2 => {
                let to = |place: usize| first.add(place * step).cast();
                _mm256_storeu_si256(to(0), _mm512_castsi512_si256(bytes));
                _mm256_storeu_si256(to(1), _mm512_extracti64x4_epi64::<1>(bytes));
            }
            _ => {
                let to = |place: usize| first.add(place * step).cast();
                _mm_storeu_si128(to(0), _mm512_castsi512_si128(bytes));
                _mm_storeu_si128(to(1), _mm512_extracti32x4_epi32::<1>(bytes));
                _mm_storeu_si128(to(2), _mm512_extracti32x4_epi32::<2>(bytes));
                _mm_storeu_si128(to(3), _mm512_extracti32x4_epi32::<3>(bytes));
            }
        }
    }
}
