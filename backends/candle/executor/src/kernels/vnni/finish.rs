//! How sums become bytes.

use std::{
    arch::x86_64::{
        __m512, __m512i, _mm512_adds_epi16, _mm512_cvtepi32_ps, _mm512_cvtps_epi32,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_epu8, _mm512_min_ps,
        _mm512_mul_ps, _mm512_packs_epi32, _mm512_packus_epi16, _mm512_set1_epi8,
        _mm512_set1_epi16, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    },
    marker::PhantomData,
};

use crate::kernels::{
    avx512::Divisor,
    panel::PANEL,
    requantization::{Range, Requantization},
};

/// What has to be done besides for a rounded number to become a value of the output. Packing numbers to
/// bytes saturates them anyway.
pub(super) trait Saturation {
    /// The zero point is to be added.
    const MOVES: bool;
    /// The output may not be as little as 0 or as much as 255, or i32 does not hold all numbers.
    const CLAMPS: bool;
}

pub(super) struct ByPacking;
impl Saturation for ByPacking {
    const MOVES: bool = false;
    const CLAMPS: bool = false;
}

pub(super) struct WithZero;
impl Saturation for WithZero {
    const MOVES: bool = true;
    const CLAMPS: bool = false;
}

pub(super) struct Clamped;
impl Saturation for Clamped {
    const MOVES: bool = true;
    const CLAMPS: bool = true;
}

/// Which [`Saturation`] a requantization needs.
pub(super) enum Needed {
    Nothing,
    Zero,
    Clamping,
}

pub(super) fn needed(requantization: &Requantization) -> Needed {
    let Range { zero, low, high } = requantization.range;
    match (requantization.bounded && (low, high) == (0.0, 255.0), zero) {
        (true, 0.0) => Needed::Nothing,
        (true, _) => Needed::Zero,
        (false, _) => Needed::Clamping,
    }
}

/// The requantization of the channels of a panel; see [`Requantization`].
pub(super) struct Finish<const VECTORS: usize, S> {
    /// What sums of products begin with.
    pub(super) correction: [__m512i; VECTORS],
    bias: [__m512; VECTORS],
    factor: [__m512; VECTORS],
    bias_factor: __m512,
    divisor: Option<Divisor>,
    /// Where there is a divisor, as is [`Requantization::rest`].
    rest: [__m512; VECTORS],
    /// Of the output, less the zero point: whole numbers, so that clamping before rounding and after
    /// it is the same.
    high: __m512,
    /// At most 255, as are the values of the output.
    zero: i16,
    low: u8,
    saturation: PhantomData<S>,
}

impl<const VECTORS: usize, S: Saturation> Finish<VECTORS, S> {
    /// For the lanes from `first` on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(requantization: &Requantization, first: usize) -> Self {
        let range = &requantization.range;
        let mut finish = Self {
            correction: [_mm512_setzero_si512(); VECTORS],
            bias: [_mm512_setzero_ps(); VECTORS],
            factor: [_mm512_setzero_ps(); VECTORS],
            bias_factor: _mm512_set1_ps(requantization.bias_factor),
            divisor: requantization
                .divisor
                .map(|divisor| Divisor::new(divisor, requantization.inverse)),
            rest: [_mm512_setzero_ps(); VECTORS],
            high: _mm512_set1_ps(range.high - range.zero),
            zero: range.zero as i16,
            low: range.low as u8,
            saturation: PhantomData,
        };
        for vector in 0..VECTORS {
            let first = first + vector * PANEL;
            let correction = &requantization.correction[first..][..PANEL];
            let bias = &requantization.bias[first..][..PANEL];
            let factor = &requantization.factor[first..][..PANEL];
            // SAFETY: each slice has the 64 bytes that are read.
            unsafe {
                finish.correction[vector] = _mm512_loadu_si512(correction.as_ptr().cast());
                finish.bias[vector] = _mm512_loadu_ps(bias.as_ptr());
                finish.factor[vector] = _mm512_loadu_ps(factor.as_ptr());
            }
            if requantization.divisor.is_some() {
                let rest = &requantization.rest[first..][..PANEL];
                // SAFETY: as above.
                finish.rest[vector] = unsafe { _mm512_loadu_ps(rest.as_ptr()) };
            }
        }
        finish
    }

    /// [`Requantization::apply`] on sums that began with the correction: of the vectors of a panel, one
    /// row after the other until they are four.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn bytes(&self, sums: &[__m512i; 4]) -> __m512i {
        let real = |n: usize| {
            let sums = _mm512_cvtepi32_ps(sums[n]);
            _mm512_fmadd_ps(self.bias[n % VECTORS], self.bias_factor, sums)
        };
        // Each by itself: over a loop the compiler would keep all sums in memory.
        let scaled = match &self.divisor {
            None => {
                let scaled = |n: usize| _mm512_mul_ps(real(n), self.factor[n % VECTORS]);
                [scaled(0), scaled(1), scaled(2), scaled(3)]
            }
            Some(divisor) => {
                let scaled = |n: usize| {
                    let real = real(n);
                    let rest = _mm512_mul_ps(real, self.rest[n % VECTORS]);
                    let product = _mm512_fmadd_ps(real, self.factor[n % VECTORS], rest);
                    match S::CLAMPS {
                        true => divisor.divide::<false>(product),
                        false => divisor.divide::<true>(product),
                    }
                };
                [scaled(0), scaled(1), scaled(2), scaled(3)]
            }
        };
        let rounded = |n: usize| self.rounded(scaled[n]);
        let words = |a: __m512i, b: __m512i| {
            let words = _mm512_packs_epi32(a, b);
            match S::MOVES {
                true => _mm512_adds_epi16(words, _mm512_set1_epi16(self.zero)),
                false => words,
            }
        };
        let (low, high) = (words(rounded(0), rounded(1)), words(rounded(2), rounded(3)));
        let bytes = _mm512_packus_epi16(low, high);
        match S::CLAMPS {
            true => _mm512_max_epu8(bytes, _mm512_set1_epi8(self.low.cast_signed())),
            false => bytes,
        }
    }

    /// Rounded numbers, without the zero point: perhaps less than what the output may be, and more only
    /// where saturation makes up for it. NaN is the least.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rounded(&self, mut scaled: __m512) -> __m512i {
        if S::CLAMPS {
            // Of a number and NaN it gives the second operand.
            scaled = _mm512_min_ps(self.high, scaled);
        }
        // Rounds half to even, which nothing in a Rust program may change. What i32 does not hold
        // becomes its least number.
        _mm512_cvtps_epi32(scaled)
    }
}
