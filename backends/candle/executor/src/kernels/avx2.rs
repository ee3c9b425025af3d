//! AVX2: products of 16-bit pairs, whose sums are exact: `vpmaddubsw` where the activations are at most
//! 127, else `vpmaddwd` on values widened to 16 bits.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadu_si128, _mm_packus_epi16, _mm_storeu_si128,
    _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_si128, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi16, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_extracti128_si256,
    _mm256_fmadd_ps, _mm256_load_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_packs_epi32,
    _mm256_permute2x128_si256, _mm256_permute4x64_epi64, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srai_epi16, _mm256_srli_epi16,
    _mm256_store_si256, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};

use bytemuck::{Pod, Zeroable};

use super::{
    panel::{PANEL, QUAD},
    requantization::Requantization,
    rows::{Block, Output, Rows},
    tile::{Column, Columns, Tile},
};

/// Rows that are computed together: 8 accumulators, 2 registers of weights and some operands of the
/// 16 registers.
const ROWS: usize = 4;

/// Half a panel: the channels of one register of sums.
const HALF: usize = PANEL / 2;

/// The largest activation with which the sum of two products of u8 and i8 stays within 16 bits,
/// whatever the weights: 2 * 127 * 128 < 2^15.
const SMALL: u8 = 127;

/// The weights of four k for the channels of a panel, `[channel][k]`.
#[repr(C, align(32))]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Quad([[i8; QUAD]; PANEL]);

impl Quad {
    pub fn new(weights: &[[i8; QUAD]; PANEL]) -> Self {
        Self(*weights)
    }

    /// By half of the panel.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(&self) -> [__m256i; 2] {
        let (low, high) = self.0.split_at(HALF);
        // SAFETY: each half of the array has 32 bytes and, by its type, their alignment.
        unsafe {
            [
                _mm256_load_si256(low.as_ptr().cast()),
                _mm256_load_si256(high.as_ptr().cast()),
            ]
        }
    }
}

/// See [`super::Matrix::multiply`]; `quads` are those of a segment. `part` are channels that whole panels have.
///
/// # Safety
/// All segments of the rows hold as many quads.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn matrix(
    packed: &[Quad],
    quads: usize,
    (channels, part): (usize, &std::ops::Range<usize>),
    requantization: &Requantization,
    rows: &Rows<'_>,
    out: &mut Output<'_>,
) {
    let of_part = part.start / PANEL..part.end.div_ceil(PANEL);
    for first in (0..rows.count).step_by(ROWS) {
        let count = ROWS.min(rows.count - first);
        let block = rows.block::<ROWS>(first, count);
        let are_small = largest_bits(rows, first..first + count, quads * QUAD) <= SMALL;
        let panels = packed.chunks_exact(quads * rows.segments.len());
        for (panel, weights) in panels.enumerate().take(of_part.end).skip(of_part.start) {
            let channel = panel * PANEL;
            let finish = [
                Finish::new(requantization, channel),
                Finish::new(requantization, channel + HALF),
            ];
            let (start, segments) = ([finish[0].correction, finish[1].correction], rows.segments);
            // SAFETY: the segments are those of the rows, and hold as many quads.
            let sums = unsafe {
                if are_small {
                    products_of_small(weights, quads, segments, &block, start)
                } else {
                    products(weights, quads, segments, &block, start)
                }
            };
            for (row, sums) in sums.iter().enumerate().take(count) {
                store(
                    bytes(&finish, *sums),
                    out.row(first + row, channel..channels.min(channel + PANEL)),
                );
            }
        }
    }
}

/// All bits that an activation of some rows has: no activation is larger.
#[inline]
#[target_feature(enable = "avx2")]
fn largest_bits(rows: &Rows<'_>, of: std::ops::Range<usize>, length: usize) -> u8 {
    let mut all = 0;
    for row in of {
        for &segment in rows.segments {
            for value in rows.segment(row, segment, length) {
                all |= value;
            }
        }
    }
    all
}

/// The sums of products of a block of rows with a panel, a channel a lane: `[row][half]`, all of which
/// begin with `start`. No activation is larger than [`SMALL`].
///
/// # Safety
/// `segments` are those of the rows of the block, and hold as many quads each.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn products_of_small(
    panel: &[Quad],
    quads: usize,
    segments: &[usize],
    block: &Block<'_, ROWS>,
    start: [__m256i; 2],
) -> [[__m256i; 2]; ROWS] {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [start; ROWS];
    let mut panel = panel;
    for &segment in segments {
        let (weights, others) = panel.split_at(quads);
        panel = others;
        for (quad, weights) in weights.iter().enumerate() {
            let weights = weights.load();
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller says that it is there.
                let activations = unsafe { block.quad(row, segment, quad) };
                let activations = _mm256_set1_epi32(activations);
                for half in 0..2 {
                    let pairs = _mm256_maddubs_epi16(activations, weights[half]);
                    let fours = _mm256_madd_epi16(pairs, ones);
                    sums[half] = _mm256_add_epi32(sums[half], fours);
                }
            }
        }
    }
    sums
}

/// Likewise for any activations.
///
/// # Safety
/// As above.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn products(
    panel: &[Quad],
    quads: usize,
    segments: &[usize],
    block: &Block<'_, ROWS>,
    start: [__m256i; 2],
) -> [[__m256i; 2]; ROWS] {
    let low_bytes = _mm256_set1_epi32(0x00ff_00ff);
    let mut sums = [start; ROWS];
    let mut panel = panel;
    for &segment in segments {
        let (weights, others) = panel.split_at(quads);
        panel = others;
        for (quad, weights) in weights.iter().enumerate() {
            let [low, high] = weights.load();
            // A 32-bit lane splits into 16-bit pairs of its even and of its odd bytes without a shuffle.
            let even = [
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(low)),
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(high)),
            ];
            let odd = [_mm256_srai_epi16::<8>(low), _mm256_srai_epi16::<8>(high)];
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller says that it is there.
                let activations = unsafe { block.quad(row, segment, quad) };
                let activations = _mm256_set1_epi32(activations);
                let evens = _mm256_and_si256(activations, low_bytes);
                let odds = _mm256_srli_epi16::<8>(activations);
                for half in 0..2 {
                    let sum = _mm256_madd_epi16(evens, even[half]);
                    let sum = _mm256_add_epi32(sums[half], sum);
                    sums[half] = _mm256_add_epi32(sum, _mm256_madd_epi16(odds, odd[half]));
                }
            }
        }
    }
    sums
}

/// Sixteen 16-bit weights, one register.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
struct Register([i16; PANEL]);

impl Register {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(&self) -> __m256i {
        // SAFETY: the array has 32 bytes and, by its type, their alignment.
        unsafe { _mm256_load_si256(self.0.as_ptr().cast()) }
    }
}

/// The weights of two taps for a panel of channels, in the order in which unpacking interleaves the
/// activations of the two taps.
#[derive(Clone, Copy)]
pub struct TapPair([Register; 2]);

impl TapPair {
    pub fn new(first: &[i8; PANEL], second: &[i8; PANEL]) -> Self {
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

    /// Adds the products with a column to sums.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&self, [low, high]: [__m256i; 2], column: &Column) -> [__m256i; 2] {
        let [lows, highs] = load(column);
        [
            _mm256_add_epi32(low, _mm256_madd_epi16(lows, self.0[0].load())),
            _mm256_add_epi32(high, _mm256_madd_epi16(highs, self.0[1].load())),
        ]
    }
}

/// See [`super::Depthwise::rows`]. `weights` are of two rows of the window, by block of channels, then
/// by two rows, then by column.
#[target_feature(enable = "avx2,fma")]
pub fn depthwise(
    weights: &[TapPair],
    offsets: &[usize],
    requantization: &Requantization,
    tile: &Tile<'_>,
    columns: &mut Columns,
    out: &mut [u8],
) {
    let pairs = tile.rows.len().div_ceil(2);
    let columns = columns.take(pairs * tile.width);
    let of_block = weights.chunks_exact(pairs * tile.horizontal.kernel);
    for (block, (&offset, weights)) in offsets.iter().zip(of_block).enumerate() {
        let of_pair = columns.chunks_exact_mut(tile.width);
        for (rows, columns) in tile.rows.chunks(2).zip(of_pair) {
            interleave(tile, rows, offset, columns);
        }
        let channel = block * PANEL;
        let finish = [
            Finish::new(requantization, channel),
            Finish::new(requantization, channel + HALF),
        ];
        // Interleaved pairs have other channels in a register than panels.
        let correction = halves(finish[0].correction, finish[1].correction);
        let (first, second) = columns.split_at(tile.width);
        if let (Ok(weights), 3, 1) = (
            <&[_; 6]>::try_from(weights),
            tile.horizontal.kernel,
            tile.horizontal.dilation,
        ) {
            // By far the most frequent window, in straight code.
            for (number, out) in out.chunks_exact_mut(tile.channels).enumerate() {
                let [mut low, mut high] = correction;
                let window = number * tile.horizontal.stride;
                let columns = [&first[window..][..3], &second[window..][..3]];
                for (weights, columns) in weights.as_chunks::<3>().0.iter().zip(columns) {
                    for (weights, column) in weights.iter().zip(columns) {
                        [low, high] = weights.add([low, high], column);
                    }
                }
                store(bytes(&finish, halves(low, high)), &mut out[offset..]);
            }
        } else {
            for (number, out) in out.chunks_exact_mut(tile.channels).enumerate() {
                let [mut low, mut high] = correction;
                let of_pair = weights.chunks_exact(tile.horizontal.kernel);
                for (weights, columns) in of_pair.zip(columns.chunks_exact(tile.width)) {
                    let columns = columns[number * tile.horizontal.stride..]
                        .iter()
                        .step_by(tile.horizontal.dilation);
                    for (weights, column) in weights.iter().zip(columns) {
                        [low, high] = weights.add([low, high], column);
                    }
                }
                store(bytes(&finish, halves(low, high)), &mut out[offset..]);
            }
        }
    }
}

/// The sums of a panel by halves from those of interleaved pairs, or the other way round.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(low: __m256i, high: __m256i) -> [__m256i; 2] {
    [
        _mm256_permute2x128_si256::<0x20>(low, high),
        _mm256_permute2x128_si256::<0x31>(low, high),
    ]
}

/// The columns of one or two rows for the channels from `offset` on, 16-bit values of both rows in
/// turn.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(tile: &Tile<'_>, rows: &[Option<&[u8]>], offset: usize, columns: &mut [Column]) {
    let inside = tile.inside();
    let mut padding = Column([0; 64]);
    for values in padding.0.as_chunks_mut::<2>().0 {
        *values = [tile.padding[0], 0];
    }
    columns[..inside.start].fill(padding);
    columns[inside.end..].fill(padding);
    let columns = &mut columns[inside];
    let Some(last) = columns.len().checked_sub(1) else {
        return;
    };
    // What is read for a missing second row is multiplied by zero.
    let sources = [
        tile.source(rows[0], offset),
        tile.source(rows.get(1).copied().flatten(), offset),
    ];
    assert!(
        sources
            .iter()
            .all(|source| source.len() >= last * tile.channels + PANEL)
    );
    for (number, column) in columns.iter_mut().enumerate() {
        let mut values = [_mm256_setzero_si256(); 2];
        for (values, source) in values.iter_mut().zip(&sources) {
            // SAFETY: the source has 16 values from the start of every column on, up to the last.
            *values = unsafe {
                let values = source.as_ptr().add(number * tile.channels);
                _mm256_cvtepu8_epi16(_mm_loadu_si128(values.cast()))
            };
        }
        let (low, high) = column.0.split_at_mut(32);
        // SAFETY: both halves of a column have 32 bytes and, by its type, their alignment.
        unsafe {
            let (low, high) = (low.as_mut_ptr().cast(), high.as_mut_ptr().cast());
            _mm256_store_si256(low, _mm256_unpacklo_epi16(values[0], values[1]));
            _mm256_store_si256(high, _mm256_unpackhi_epi16(values[0], values[1]));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(column: &Column) -> [__m256i; 2] {
    let (low, high) = column.0.split_at(32);
    // SAFETY: both halves of a column have 32 bytes and, by its type, their alignment.
    unsafe {
        [
            _mm256_load_si256(low.as_ptr().cast()),
            _mm256_load_si256(high.as_ptr().cast()),
        ]
    }
}

/// The requantization of half the channels of a panel; see [`Requantization`].
struct Finish {
    /// What sums of products begin with.
    correction: __m256i,
    bias: __m256,
    bias_factor: __m256,
    factor: __m256,
    /// With [`Requantization::rest`].
    divisor: Option<(__m256, __m256)>,
    /// Of the output, less the zero point: whole numbers, so that clamping before rounding and after
    /// it is the same.
    low: __m256,
    high: __m256,
    zero: __m256i,
}

impl Finish {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(requantization: &Requantization, channel: usize) -> Self {
        let range = &requantization.range;
        let correction = &requantization.correction[channel..][..HALF];
        let bias = &requantization.bias[channel..][..HALF];
        let factor = &requantization.factor[channel..][..HALF];
        Self {
            // SAFETY: the slice has the 32 bytes that are read.
            correction: unsafe { _mm256_loadu_si256(correction.as_ptr().cast()) },
            // SAFETY: as above.
            bias: unsafe { _mm256_loadu_ps(bias.as_ptr()) },
            bias_factor: _mm256_set1_ps(requantization.bias_factor),
            // SAFETY: as above.
            factor: unsafe { _mm256_loadu_ps(factor.as_ptr()) },
            divisor: requantization.divisor.map(|divisor| {
                let rest = &requantization.rest[channel..][..HALF];
                // SAFETY: as above.
                (_mm256_set1_ps(divisor), unsafe {
                    _mm256_loadu_ps(rest.as_ptr())
                })
            }),
            low: _mm256_set1_ps(range.low - range.zero),
            high: _mm256_set1_ps(range.high - range.zero),
            zero: _mm256_set1_epi32(range.zero as i32),
        }
    }

    /// Numbers of 0 to 255 from sums that began with the correction.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn values(&self, sums: __m256i) -> __m256i {
        let real = _mm256_fmadd_ps(self.bias, self.bias_factor, _mm256_cvtepi32_ps(sums));
        let scaled = match self.divisor {
            None => _mm256_mul_ps(real, self.factor),
            Some((divisor, rest)) => {
                let product = _mm256_fmadd_ps(real, self.factor, _mm256_mul_ps(real, rest));
                _mm256_div_ps(product, divisor)
            }
        };
        // Of a number and NaN both give the second operand.
        let clamped = _mm256_min_ps(_mm256_max_ps(scaled, self.low), self.high);
        // Rounds half to even, which nothing in a Rust program may change.
        _mm256_add_epi32(_mm256_cvtps_epi32(clamped), self.zero)
    }
}

/// [`Requantization::apply`] on the sums of a panel that began with the correction.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn bytes(finish: &[Finish; 2], sums: [__m256i; 2]) -> __m128i {
    let (low, high) = (finish[0].values(sums[0]), finish[1].values(sums[1]));
    // Packing works in 128-bit halves.
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
    _mm_packus_epi16(
        _mm256_castsi256_si128(words),
        _mm256_extracti128_si256::<1>(words),
    )
}

/// Writes a panel, or as many of its channels as `out` has.
#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: __m128i, out: &mut [u8]) {
    if let Some(out) = out.first_chunk_mut::<PANEL>() {
        // SAFETY: the array has the 16 bytes that are written.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) };
    } else {
        let mut panel = [0; PANEL];
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(panel.as_mut_ptr().cast(), bytes) };
        out.copy_from_slice(&panel[..out.len()]);
    }
}
