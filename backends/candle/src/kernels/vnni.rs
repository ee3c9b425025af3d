//! AVX-512 VNNI: `vpdpbusd` adds four products of u8 and i8 to an i32, without saturation.
//!
//! Four vectors of sums, of 16 channels each, become 64 bytes by packing within the 128-bit parts of
//! vectors, and bytes of four rows become quads by unpacking within them. So that the bytes are in
//! order, part p of vector v holds the channels from `16 p + 4 v` on; see [`position`].

use std::arch::x86_64::{
    __m512, __m512i, _mm_loadu_si128, _mm_mask_storeu_epi8, _mm_storeu_si128, _mm256_loadu_si256,
    _mm256_mask_storeu_epi8, _mm256_storeu_si256, _mm512_add_epi32, _mm512_adds_epi16,
    _mm512_alignr_epi32, _mm512_castsi128_si512, _mm512_castsi256_si512, _mm512_castsi512_si128,
    _mm512_castsi512_si256, _mm512_cvtepi32_ps, _mm512_cvtps_epi32, _mm512_cvtusepi16_epi8,
    _mm512_cvtusepi32_epi8, _mm512_dpbusd_epi32, _mm512_extracti32x4_epi32,
    _mm512_extracti64x4_epi64, _mm512_fmadd_ps, _mm512_inserti32x4, _mm512_inserti64x4,
    _mm512_load_si512, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_epi8,
    _mm512_max_epi16, _mm512_max_epi32, _mm512_max_epu8, _mm512_min_ps, _mm512_mul_ps,
    _mm512_packs_epi32, _mm512_packus_epi16, _mm512_set1_epi8, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_store_si512,
    _mm512_storeu_si512, _mm512_unpackhi_epi8, _mm512_unpackhi_epi16, _mm512_unpacklo_epi8,
    _mm512_unpacklo_epi16,
};

use super::{
    Range, Requantization,
    depthwise::{Column, Columns, Tile},
    matrix::{Output, PANEL, QUAD, Rows},
};
use crate::geometry::Span;

/// Rows of activations whose results are finished before those of the next begin: they stay in the
/// second-level cache while they meet every panel. A multiple of the rows of all blocks.
const TILE: usize = 96;

/// Bytes of a vector.
const BYTES: usize = 64;

/// A vector of bytes.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
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

/// The panels that matrices of `channels` are computed in: the number of vectors of each, and the
/// channel of every lane of all of them.
pub fn panels(channels: usize) -> (Vec<usize>, Vec<Option<usize>>) {
    let (mut panels, mut lanes) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < channels {
        let vectors = vectors_for(channels - first);
        panels.push(vectors);
        for vector in 0..vectors {
            lanes.extend((0..PANEL).map(|lane| {
                let channel = first + position(vectors, vector, lane);
                (channel < channels).then_some(channel)
            }));
        }
        first += vectors * PANEL;
    }
    (panels, lanes)
}

/// The vectors of the next panel of a matrix that has as many channels left.
fn vectors_for(channels: usize) -> usize {
    match channels.div_ceil(PANEL) {
        1 => 1,
        2 => 2,
        _ => 4,
    }
}

/// See [`super::Matrix::multiply`]; `quads` are those of a segment.
///
/// # Safety
/// All segments of the rows hold as many quads.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn matrix(
    packed: &[Quad],
    quads: usize,
    channels: usize,
    requantization: &Requantization,
    rows: &Rows<'_>,
    out: &mut Output<'_>,
) {
    let plain = is_plain(requantization);
    for first in (0..rows.count).step_by(TILE) {
        let tile = first..rows.count.min(first + TILE);
        let mut packed = packed;
        let mut channel = 0;
        while channel < channels {
            let vectors = vectors_for(channels - channel);
            let (weights, others) = packed.split_at(vectors * quads * rows.segments.len());
            let panel = Panel {
                weights,
                quads,
                channel,
                channels,
                requantization,
            };
            // SAFETY: the caller says that the rows hold the quads.
            unsafe {
                match (vectors, plain) {
                    (4, true) => panel.multiply::<4, 6, true>(rows, tile.clone(), out),
                    (4, false) => panel.multiply::<4, 6, false>(rows, tile.clone(), out),
                    (2, true) => panel.multiply::<2, 8, true>(rows, tile.clone(), out),
                    (2, false) => panel.multiply::<2, 8, false>(rows, tile.clone(), out),
                    (_, true) => panel.multiply::<1, 12, true>(rows, tile.clone(), out),
                    (_, false) => panel.multiply::<1, 12, false>(rows, tile.clone(), out),
                }
            }
            packed = others;
            channel += vectors * PANEL;
        }
    }
}

/// The channels of some vectors.
struct Panel<'a> {
    /// By quad of k, then by vector.
    weights: &'a [Quad],
    /// Of a segment.
    quads: usize,
    /// The first one.
    channel: usize,
    /// Of the whole matrix.
    channels: usize,
    requantization: &'a Requantization,
}

impl Panel<'_> {
    /// Computes its channels for the rows of `tile`, `ROWS` at a time. Their sums, the weights of a
    /// quad and one activation are to fit into 32 vectors.
    ///
    /// # Safety
    /// All segments of the rows hold as many quads.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn multiply<const VECTORS: usize, const ROWS: usize, const PLAIN: bool>(
        &self,
        rows: &Rows<'_>,
        tile: std::ops::Range<usize>,
        out: &mut Output<'_>,
    ) {
        let finish = Finish::<VECTORS, PLAIN>::new(self.requantization, self.channel);
        let weights = self.weights.as_chunks::<VECTORS>().0;
        let width = (VECTORS * PANEL).min(self.channels - self.channel);
        let stride = out.stride;
        // Once for all rows: what is checked for each costs as much as it stores.
        let out = &mut out.values[self.channel..];
        assert!(
            (tile.end - 1) * stride + width <= out.len(),
            "room for all rows"
        );
        let out = out.as_mut_ptr();
        for first in tile.clone().step_by(ROWS) {
            let block = rows.block::<ROWS>(first);
            let mut sums = [finish.correction; ROWS];
            let mut panel = weights;
            for &segment in rows.segments {
                let (weights, others) = panel.split_at(self.quads);
                panel = others;
                for (quad, weights) in weights.iter().enumerate() {
                    let mut vectors = [_mm512_setzero_si512(); VECTORS];
                    for (vector, weights) in vectors.iter_mut().zip(weights) {
                        *vector = weights.load();
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the segment is one of the rows, and holds as many quads.
                        let activations = unsafe { block.quad(row, segment, quad) };
                        let activations = _mm512_set1_epi32(activations);
                        for (sums, vector) in sums.iter_mut().zip(&vectors) {
                            *sums = _mm512_dpbusd_epi32(*sums, activations, *vector);
                        }
                    }
                }
            }
            for (number, sums) in sums.iter().enumerate() {
                // A block that is not full has computed its last row several times.
                if first + number < tile.end {
                    // SAFETY: as asserted, there is as much room in all rows of the tile.
                    unsafe { finish.store(sums, out.add((first + number) * stride), width) };
                }
            }
        }
    }
}

/// See [`super::Depthwise::row`]. `weights` are of four rows of the window, by block of channels,
/// then by four rows, then by column; `blocks` are the first channel and the number of channels of
/// each: 64, or 32 of two pixels at a time, or 16 of four.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn depthwise(
    weights: &[[Quad; 4]],
    blocks: &[(usize, usize)],
    requantization: &Requantization,
    tile: &Tile<'_>,
    columns: &mut Columns,
    out: &mut [u8],
) {
    if is_plain(requantization) {
        depthwise_blocks::<true>(weights, blocks, requantization, tile, columns, out);
    } else {
        depthwise_blocks::<false>(weights, blocks, requantization, tile, columns, out);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn depthwise_blocks<const PLAIN: bool>(
    weights: &[[Quad; 4]],
    blocks: &[(usize, usize)],
    requantization: &Requantization,
    tile: &Tile<'_>,
    columns: &mut Columns,
    out: &mut [u8],
) {
    let taps = tile.rows.len().div_ceil(QUAD) * tile.horizontal.kernel;
    let of_block = weights.chunks_exact(taps).enumerate();
    for (&(channel, width), (number, weights)) in blocks.iter().zip(of_block) {
        let finish = Finish::<4, PLAIN>::new(requantization, number * BYTES);
        match width {
            64 => depthwise_block::<1, PLAIN>(weights, &finish, channel, tile, columns, out),
            32 => depthwise_block::<2, PLAIN>(weights, &finish, channel, tile, columns, out),
            _ => depthwise_block::<4, PLAIN>(weights, &finish, channel, tile, columns, out),
        }
    }
}

/// The channels of a block from `channel` on, for as many pixels at a time as fill a vector with them.
///
/// The columns of the tile are rearranged first, those apart by the stride beside each other, because
/// they are read by neighbouring pixels: such a *phase* has four planes of quads, one for each vector
/// of sums. In a plane the columns follow each other without a gap, so that the vector that a tap of
/// the window reads begins as many columns after that of the first tap as the tap is to its right.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn depthwise_block<const PIXELS: usize, const PLAIN: bool>(
    weights: &[[Quad; 4]],
    finish: &Finish<4, PLAIN>,
    channel: usize,
    tile: &Tile<'_>,
    columns: &mut Columns,
    out: &mut [u8],
) {
    if in_registers(tile.rows.len(), &tile.horizontal)
        && let Ok(weights) = weights.try_into()
    {
        three_columns::<PIXELS, PLAIN>(weights, finish, channel, tile, out);
        return;
    }
    let width = BYTES / PIXELS;
    let reach = (tile.horizontal.kernel - 1) * tile.horizontal.dilation;
    let phases = tile.horizontal.stride.min(reach + 1);
    let vectors = (out.len() / tile.channels).div_ceil(PIXELS);
    // Vectors of a plane, and of the four planes of a phase.
    let plane = vectors + (reach / tile.horizontal.stride).div_ceil(PIXELS);
    let fours = tile.rows.chunks(QUAD);
    let columns = columns.take(fours.len() * phases * 4 * plane);
    for (rows, columns) in fours.zip(columns.chunks_exact_mut(phases * 4 * plane)) {
        for (phase, planes) in columns.chunks_exact_mut(4 * plane).enumerate() {
            interleave::<PIXELS>(tile, rows, channel, phase, planes);
        }
    }
    let columns = &*columns;
    // Where the vector begins that a tap reads for the first pixels, in bytes.
    let start = |tap: usize| {
        let (four, right) = (
            tap / tile.horizontal.kernel,
            tap % tile.horizontal.kernel * tile.horizontal.dilation,
        );
        let phase = four * phases + right % tile.horizontal.stride;
        phase * 4 * plane * BYTES + right / tile.horizontal.stride * width
    };
    assert!((0..weights.len()).all(|tap| {
        let last = start(tap) + (vectors - 1 + 3 * plane) * BYTES;
        last + BYTES <= columns.len() * BYTES
    }));
    let vector_at = |start: usize, vector: usize, lane: usize| {
        // SAFETY: all of the columns are bytes, and as asserted above these are within them.
        unsafe {
            let bytes = columns.as_ptr().cast::<u8>();
            _mm512_loadu_si512(bytes.add(start + (vector + lane * plane) * BYTES).cast())
        }
    };
    let pixels = out.chunks_mut(PIXELS * tile.channels).enumerate();
    for (vector, out) in pixels {
        let mut sums = finish.correction;
        for (tap, weights) in weights.iter().enumerate() {
            let start = start(tap);
            for lane in 0..4 {
                let values = vector_at(start, vector, lane);
                sums[lane] = _mm512_dpbusd_epi32(sums[lane], values, weights[lane].load());
            }
        }
        store_pixels::<PIXELS>(finish.bytes(&sums), channel, tile.channels, out);
    }
}

/// Whether the columns of windows are rearranged in registers, by [`three_columns`].
pub fn in_registers(rows: usize, horizontal: &Span) -> bool {
    rows <= QUAD && (horizontal.kernel, horizontal.dilation) == (3, 1) && horizontal.stride <= 2
}

/// [`depthwise_block`] for by far the most frequent windows, of three columns beside each other that
/// move by one or two: each column is rearranged once and stays in registers for all that read it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn three_columns<const PIXELS: usize, const PLAIN: bool>(
    weights: &[[Quad; 4]; 3],
    finish: &Finish<4, PLAIN>,
    channel: usize,
    tile: &Tile<'_>,
    out: &mut [u8],
) {
    let columns = TileColumns::<PIXELS>::new(tile, tile.rows, channel);
    let pixels = out.chunks_mut(PIXELS * tile.channels).enumerate();
    let add = |sums: &mut [__m512i; 4], values: &[__m512i; 4], tap: usize| {
        for lane in 0..4 {
            let weights = weights[tap][lane].load();
            sums[lane] = _mm512_dpbusd_epi32(sums[lane], values[lane], weights);
        }
    };
    if tile.horizontal.stride == 2 {
        // Columns 0, 2, 4, ... of the windows; those between are read by one pixel only.
        let mut even = columns.quads(0);
        for (vector, out) in pixels {
            let first = vector * PIXELS * 2;
            let next = columns.quads(first + 2 * PIXELS);
            let mut sums = finish.correction;
            add(&mut sums, &even, 0);
            add(&mut sums, &columns.quads(first + 1), 1);
            add(&mut sums, &moved::<PIXELS, 1>(&even, &next), 2);
            even = next;
            store_pixels::<PIXELS>(finish.bytes(&sums), channel, tile.channels, out);
        }
    } else {
        let mut these = columns.quads(0);
        let mut next = columns.quads(PIXELS);
        for (vector, out) in pixels {
            let mut sums = finish.correction;
            add(&mut sums, &these, 0);
            add(&mut sums, &moved::<PIXELS, 1>(&these, &next), 1);
            if PIXELS == 1 {
                let last = columns.quads(vector + 2);
                add(&mut sums, &last, 2);
                these = next;
                next = last;
            } else {
                add(&mut sums, &moved::<PIXELS, 2>(&these, &next), 2);
                these = next;
                next = columns.quads((vector + 2) * PIXELS);
            }
            store_pixels::<PIXELS>(finish.bytes(&sums), channel, tile.channels, out);
        }
    }
}

/// The quads of the pixels that begin `BY` pixels after those of `these`, which `next` follow.
#[inline]
#[target_feature(enable = "avx512f")]
fn moved<const PIXELS: usize, const BY: usize>(
    these: &[__m512i; 4],
    next: &[__m512i; 4],
) -> [__m512i; 4] {
    let mut moved = *next;
    if BY < PIXELS {
        for (moved, (these, next)) in moved.iter_mut().zip(these.iter().zip(next)) {
            *moved = match PIXELS / BY {
                // By a half or by a quarter of a vector.
                2 => _mm512_alignr_epi32::<8>(*next, *these),
                _ => _mm512_alignr_epi32::<4>(*next, *these),
            };
        }
    }
    moved
}

/// Writes the bytes of some pixels, which begin at `channel`; of the last ones there may be fewer.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_pixels<const PIXELS: usize>(
    bytes: __m512i,
    channel: usize,
    channels: usize,
    out: &mut [u8],
) {
    let width = BYTES / PIXELS;
    let last = (PIXELS - 1) * channels + channel;
    if out.len() < last + width {
        let mut values = [0; BYTES];
        // SAFETY: the array has the 64 bytes that are written.
        unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), bytes) };
        let pixels = out.chunks_exact_mut(channels);
        for (pixel, values) in pixels.zip(values.chunks_exact(width)) {
            pixel[channel..][..width].copy_from_slice(values);
        }
        return;
    }
    let first = out.as_mut_ptr();
    let to = |pixel: usize| first.wrapping_add(pixel * channels + channel);
    // SAFETY: the bytes that are written are there, up to those of the last pixel.
    unsafe {
        match PIXELS {
            // Nothing lies between the pixels.
            _ if channels == width => _mm512_storeu_si512(to(0).cast(), bytes),
            1 => _mm512_storeu_si512(to(0).cast(), bytes),
            2 => {
                _mm256_storeu_si256(to(0).cast(), _mm512_castsi512_si256(bytes));
                _mm256_storeu_si256(to(1).cast(), _mm512_extracti64x4_epi64::<1>(bytes));
            }
            _ => {
                _mm_storeu_si128(to(0).cast(), _mm512_castsi512_si128(bytes));
                _mm_storeu_si128(to(1).cast(), _mm512_extracti32x4_epi32::<1>(bytes));
                _mm_storeu_si128(to(2).cast(), _mm512_extracti32x4_epi32::<2>(bytes));
                _mm_storeu_si128(to(3).cast(), _mm512_extracti32x4_epi32::<3>(bytes));
            }
        }
    }
}

/// The columns of a phase of up to four rows, for the channels of a block from `channel` on, as four
/// planes of quads, the first row in the lowest byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave<const PIXELS: usize>(
    tile: &Tile<'_>,
    rows: &[Option<&[u8]>],
    channel: usize,
    phase: usize,
    planes: &mut [Column],
) {
    let length = planes.len() / 4;
    let columns = TileColumns::<PIXELS>::new(tile, rows, channel);
    for vector in 0..length {
        let first = vector * PIXELS * tile.horizontal.stride + phase;
        for (lane, quads) in columns.quads(first).into_iter().enumerate() {
            let column = &mut planes[lane * length + vector];
            // SAFETY: a column has 64 bytes and, by its type, their alignment.
            unsafe { _mm512_store_si512(column.0.as_mut_ptr().cast(), quads) };
        }
    }
}

/// Columns of up to four rows of a tile, for the channels of a block.
struct TileColumns<'a, const PIXELS: usize> {
    sources: [&'a [u8]; QUAD],
    /// The columns that are no padding, the first of which is the first of the sources.
    inside: std::ops::Range<usize>,
    channels: usize,
    stride: usize,
    padding: u8,
}

impl<'a, const PIXELS: usize> TileColumns<'a, PIXELS> {
    const WIDTH: usize = BYTES / PIXELS;

    /// For the channels from `channel` on. What is read for rows that the window does not have is
    /// multiplied by zero: it is the last row again, which is read anyway.
    fn new(tile: &Tile<'a>, rows: &[Option<&'a [u8]>], channel: usize) -> Self {
        let row = |row: usize| rows.get(row).or(rows.last()).copied().flatten();
        let this = Self {
            sources: std::array::from_fn(|number| tile.source(row(number), channel)),
            inside: tile.inside(),
            channels: tile.channels,
            stride: tile.horizontal.stride,
            padding: tile.padding[0],
        };
        let last = this.inside.len().saturating_sub(1);
        let mut sources = this.sources.iter();
        assert!(
            this.inside.is_empty()
                || sources.all(|s| last * this.channels + Self::WIDTH <= s.len()),
            "the channels of all columns"
        );
        this
    }

    /// The pixels from column `first` of the tile on, `stride` columns apart, as four vectors of quads.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn quads(&self, first: usize) -> [__m512i; 4] {
        let last = first + (PIXELS - 1) * self.stride;
        let values = if self.inside.start <= first && last < self.inside.end {
            let mut values = [_mm512_setzero_si512(); QUAD];
            let start = (first - self.inside.start) * self.channels;
            for (values, source) in values.iter_mut().zip(&self.sources) {
                // SAFETY: as asserted, the source has as many bytes at all columns that are inside.
                *values = unsafe {
                    gather::<PIXELS>(source.as_ptr().add(start), self.stride * self.channels)
                };
            }
            values
        } else {
            self.at_border(first)
        };
        let [first, second, third, fourth] = values;
        let low = _mm512_unpacklo_epi8(first, second);
        let high = _mm512_unpackhi_epi8(first, second);
        let low_behind = _mm512_unpacklo_epi8(third, fourth);
        let high_behind = _mm512_unpackhi_epi8(third, fourth);
        [
            _mm512_unpacklo_epi16(low, low_behind),
            _mm512_unpackhi_epi16(low, low_behind),
            _mm512_unpacklo_epi16(high, high_behind),
            _mm512_unpackhi_epi16(high, high_behind),
        ]
    }

    /// The rows of [`Self::quads`] where some of the pixels are padding.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    fn at_border(&self, first: usize) -> [__m512i; QUAD] {
        self.sources.map(|source| {
            let mut bytes = Column([self.padding; BYTES]);
            let pixels = bytes.0.chunks_exact_mut(Self::WIDTH).enumerate();
            for (pixel, bytes) in pixels {
                let column = first + pixel * self.stride;
                if self.inside.contains(&column) {
                    let start = (column - self.inside.start) * self.channels;
                    bytes.copy_from_slice(&source[start..][..Self::WIDTH]);
                }
            }
            load(&bytes)
        })
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(column: &Column) -> __m512i {
    // SAFETY: a column has 64 bytes and, by its type, their alignment.
    unsafe { _mm512_load_si512(column.0.as_ptr().cast()) }
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

/// The requantization of the channels of a panel; see [`Requantization`]. `PLAIN` is one that is nothing
/// but rounding and saturation: with the zero point 0, the whole range, and sums that stay within i32.
struct Finish<const VECTORS: usize, const PLAIN: bool> {
    /// What sums of products begin with.
    correction: [__m512i; VECTORS],
    bias: [__m512; VECTORS],
    factor: [__m512; VECTORS],
    bias_factor: __m512,
    /// Of the output, less the zero point: whole numbers, so that clamping before rounding and after
    /// it is the same.
    high: __m512,
    /// At most 255, as are the values of the output.
    zero: i16,
    low: u8,
}

/// Whether [`Finish`] may be plain.
fn is_plain(requantization: &Requantization) -> bool {
    let Range { zero, low, high } = requantization.range;
    requantization.bounded && (zero, low, high) == (0.0, 0.0, 255.0)
}

impl<const VECTORS: usize, const PLAIN: bool> Finish<VECTORS, PLAIN> {
    /// For the lanes from `first` on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(requantization: &Requantization, first: usize) -> Self {
        let range = &requantization.range;
        let mut finish = Self {
            correction: [_mm512_setzero_si512(); VECTORS],
            bias: [_mm512_setzero_ps(); VECTORS],
            factor: [_mm512_setzero_ps(); VECTORS],
            bias_factor: _mm512_set1_ps(requantization.bias_factor),
            high: _mm512_set1_ps(range.high - range.zero),
            zero: range.zero as i16,
            low: range.low as u8,
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
        }
        finish
    }

    /// Rounded numbers from sums that began with the correction, without the zero point: perhaps less
    /// than what the output may be, and more only where saturation makes up for it. NaN is the least.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rounded(&self, sums: &[__m512i; VECTORS]) -> [__m512i; VECTORS] {
        let mut rounded = *sums;
        for (vector, rounded) in rounded.iter_mut().enumerate() {
            let sums = _mm512_cvtepi32_ps(*rounded);
            let real = _mm512_fmadd_ps(self.bias[vector], self.bias_factor, sums);
            let mut scaled = _mm512_mul_ps(real, self.factor[vector]);
            if !PLAIN {
                // Of a number and NaN it gives the second operand.
                scaled = _mm512_min_ps(self.high, scaled);
            }
            // Rounds half to even, which nothing in a Rust program may change. What i32 does not hold
            // becomes its least number.
            *rounded = _mm512_cvtps_epi32(scaled);
        }
        rounded
    }

    /// Writes the first `width` channels of a panel.
    ///
    /// # Safety
    /// There is room for them behind `to`, and the panel has as many.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn store(&self, sums: &[__m512i; VECTORS], to: *mut u8, width: usize) {
        let rounded = self.rounded(sums);
        let mask = u64::MAX >> (BYTES - width);
        let to = to.cast();
        // SAFETY: the mask has as many bits as bytes may be written.
        unsafe {
            if let [a, b, c, d] = rounded[..] {
                let bytes = self.pack([a, b, c, d]);
                _mm512_mask_storeu_epi8(to, mask, bytes);
            } else if let [a, b] = rounded[..] {
                let words = self.words(a, b);
                let words = _mm512_max_epi16(words, _mm512_set1_epi16(self.low.into()));
                let bytes = _mm512_cvtusepi16_epi8(words);
                _mm256_mask_storeu_epi8(to, mask as u32, bytes);
            } else if let [a] = rounded[..] {
                let numbers = _mm512_add_epi32(a, _mm512_set1_epi32(self.zero.into()));
                let numbers = _mm512_max_epi32(numbers, _mm512_set1_epi32(self.low.into()));
                let bytes = _mm512_cvtusepi32_epi8(numbers);
                _mm_mask_storeu_epi8(to, mask as u16, bytes);
            }
        }
    }

    /// The numbers of two vectors with the zero point; saturation leaves all that are not negative.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn words(&self, a: __m512i, b: __m512i) -> __m512i {
        let words = _mm512_packs_epi32(a, b);
        if PLAIN {
            return words;
        }
        _mm512_adds_epi16(words, _mm512_set1_epi16(self.zero))
    }

    /// The values of the output from rounded numbers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn pack(&self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        let bytes = _mm512_packus_epi16(self.words(a, b), self.words(c, d));
        if PLAIN {
            return bytes;
        }
        _mm512_max_epu8(bytes, _mm512_set1_epi8(self.low.cast_signed()))
    }
}

impl<const PLAIN: bool> Finish<4, PLAIN> {
    /// [`Requantization::apply`] on sums that began with the correction.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn bytes(&self, sums: &[__m512i; 4]) -> __m512i {
        self.pack(self.rounded(sums))
    }
}

/// The blocks of a depthwise convolution, as [`depthwise`] takes them, and the channel of every lane
/// of all of them. Where the channels are no multiple of 16, the last block overlaps the one before and
/// computes the same values again, so that no kernel reads beyond a pixel.
pub fn blocks(channels: usize) -> (Vec<(usize, usize)>, Vec<Option<usize>>) {
    let (mut blocks, mut lanes) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < channels {
        let width = match channels - first {
            64.. => 64,
            32.. => 32,
            _ => PANEL,
        };
        first = first.min(channels - width);
        blocks.push((first, width));
        for vector in 0..4 {
            lanes.extend((0..PANEL).map(|lane| Some(first + position(4, vector, lane) % width)));
        }
        first += width;
    }
    (blocks, lanes)
}
