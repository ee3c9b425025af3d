//! AVX-512: sums of integers as real numbers, and real numbers as integers.

use std::{
    arch::x86_64::{
        __m512, __m512i, _mm_loadu_si128, _mm512_add_epi32, _mm512_add_ps, _mm512_adds_epi16,
        _mm512_broadcast_i32x4, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmpneq_epi32_mask,
        _mm512_cvtps_epi32, _mm512_div_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps,
        _mm512_mask_shuffle_epi8, _mm512_max_epu8, _mm512_max_ps, _mm512_min_epu8, _mm512_min_ps,
        _mm512_mul_ps, _mm512_packs_epi32, _mm512_packus_epi16, _mm512_permutexvar_epi32,
        _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32,
        _mm512_storeu_si512, _mm512_sub_ps,
    },
    hint::black_box,
};

use super::{
    requantization::Range,
    scaling::{Addition, Scaling},
};

/// Numbers of a vector of floats.
const LANES: usize = 16;
/// Bytes of a vector.
const BYTES: usize = 64;

/// One over `divisor` as the sum of two numbers, where products with these are rounded to the same integers as
/// quotients: it is tried. They differ in their last place at most, so that only numbers matter whose quotient is as
/// near to the middle between two integers that bytes less a zero point may be.
#[target_feature(enable = "avx512f")]
pub(super) fn inverse(divisor: f32) -> Option<[f32; 2]> {
    if !IS_ORDINARY.contains(&divisor) {
        return None;
    }
    let high = 1.0 / divisor;
    let low = (1.0 / f64::from(divisor) - f64::from(high)) as f32;
    let inverse = [high, low].map(|part| _mm512_set1_ps(part));
    let divisor = _mm512_set1_ps(divisor);
    for first in (0..=256_u16).step_by(LANES) {
        let middles: [f32; LANES] =
            std::array::from_fn(|lane| f32::from(first) + lane as f32 + 0.5);
        // SAFETY: the array has the 16 numbers that are read.
        let middles = unsafe { _mm512_loadu_ps(middles.as_ptr()) };
        let middles = _mm512_castps_si512(_mm512_mul_ps(middles, divisor));
        for place in -4..=4 {
            // The next numbers. Those less than zero are rounded alike.
            let numbers = _mm512_add_epi32(middles, _mm512_set1_epi32(place));
            let numbers = _mm512_castsi512_ps(numbers);
            let expected = _mm512_cvtps_epi32(_mm512_div_ps(numbers, divisor));
            let found = _mm512_cvtps_epi32(times(numbers, inverse));
            if _mm512_cmpneq_epi32_mask(found, expected) != 0 {
                return None;
            }
        }
    }
    Some([high, low])
}

/// The divisors of which neither the inverse nor products with quotients leave the normal numbers.
const IS_ORDINARY: std::ops::Range<f32> = 1e-15..1e15;

/// Products with the sum of two numbers.
#[inline]
#[target_feature(enable = "avx512f")]
fn times(numbers: __m512, [high, low]: [__m512; 2]) -> __m512 {
    _mm512_fmadd_ps(numbers, high, _mm512_mul_ps(numbers, low))
}

/// What numbers are divided by before they are rounded to bytes.
#[derive(Clone, Copy)]
pub(super) struct Divisor {
    divisor: __m512,
    /// One over it; and what that lacks, where [`inverse`] has it.
    inverse: [__m512; 2],
    is_tried: bool,
    /// Beyond this a quotient is beyond all bytes.
    most: __m512,
    is_ordinary: bool,
}

impl Divisor {
    /// `tried` is what [`inverse`] gives for `divisor`, if it was called.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(divisor: f32, tried: Option<[f32; 2]>) -> Self {
        let [high, low] = tried.unwrap_or([1.0 / divisor, 0.0]);
        Self {
            divisor: _mm512_set1_ps(divisor),
            inverse: [_mm512_set1_ps(high), _mm512_set1_ps(low)],
            is_tried: tried.is_some(),
            most: _mm512_set1_ps(divisor * 1024.0),
            is_ordinary: IS_ORDINARY.contains(&divisor),
        }
    }

    /// What is rounded to the same integers as quotients of `numbers`, where these are no bytes beyond them: a
    /// division takes many times as long. `IS_BOUNDED` says that none is as large as infinity, or NaN.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn divide<const IS_BOUNDED: bool>(&self, numbers: __m512) -> __m512 {
        if !self.is_ordinary {
            return _mm512_div_ps(numbers, self.divisor);
        }
        if self.is_tried {
            return self.by_inverse::<IS_BOUNDED>(numbers);
        }
        let numbers = match IS_BOUNDED {
            true => numbers,
            false => self.clamped(numbers),
        };
        // After Markstein: a quotient within one unit of its last place is rounded as by a division by one step
        // with the inverse, which is rounded correctly itself. The first step makes it one.
        let inverse = self.inverse[0];
        let quotient = _mm512_mul_ps(numbers, inverse);
        let rest = _mm512_fnmadd_ps(quotient, self.divisor, numbers);
        let quotient = _mm512_fmadd_ps(rest, inverse, quotient);
        let rest = _mm512_fnmadd_ps(quotient, self.divisor, numbers);
        _mm512_fmadd_ps(rest, inverse, quotient)
    }

    /// [`Self::divide`] by a divisor whose inverse was tried.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn by_inverse<const IS_BOUNDED: bool>(&self, numbers: __m512) -> __m512 {
        let numbers = match IS_BOUNDED {
            true => numbers,
            false => self.clamped(numbers),
        };
        times(numbers, self.inverse)
    }

    /// Numbers whose quotients are beyond all bytes, as numbers whose quotients are so by little.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn clamped(&self, numbers: __m512) -> __m512 {
        // Of a number and NaN these give the second operand.
        let numbers = _mm512_min_ps(self.most, numbers);
        _mm512_max_ps(_mm512_sub_ps(_mm512_set1_ps(0.0), self.most), numbers)
    }
}

/// How real numbers become bytes.
struct Rounding {
    /// What they are divided by, or else multiplied by.
    divisor: Option<Divisor>,
    inverse: __m512,
    /// The largest byte; and that less the zero point, which is whole, so that clamping before rounding and after
    /// it is the same.
    high: __m512i,
    most: __m512,
    zero: __m512i,
    low: __m512i,
}

impl Rounding {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(scaling: Scaling, tried: Option<[f32; 2]>, range: Range) -> Self {
        let Range { zero, low, high } = range;
        let (divisor, inverse) = match scaling {
            Scaling::Over(scale) => (Some(Divisor::new(scale, tried)), 0.0),
            Scaling::By(inverse) => (None, inverse),
        };
        let byte = |byte: f32| _mm512_set1_epi8((byte as u8).cast_signed());
        Self {
            divisor,
            inverse: _mm512_set1_ps(inverse),
            high: byte(high),
            most: _mm512_set1_ps(high - zero),
            zero: _mm512_set1_epi16(zero as i16),
            low: byte(low),
        }
    }

    /// [`Range::round`] of four vectors of numbers, which are scaled before, one after the other. `IS_BOUNDED` says
    /// that i32 holds what they are rounded to.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn bytes<const IS_BOUNDED: bool>(&self, [a, b, c, d]: [__m512; 4]) -> __m512i {
        let [a, b, c, d] = match &self.divisor {
            Some(by) => {
                let scaled = |numbers: __m512| by.divide::<IS_BOUNDED>(numbers);
                [scaled(a), scaled(b), scaled(c), scaled(d)]
            }
            None => {
                let scaled = |numbers: __m512| _mm512_mul_ps(numbers, self.inverse);
                [scaled(a), scaled(b), scaled(c), scaled(d)]
            }
        };
        let round = |numbers: __m512| match IS_BOUNDED {
            true => _mm512_cvtps_epi32(numbers),
            // NaN passes, and becomes the least integer, as does what i32 does not hold.
            false => _mm512_cvtps_epi32(_mm512_min_ps(self.most, numbers)),
        };
        let words = |a: __m512i, b: __m512i| _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero);
        let (front, back) = (words(round(a), round(b)), words(round(c), round(d)));
        let bytes = _mm512_max_epu8(_mm512_packus_epi16(front, back), self.low);
        let bytes = _mm512_min_epu8(bytes, self.high);
        // Packing is within the parts of vectors: part p has the four numbers p of each of the four.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, bytes)
    }
}

/// See [`super::elementwise::add`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn add(addition: &Addition, left: Option<&[u8]>, right: &[u8], out: &mut [u8]) {
    let [a, b] = addition.scales;
    let most = addition.scaling.apply(256.0 * (a + b));
    // Not so for NaN.
    let is_bounded = most < (1_u32 << 30) as f32;
    // fbgemm dequantizes with one fused multiply-add.
    match (addition.scaling, is_bounded) {
        (Scaling::Over(_), false) => add_each::<false, false>(addition, left, right, out),
        (Scaling::Over(_), true) => add_each::<false, true>(addition, left, right, out),
        (Scaling::By(_), false) => add_each::<true, false>(addition, left, right, out),
        (Scaling::By(_), true) => add_each::<true, true>(addition, left, right, out),
    }
}

/// 2^23 as a float.
const BASE: i32 = 0x4b00_0000;
/// Of each lane of 32 bits.
const LAST_BYTES: u64 = 0x1111_1111_1111_1111;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_each<const IS_FUSED: bool, const IS_BOUNDED: bool>(
    addition: &Addition,
    left: Option<&[u8]>,
    right: &[u8],
    out: &mut [u8],
) {
    let rounding = Rounding::new(addition.scaling, addition.inverse, addition.range);
    let [a, b] = addition.scales;
    let [c, d] = addition.zeros;
    let scales = [_mm512_set1_ps(a), _mm512_set1_ps(b)];
    let offsets = [_mm512_set1_ps(a * -c), _mm512_set1_ps(b * -d)];
    // A float whose last bits are a byte is as much more than 2^23: taking that away, and a zero point with it, is exact.
    let base = f32::from_bits(BASE.cast_unsigned());
    let [c, d] = match IS_FUSED {
        true => [base; 2],
        false => [base + c, base + d],
    };
    let bases = [_mm512_set1_ps(c), _mm512_set1_ps(d)];
    let order = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // A compiler that knew the order would make five instructions of each shuffle, which take half as long again.
    let order = black_box(order);
    let sums = |left: &[u8; BYTES], right: &[u8; BYTES]| {
        let load = |values: &[u8; BYTES], vector: usize| {
            // SAFETY: each quarter of the array has the 16 bytes that are read.
            let bytes = unsafe { _mm_loadu_si128(values.as_ptr().add(vector * LANES).cast()) };
            let bytes = _mm512_broadcast_i32x4(bytes);
            let base = _mm512_set1_epi32(BASE);
            _mm512_castsi512_ps(_mm512_mask_shuffle_epi8(base, LAST_BYTES, bytes, order))
        };
        let number = |values, vector, operand: usize| {
            let number = _mm512_sub_ps(load(values, vector), bases[operand]);
            match IS_FUSED {
                true => _mm512_fmadd_ps(number, scales[operand], offsets[operand]),
                false => _mm512_mul_ps(number, scales[operand]),
            }
        };
        let sum = |vector| _mm512_add_ps(number(left, vector, 0), number(right, vector, 1));
        rounding.bytes::<IS_BOUNDED>([sum(0), sum(1), sum(2), sum(3)])
    };
    let (rights, right) = right.as_chunks();
    let (outs, out) = out.as_chunks_mut();
    let left = match left {
        Some(left) => {
            let (lefts, left) = left.as_chunks();
            for (out, (left, right)) in outs.iter_mut().zip(lefts.iter().zip(rights)) {
                store(sums(left, right), out);
            }
            padded(left)
        }
        None => {
            for (out, right) in outs.iter_mut().zip(rights) {
                store(sums(out, right), out);
            }
            padded(out)
        }
    };
    let mut last = [0; BYTES];
    store(sums(&left, &padded(right)), &mut last);
    out.copy_from_slice(&last[..out.len()]);
}

/// See [`super::elementwise::quantize`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn quantize(scaling: Scaling, range: Range, values: &[f32], out: &mut [u8]) {
    let rounding = Rounding::new(scaling, None, range);
    let bytes = |values: &[f32; BYTES]| {
        // SAFETY: each quarter of the array has the 16 numbers that are read.
        let load = |vector: usize| unsafe { _mm512_loadu_ps(values.as_ptr().add(vector * LANES)) };
        rounding.bytes::<false>([load(0), load(1), load(2), load(3)])
    };
    let (whole, values) = values.as_chunks();
    let (outs, out) = out.as_chunks_mut();
    for (out, values) in outs.iter_mut().zip(whole) {
        store(bytes(values), out);
    }
    let mut last = [0; BYTES];
    store(bytes(&padded(values)), &mut last);
    out.copy_from_slice(&last[..out.len()]);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: __m512i, out: &mut [u8; BYTES]) {
    // SAFETY: the array has the 64 bytes that are written.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), bytes) };
}

/// The last values, fewer than a whole array.
fn padded<T: Copy + Default>(values: &[T]) -> [T; BYTES] {
    let mut padded = [T::default(); BYTES];
    for (padded, &value) in padded.iter_mut().zip(values) {
        *padded = value;
    }
    padded
}
