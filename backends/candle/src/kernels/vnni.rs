//! AVX-512 VNNI: `vpdpbusd` adds four products of u8 and i8 to an i32, without saturation.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm512_add_epi32,
    _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtps_epi32,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_si512, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_store_si512,
};

use super::{
    Requantization,
    depthwise::{Column, Columns, Tile},
    matrix::{Output, PANEL, QUAD, Rows},
};

/// Rows that are computed together: with two panels, 16 accumulators and 3 operands of the 32
/// registers.
const ROWS: usize = 8;

/// The weights of four k for the channels of a panel, `[channel][k]`.
#[repr(C, align(64))]
pub struct Quad([[i8; QUAD]; PANEL]);

impl Quad {
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

/// See [`super::Matrix::multiply`]; `length` is the padded length of a row.
#[target_feature(enable = "avx512f,avx512vnni")]
pub fn matrix(
    packed: &[Quad],
    length: usize,
    channels: usize,
    requantization: &Requantization,
    rows: &Rows<'_>,
    out: &mut Output<'_>,
) {
    let quads = length / QUAD;
    for first in (0..rows.count).step_by(ROWS) {
        let count = ROWS.min(rows.count - first);
        let mut block: [&[[u8; QUAD]]; ROWS] = [&[]; ROWS];
        for (number, row) in block.iter_mut().enumerate() {
            // A block that is not full computes its last row several times and writes it once.
            let values = rows.row(first + number.min(count - 1), length);
            *row = &values.as_chunks().0[..quads];
        }
        let mut panels = packed.chunks_exact(quads);
        let mut channel = 0;
        while let Some(left) = panels.next() {
            if let Some(right) = panels.next() {
                let finish = [
                    Finish::new(requantization, channel),
                    Finish::new(requantization, channel + PANEL),
                ];
                let sums = products([left, right], &block, &finish);
                for (row, sums) in sums.iter().enumerate().take(count) {
                    let out = out.row(first + row, channels);
                    let (left, right) = out[channel..].split_at_mut(PANEL);
                    store(finish[0].bytes(sums[0]), left);
                    store(finish[1].bytes(sums[1]), right);
                }
            } else {
                let finish = [Finish::new(requantization, channel)];
                let sums = products([left], &block, &finish);
                for (row, sums) in sums.iter().enumerate().take(count) {
                    let out = &mut out.row(first + row, channels)[channel..];
                    store(finish[0].bytes(sums[0]), out);
                }
            }
            channel += 2 * PANEL;
        }
    }
}

/// The sums of products of a block of rows with some panels, a channel a lane: `[row][panel]`. All
/// rows and panels have the same length.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn products<const PANELS: usize>(
    panels: [&[Quad]; PANELS],
    block: &[&[[u8; QUAD]]; ROWS],
    finish: &[Finish; PANELS],
) -> [[__m512i; PANELS]; ROWS] {
    let quads = block[0].len();
    assert!(block.iter().all(|row| row.len() == quads));
    assert!(panels.iter().all(|panel| panel.len() == quads));
    let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
    for row in &mut sums {
        for (sums, finish) in row.iter_mut().zip(finish) {
            *sums = finish.correction;
        }
    }
    for quad in 0..quads {
        let mut weights = [_mm512_setzero_si512(); PANELS];
        for (weights, panel) in weights.iter_mut().zip(&panels) {
            // SAFETY: the index is less than the length of every panel.
            *weights = unsafe { panel.get_unchecked(quad) }.load();
        }
        for row in 0..ROWS {
            // SAFETY: the index is less than the length of every row.
            let activations = unsafe { *block[row].get_unchecked(quad) };
            let activations = _mm512_set1_epi32(i32::from_le_bytes(activations));
            for panel in 0..PANELS {
                sums[row][panel] =
                    _mm512_dpbusd_epi32(sums[row][panel], activations, weights[panel]);
            }
        }
    }
    sums
}

/// See [`super::Depthwise::row`]. `weights` are of four rows of the window, by block of channels,
/// then by four rows, then by column.
#[target_feature(enable = "avx512f,avx512vnni")]
pub fn depthwise(
    weights: &[Quad],
    offsets: &[usize],
    requantization: &Requantization,
    tile: &Tile<'_>,
    columns: &mut Columns,
    out: &mut [u8],
) {
    let fours = tile.rows.len().div_ceil(QUAD);
    let columns = columns.take(fours * tile.width);
    let of_block = weights.chunks_exact(fours * tile.kernel);
    for (block, (&offset, weights)) in offsets.iter().zip(of_block).enumerate() {
        let of_four = columns.chunks_exact_mut(tile.width);
        for (rows, columns) in tile.rows.chunks(QUAD).zip(of_four) {
            match rows.len() {
                1 => interleave::<1>(tile, rows, offset, columns),
                2 => interleave::<2>(tile, rows, offset, columns),
                3 => interleave::<3>(tile, rows, offset, columns),
                _ => interleave::<4>(tile, rows, offset, columns),
            }
        }
        let finish = Finish::new(requantization, block * PANEL);
        if let ([left, middle, right], 1) = (weights, tile.dilation) {
            // By far the most frequent window, with its weights in registers.
            let weights = [left.load(), middle.load(), right.load()];
            for (number, out) in out.chunks_exact_mut(tile.channels).enumerate() {
                let columns = &columns[number * tile.stride..][..3];
                let mut sums = finish.correction;
                for (weights, column) in weights.iter().zip(columns) {
                    sums = _mm512_dpbusd_epi32(sums, load(column), *weights);
                }
                store(finish.bytes(sums), &mut out[offset..]);
            }
        } else {
            for (number, out) in out.chunks_exact_mut(tile.channels).enumerate() {
                let mut sums = finish.correction;
                let of_four = weights.chunks_exact(tile.kernel);
                for (weights, columns) in of_four.zip(columns.chunks_exact(tile.width)) {
                    let columns = columns[number * tile.stride..]
                        .iter()
                        .step_by(tile.dilation);
                    for (weights, column) in weights.iter().zip(columns) {
                        sums = _mm512_dpbusd_epi32(sums, load(column), weights.load());
                    }
                }
                store(finish.bytes(sums), &mut out[offset..]);
            }
        }
    }
}

/// The columns of up to four rows for the channels from `offset` on: a channel a lane, the first row
/// in its lowest byte.
#[inline]
#[target_feature(enable = "avx512f")]
fn interleave<const ROWS: usize>(
    tile: &Tile<'_>,
    rows: &[Option<&[u8]>],
    offset: usize,
    columns: &mut [Column],
) {
    let inside = tile.inside();
    let padding = Column([tile.padding[0]; 64]);
    columns[..inside.start].fill(padding);
    columns[inside.end..].fill(padding);
    let columns = &mut columns[inside];
    let Some(last) = columns.len().checked_sub(1) else {
        return;
    };
    let mut sources = [tile.source(None, offset); ROWS];
    for (source, row) in sources.iter_mut().zip(rows) {
        *source = tile.source(*row, offset);
    }
    assert!(
        sources
            .iter()
            .all(|s| s.values.len() >= last * s.step + PANEL)
    );
    for (number, column) in columns.iter_mut().enumerate() {
        let mut quads = _mm512_setzero_si512();
        for source in sources.iter().rev() {
            // SAFETY: the source has 16 values from the start of every column on, up to the last.
            let values = unsafe {
                let values = source.values.as_ptr().add(number * source.step);
                _mm512_cvtepu8_epi32(_mm_loadu_si128(values.cast()))
            };
            quads = _mm512_or_si512(_mm512_slli_epi32::<8>(quads), values);
        }
        // SAFETY: a column has 64 bytes and, by its type, their alignment.
        unsafe { _mm512_store_si512(column.0.as_mut_ptr().cast(), quads) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(column: &Column) -> __m512i {
    // SAFETY: a column has 64 bytes and, by its type, their alignment.
    unsafe { _mm512_load_si512(column.0.as_ptr().cast()) }
}

/// The requantization of the channels of a panel; see [`Requantization`].
struct Finish {
    /// What sums of products begin with.
    correction: __m512i,
    bias: __m512,
    bias_factor: __m512,
    factor: __m512,
    /// Of the output, less the zero point: whole numbers, so that clamping before rounding and after
    /// it is the same.
    low: __m512,
    high: __m512,
    zero: __m512i,
}

impl Finish {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(requantization: &Requantization, channel: usize) -> Self {
        let range = &requantization.range;
        let correction = &requantization.correction[channel..][..PANEL];
        let bias = &requantization.bias[channel..][..PANEL];
        let factor = &requantization.factor[channel..][..PANEL];
        Self {
            // SAFETY: the slice has the 64 bytes that are read.
            correction: unsafe { _mm512_loadu_si512(correction.as_ptr().cast()) },
            // SAFETY: as above.
            bias: unsafe { _mm512_loadu_ps(bias.as_ptr()) },
            bias_factor: _mm512_set1_ps(requantization.bias_factor),
            // SAFETY: as above.
            factor: unsafe { _mm512_loadu_ps(factor.as_ptr()) },
            low: _mm512_set1_ps(range.low - range.zero),
            high: _mm512_set1_ps(range.high - range.zero),
            zero: _mm512_set1_epi32(range.zero as i32),
        }
    }

    /// [`Requantization::apply`] on sums that began with the correction.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn bytes(&self, sums: __m512i) -> __m128i {
        let real = _mm512_fmadd_ps(self.bias, self.bias_factor, _mm512_cvtepi32_ps(sums));
        let scaled = _mm512_mul_ps(real, self.factor);
        // Of a number and NaN both give the second operand.
        let clamped = _mm512_min_ps(_mm512_max_ps(scaled, self.low), self.high);
        // Rounds half to even, which nothing in a Rust program may change.
        let rounded = _mm512_cvtps_epi32(clamped);
        _mm512_cvtepi32_epi8(_mm512_add_epi32(rounded, self.zero))
    }
}

/// Writes a panel, or as many of its channels as `out` has.
#[inline]
#[target_feature(enable = "avx512f")]
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
