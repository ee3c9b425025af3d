//! AVX2: `vpmaddwd` on values widened to 16 bits, whose sums of two products are exact in i32.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_cvtepu8_epi16,
    _mm256_load_si256, _mm256_madd_epi16, _mm256_permute2x128_si256, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi16,
    _mm256_unpacklo_epi16,
};

use super::{
    Requantization,
    depthwise::Taps,
    matrix::{Output, PANEL, QUAD, Rows},
};

/// Rows that are computed together: 8 accumulators and 6 operands of the 16 registers.
const ROWS: usize = 4;

/// Sixteen 16-bit weights, one register.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
struct Register([i16; 16]);

impl Register {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(&self) -> __m256i {
        // SAFETY: the array has 32 bytes and, by its type, their alignment.
        unsafe { _mm256_load_si256(self.0.as_ptr().cast()) }
    }
}

/// The weights of four k for the channels of a panel. Four activations in one 32-bit lane split
/// into 16-bit pairs of the even and of the odd ones without a shuffle; the weights lie alike.
pub struct Quad {
    /// Weights of k = 0, 2 by channel, eight channels a register.
    even: [Register; 2],
    /// Weights of k = 1, 3.
    odd: [Register; 2],
}

impl Quad {
    pub fn new(weights: &[[i8; QUAD]; PANEL]) -> Self {
        let pairs = weights.as_flattened().as_chunks::<2>().0;
        let mut quad = Self {
            even: [Register([0; 16]); 2],
            odd: [Register([0; 16]); 2],
        };
        let registers = quad.even.iter_mut().zip(&mut quad.odd);
        for ((even, odd), pairs) in registers.zip(pairs.as_chunks::<16>().0) {
            for ((even, odd), pair) in even.0.iter_mut().zip(&mut odd.0).zip(pairs) {
                [*even, *odd] = pair.map(i16::from);
            }
        }
        quad
    }
}

/// See [`super::Matrix::multiply`]; `length` is the padded length of a row.
#[target_feature(enable = "avx2,fma")]
pub fn matrix(
    packed: &[Quad],
    length: usize,
    channels: usize,
    requantization: &Requantization,
    rows: &Rows<'_>,
    out: &mut Output<'_>,
) {
    for first in (0..rows.count).step_by(ROWS) {
        let count = ROWS.min(rows.count - first);
        // A block that is not full computes its last row several times and writes it once.
        let block: [&[[u8; QUAD]]; ROWS] =
            std::array::from_fn(|i| rows.row(first + i.min(count - 1), length).as_chunks().0);
        for (panel, weights) in packed.chunks_exact(length / QUAD).enumerate() {
            let channel = panel * PANEL;
            let width = PANEL.min(channels - channel);
            let sums = products(weights, &block);
            for (row, sums) in sums[..count].iter().enumerate() {
                let out = &mut out.row(first + row, channels)[channel..][..width];
                finish(requantization, channel, sums, out);
            }
        }
    }
}

/// The sums of products of a block of rows with a panel: `[row][channel]`.
#[inline]
#[target_feature(enable = "avx2")]
fn products(panel: &[Quad], block: &[&[[u8; QUAD]]; ROWS]) -> [[i32; PANEL]; ROWS] {
    let quads = panel.len();
    let block = block.map(|row| &row[..quads]);
    let low_bytes = _mm256_set1_epi32(0x00ff_00ff);
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for quad in 0..quads {
        let weights = &panel[quad];
        let even = [weights.even[0].load(), weights.even[1].load()];
        let odd = [weights.odd[0].load(), weights.odd[1].load()];
        for row in 0..ROWS {
            let activations = _mm256_set1_epi32(i32::from_le_bytes(block[row][quad]));
            let evens = _mm256_and_si256(activations, low_bytes);
            let odds = _mm256_srli_epi16(activations, 8);
            for half in 0..2 {
                let sum = _mm256_add_epi32(sums[row][half], _mm256_madd_epi16(evens, even[half]));
                sums[row][half] = _mm256_add_epi32(sum, _mm256_madd_epi16(odds, odd[half]));
            }
        }
    }
    sums.map(|[low, high]| lanes(low, high))
}

/// The channels that the depthwise kernel computes together.
pub const BLOCK: usize = PANEL;

/// The weights of two taps for a block of channels, in the order in which unpacking interleaves
/// the activations of the two taps.
#[derive(Clone, Copy)]
pub struct TapPair([Register; 2]);

impl TapPair {
    pub fn new(first: &[i8; BLOCK], second: &[i8; BLOCK]) -> Self {
        Self(std::array::from_fn(|half| {
            Register(std::array::from_fn(|lane| {
                // Unpacking works in 128-bit halves: its low result has channels 0-3 and 8-11.
                let channel = (lane / 8) * 8 + half * 4 + (lane % 8) / 2;
                i16::from(if lane % 2 == 0 {
                    first[channel]
                } else {
                    second[channel]
                })
            }))
        }))
    }
}

/// One pixel of a depthwise convolution. `offsets` has the first channel of every block, and
/// `weights` and `requantization` hold the blocks one after the other.
#[target_feature(enable = "avx2,fma")]
pub fn depthwise(
    weights: &[TapPair],
    offsets: &[usize],
    requantization: &Requantization,
    taps: &Taps<'_>,
    out: &mut [u8],
) {
    let pairs = weights.chunks_exact(taps.len().div_ceil(2));
    for (block, (&offset, weights)) in offsets.iter().zip(pairs).enumerate() {
        let mut low = _mm256_setzero_si256();
        let mut high = _mm256_setzero_si256();
        for (pair, weights) in taps.chunks(2).zip(weights) {
            let first = widen(&pair[0][offset..]);
            let second = match pair.get(1) {
                Some(tap) => widen(&tap[offset..]),
                None => _mm256_setzero_si256(),
            };
            let lows = _mm256_unpacklo_epi16(first, second);
            let highs = _mm256_unpackhi_epi16(first, second);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(lows, weights.0[0].load()));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(highs, weights.0[1].load()));
        }
        let sums = lanes(
            _mm256_permute2x128_si256::<0x20>(low, high),
            _mm256_permute2x128_si256::<0x31>(low, high),
        );
        finish(
            requantization,
            block * BLOCK,
            &sums,
            &mut out[offset..][..BLOCK],
        );
    }
}

/// The first 16 values, as 16-bit integers.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(values: &[u8]) -> __m256i {
    let values = &values[..BLOCK];
    // SAFETY: the slice has the 16 bytes that are read.
    _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(values.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn lanes(low: __m256i, high: __m256i) -> [i32; PANEL] {
    let mut lanes = [0; PANEL];
    let (first, second) = lanes.split_at_mut(8);
    // SAFETY: each half of the array has the 32 bytes of a register.
    unsafe {
        _mm256_storeu_si256(first.as_mut_ptr().cast(), low);
        _mm256_storeu_si256(second.as_mut_ptr().cast(), high);
    }
    lanes
}

/// Requantizes a panel; a full one in straight vector code.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn finish(requantization: &Requantization, channel: usize, sums: &[i32; PANEL], out: &mut [u8]) {
    if let Ok(out) = <&mut [u8; PANEL]>::try_from(&mut *out) {
        requantization.apply(channel, sums, out);
    } else {
        requantization.apply(channel, sums, out);
    }
}
