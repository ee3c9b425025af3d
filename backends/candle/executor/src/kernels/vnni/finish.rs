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

/// How sums scaled to real numbers become values of the output: known when kernels are compiled, so that nothing is
/// decided for each vector, and what there is to do is little enough to become part of the loops that do it.
pub(super) trait Ending {
    const SCALING: Scaling;
    /// The zero point is to be added.
    const MOVES: bool;
    /// Packing numbers to bytes saturates them, and that is not enough: the output may not be as little as 0 or as
    /// much as 255, or i32 does not hold all numbers.
    const CLAMPS: bool;
    /// A bias is to be added that is none of integers, which the sums begin with.
    const HAS_BIAS: bool;
}

/// What sums are scaled by besides the factors of their channels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scaling {
    /// Nothing.
    Factors,
    /// One over the scale of the output, which is as good as dividing.
    Inverse,
    /// The scale of the output, which divides them.
    Divisor,
}

macro_rules! endings {
    ($(
        $(#[$doc:meta])*
        $name:ident: $scaling:ident, $moves:literal, $clamps:literal, $has_bias:literal;
    )*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;
            impl Ending for $name {
                const SCALING: Scaling = Scaling::$scaling;
                const MOVES: bool = $moves;
                const CLAMPS: bool = $clamps;
                const HAS_BIAS: bool = $has_bias;
            }
        )*
    };
}

endings! {
    Packed: Factors, false, false, true;
    Moved: Factors, true, false, true;
    Clamped: Factors, true, true, true;
    /// What files have whose biases are integers.
    MovedInverse: Inverse, true, false, false;
    ClampedInverse: Inverse, true, true, true;
    Divided: Divisor, true, true, true;
}

/// Evaluates an expression in which `$ending` is the type of the [`Ending`] that a requantization needs.
macro_rules! with_ending {
    ($requantization:expr, $ending:ident => $expression:expr) => {{
        use crate::kernels::vnni::finish;
        match finish::needed($requantization) {
            (finish::Scaling::Factors, finish::Saturation::Packing) => {
                type $ending = finish::Packed;
                $expression
            }
            (finish::Scaling::Factors, finish::Saturation::Zero) => {
                type $ending = finish::Moved;
                $expression
            }
            (finish::Scaling::Factors, finish::Saturation::Clamping) => {
                type $ending = finish::Clamped;
                $expression
            }
            (finish::Scaling::Inverse, finish::Saturation::Packing | finish::Saturation::Zero)
                if !$requantization.has_bias =>
            {
                type $ending = finish::MovedInverse;
                $expression
            }
            (finish::Scaling::Inverse, _) => {
                type $ending = finish::ClampedInverse;
                $expression
            }
            (finish::Scaling::Divisor, _) => {
                type $ending = finish::Divided;
                $expression
            }
        }
    }};
}
pub(super) use with_ending;

/// What has to be done for a rounded number to become a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Saturation {
    /// Packing saturates.
    Packing,
    /// The same behind adding the zero point.
    Zero,
    /// See [`Ending::CLAMPS`].
    Clamping,
}

pub(super) fn needed(requantization: &Requantization) -> (Scaling, Saturation) {
    let Range { zero, low, high } = requantization.range;
    let saturation = match (requantization.bounded && (low, high) == (0.0, 255.0), zero) {
        (true, 0.0) => Saturation::Packing,
        (true, _) => Saturation::Zero,
        (false, _) => Saturation::Clamping,
    };
    let scaling = match (requantization.divisor, requantization.inverse) {
        (None, _) => Scaling::Factors,
        (Some(_), Some(_)) => Scaling::Inverse,
        (Some(_), None) => Scaling::Divisor,
    };
    (scaling, saturation)
}

/// The requantization of the channels of a panel; see [`Requantization`].
pub(super) struct Finish<const VECTORS: usize, E> {
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
    ending: PhantomData<E>,
}

impl<const VECTORS: usize, E: Ending> Finish<VECTORS, E> {
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
            divisor: match (E::SCALING, requantization.divisor) {
                (Scaling::Factors, _) | (_, None) => None,
                (_, Some(divisor)) => Some(Divisor::new(divisor, requantization.inverse)),
            },
            rest: [_mm512_setzero_ps(); VECTORS],
            high: _mm512_set1_ps(range.high - range.zero),
            zero: range.zero as i16,
            low: range.low as u8,
            ending: PhantomData,
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
            match E::HAS_BIAS {
                true => _mm512_fmadd_ps(self.bias[n % VECTORS], self.bias_factor, sums),
                false => sums,
            }
        };
        let product = |n: usize| {
            let real = real(n);
            let rest = _mm512_mul_ps(real, self.rest[n % VECTORS]);
            _mm512_fmadd_ps(real, self.factor[n % VECTORS], rest)
        };
        // Each by itself: over a loop the compiler would keep all sums in memory.
        let scaled = match &self.divisor {
            Some(divisor) if E::SCALING != Scaling::Factors => {
                let scaled = |n: usize| match (E::SCALING, E::CLAMPS) {
                    (Scaling::Inverse, false) => divisor.by_inverse::<true>(product(n)),
                    (Scaling::Inverse, true) => divisor.by_inverse::<false>(product(n)),
                    _ => divisor.divide::<false>(product(n)),
                };
                [scaled(0), scaled(1), scaled(2), scaled(3)]
            }
            _ => {
                let scaled = |n: usize| _mm512_mul_ps(real(n), self.factor[n % VECTORS]);
                [scaled(0), scaled(1), scaled(2), scaled(3)]
            }
        };
        let rounded = |n: usize| self.rounded(scaled[n]);
        let words = |a: __m512i, b: __m512i| {
            let words = _mm512_packs_epi32(a, b);
            match E::MOVES {
                true => _mm512_adds_epi16(words, _mm512_set1_epi16(self.zero)),
                false => words,
            }
        };
        let (low, high) = (words(rounded(0), rounded(1)), words(rounded(2), rounded(3)));
        let bytes = _mm512_packus_epi16(low, high);
        match E::CLAMPS {
            true => _mm512_max_epu8(bytes, _mm512_set1_epi8(self.low.cast_signed())),
            false => bytes,
        }
    }

    /// Rounded numbers, without the zero point: perhaps less than what the output may be, and more only
    /// where saturation makes up for it. NaN is the least.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rounded(&self, mut scaled: __m512) -> __m512i {
        if E::CLAMPS {
            // Of a number and NaN it gives the second operand.
            scaled = _mm512_min_ps(self.high, scaled);
        }
        // Rounds half to even, which nothing in a Rust program may change. What i32 does not hold
        // becomes its least number.
        _mm512_cvtps_epi32(scaled)
    }
}
