//! AVX-512 VNNI: `vpdpbusd` adds four products of u8 and i8 to an i32, without saturation.
//!
//! Four vectors of sums, of 16 channels each, become 64 bytes by packing within the 128-bit parts of
//! vectors, and bytes of four rows become quads by unpacking within them. So that the bytes are in
//! order, part p of vector v holds the channels from `16 p + 4 v` on; see [`position`].

use std::{
    arch::x86_64::{
        __m512, __m512i, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm_storeu_si128,
        _mm256_loadu_si256, _mm256_storeu_si256, _mm512_adds_epi16, _mm512_alignr_epi32,
        _mm512_castsi128_si512, _mm512_castsi256_si512, _mm512_castsi512_si128,
        _mm512_castsi512_si256, _mm512_cvtepi32_ps, _mm512_cvtps_epi32, _mm512_div_ps,
        _mm512_dpbusd_epi32, _mm512_extracti32x4_epi32, _mm512_extracti64x4_epi64, _mm512_fmadd_ps,
        _mm512_inserti32x4, _mm512_inserti64x4, _mm512_load_si512, _mm512_loadu_ps,
        _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_max_epu8, _mm512_min_ps, _mm512_mul_ps,
        _mm512_packs_epi32, _mm512_packus_epi16, _mm512_permutexvar_epi32,
        _mm512_permutexvar_epi64, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32,
        _mm512_set1_ps, _mm512_setr_epi32, _mm512_setr_epi64, _mm512_setzero_ps,
        _mm512_setzero_si512, _mm512_store_si512, _mm512_storeu_si512, _mm512_unpackhi_epi8,
        _mm512_unpackhi_epi16, _mm512_unpacklo_epi8, _mm512_unpacklo_epi16,
    },
    marker::PhantomData,
};

use super::{
    panel::{PANEL, QUAD},
    requantization::{Range, Requantization},
    rows::{Output, Rows},
    tile::{Column, Columns, Tile},
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
    for first in (0..rows.count).step_by(TILE) {
        let tile = first..rows.count.min(first + TILE);
        let mut packed = packed;
        let mut channel = 0;
        while channel < channels {
            let vectors = vectors_for(channels - channel);
            let (weights, others) = packed.split_at(vectors * quads * rows.segments.len());
            // Further rows find them in the second-level cache; of few rows they are read at once.
            let is_first_of_many = first == 0 && tile.len() == TILE;
            let next = if is_first_of_many { others } else { &[] };
            let panel = Panel {
                weights,
                next: &next[..next.len().min(weights.len())],
                quads,
                channel,
                channels,
                requantization,
            };
            // SAFETY: the caller says that the rows hold the quads.
            unsafe {
                match needed(requantization) {
                    Needed::Nothing => panel.vectors::<ByPacking>(vectors, rows, tile.clone(), out),
                    Needed::Zero => panel.vectors::<WithZero>(vectors, rows, tile.clone(), out),
                    Needed::Clamping => panel.vectors::<Clamped>(vectors, rows, tile.clone(), out),
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
    /// Weights that are read after these for the first time in a pass, to be fetched meanwhile.
    next: &'a [Quad],
    /// Of a segment.
    quads: usize,
    /// The first one.
    channel: usize,
    /// Of the whole matrix.
    channels: usize,
    requantization: &'a Requantization,
}

impl Panel<'_> {
    /// Computes its channels for the rows of `tile`.
    ///
    /// # Safety
    /// All segments of the rows hold as many quads.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn vectors<S: Saturation>(
        &self,
        vectors: usize,
        rows: &Rows<'_>,
        tile: std::ops::Range<usize>,
        out: &mut Output<'_>,
    ) {
        // SAFETY: the caller says so.
        unsafe {
            match vectors {
                4 => self.multiply::<4, 6, S>(rows, tile, out),
                2 => self.multiply::<2, 8, S>(rows, tile, out),
                _ => self.multiply::<1, 12, S>(rows, tile, out),
            }
        }
    }

    /// [`Self::vectors`], `ROWS` rows at a time. Their sums, the weights of a quad and one activation are
    /// to fit into 32 vectors.
    ///
    /// # Safety
    /// All segments of the rows hold as many quads.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn multiply<const VECTORS: usize, const ROWS: usize, S: Saturation>(
        &self,
        rows: &Rows<'_>,
        tile: std::ops::Range<usize>,
        out: &mut Output<'_>,
    ) {
        let finish = Finish::<VECTORS, S>::new(self.requantization, self.channel);
        let weights = self.weights.as_chunks::<VECTORS>().0;
        let width = (VECTORS * PANEL).min(self.channels - self.channel);
        let stride = out.stride;
        // Once for all rows: what is checked for each costs as much as it stores.
        let out = &mut out.values[self.channel..];
        let end = (tile.end - 1).checked_mul(stride);
        let end = end.and_then(|end| end.checked_add(width));
        assert!(end.is_some_and(|end| end <= out.len()), "room for all rows");
        assert_eq!(weights.len(), self.quads * rows.segments.len(), "all quads");
        assert!(!weights.is_empty(), "something to multiply");
        let out = out.as_mut_ptr();
        let count = tile.len().min(ROWS);
        let last = tile.end - count;
        let together = 4 / VECTORS;
        let is_whole = count == ROWS && width == VECTORS * PANEL;
        let mask = u64::MAX >> (BYTES - width);
        let ahead = self.next.len().div_ceil(tile.len().div_ceil(ROWS)).max(1);
        let mut next = self.next.chunks(ahead);
        for first in tile.step_by(ROWS) {
            for quad in next.next().unwrap_or_default() {
                _mm_prefetch::<_MM_HINT_T1>(quad.0.as_ptr().cast());
            }
            // The last block begins where it is full, and computes some rows a second time.
            let first = first.min(last);
            let block = rows.block::<ROWS>(first, count);
            let mut sums = [finish.correction; ROWS];
            let mut panel = weights.as_ptr();
            for &segment in rows.segments {
                // SAFETY: there are as many weights of every segment.
                let end = unsafe { panel.add(self.quads) };
                let mut quad = 0;
                // At least once, which the compiler is to know: otherwise it makes copies of all sums.
                loop {
                    let mut vectors = [_mm512_setzero_si512(); VECTORS];
                    // SAFETY: as above.
                    for (vector, weights) in vectors.iter_mut().zip(unsafe { &*panel }) {
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
                    quad += 1;
                    // SAFETY: as above.
                    panel = unsafe { panel.add(1) };
                    if panel == end {
                        break;
                    }
                }
            }
            for (number, sums) in sums.chunks_exact(together).enumerate() {
                let sums = std::array::from_fn(|n| sums[n / VECTORS][n % VECTORS]);
                let bytes = rows_in_order::<VECTORS>(finish.bytes(&sums));
                let number = number * together;
                // SAFETY: as asserted, there is as much room in all rows of the tile. The masks have
                // as many bits as bytes may be written.
                unsafe {
                    if is_whole {
                        let to = out.add((first + number) * stride);
                        match VECTORS {
                            1 => scatter::<4>(bytes, to, stride),
                            2 => scatter::<2>(bytes, to, stride),
                            _ => scatter::<1>(bytes, to, stride),
                        }
                        continue;
                    }
                    for place in 0..together {
                        let row = first + (number + place).min(count - 1);
                        let before = place * VECTORS * PANEL;
                        let to = out.add(row * stride).wrapping_sub(before);
                        _mm512_mask_storeu_epi8(to.cast(), mask << before, bytes);
                    }
                }
            }
        }
    }
}

/// The bytes of as many rows as fill a vector with those of `VECTORS` vectors of sums, which have been
/// packed together, row by row.
#[inline]
#[target_feature(enable = "avx512f")]
fn rows_in_order<const VECTORS: usize>(bytes: __m512i) -> __m512i {
    match VECTORS {
        1 => {
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(order, bytes)
        }
        2 => _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), bytes),
        _ => bytes,
    }
}

/// Weights of a depthwise convolution.
pub struct Blocks {
    /// By block of channels, then by four rows of the window, then by column.
    pub weights: Vec<[Quad; 4]>,
    /// Likewise of the window one row further down, of which the rows begin with a zero; only where two
    /// rows of outputs are computed together.
    pub below: Vec<[Quad; 4]>,
    /// First channel and number of channels of each: 64, or 32 of two pixels at a time, or 16 of four.
    pub blocks: Vec<(usize, usize)>,
}

/// See [`super::Depthwise::rows`]. `below` is the second of two rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn depthwise(
    weights: &Blocks,
    requantization: &Requantization,
    tile: &Tile<'_>,
    columns: &mut Columns,
    out: &mut [u8],
    below: Option<&mut [u8]>,
) {
    match needed(requantization) {
        Needed::Nothing => weights.rows::<ByPacking>(requantization, tile, columns, out, below),
        Needed::Zero => weights.rows::<WithZero>(requantization, tile, columns, out, below),
        Needed::Clamping => weights.rows::<Clamped>(requantization, tile, columns, out, below),
    }
}

impl Blocks {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn rows<S: Saturation>(
        &self,
        requantization: &Requantization,
        tile: &Tile<'_>,
        columns: &mut Columns,
        out: &mut [u8],
        below: Option<&mut [u8]>,
    ) {
        match below {
            None => self.multiply::<1, S>(requantization, tile, columns, [out]),
            Some(below) => self.multiply::<2, S>(requantization, tile, columns, [out, below]),
        }
    }

    /// Computes `ROWS` rows of outputs.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn multiply<const ROWS: usize, S: Saturation>(
        &self,
        requantization: &Requantization,
        tile: &Tile<'_>,
        columns: &mut Columns,
        mut outs: [&mut [u8]; ROWS],
    ) {
        let taps = tile.rows.len().div_ceil(QUAD) * tile.horizontal.kernel;
        let in_registers = in_registers(tile.rows.len(), &tile.horizontal);
        for (number, &(channel, width)) in self.blocks.iter().enumerate() {
            let finish = Finish::<4, S>::new(requantization, number * BYTES);
            let block = DepthwiseBlock {
                finish,
                channel,
                tile,
            };
            if !in_registers {
                // Only in registers are two rows computed together.
                let (weights, out) = (&self.weights[number * taps..][..taps], &mut *outs[0]);
                match width {
                    64 => block.planes::<1>(weights, columns, out),
                    32 => block.planes::<2>(weights, columns, out),
                    _ => block.planes::<4>(weights, columns, out),
                }
                continue;
            }
            let weights = std::array::from_fn(|row| match row {
                0 => &self.weights.as_chunks().0[number],
                _ => &self.below.as_chunks().0[number],
            });
            match width {
                64 => block.three_columns::<1, ROWS>(weights, &mut outs),
                32 => block.three_columns::<2, ROWS>(weights, &mut outs),
                _ => block.three_columns::<4, ROWS>(weights, &mut outs),
            }
        }
    }
}

/// Channels of a tile that are computed together, for as many pixels at a time as fill a vector with
/// them.
struct DepthwiseBlock<'a, S> {
    finish: Finish<4, S>,
    /// The first one.
    channel: usize,
    tile: &'a Tile<'a>,
}

impl<S: Saturation> DepthwiseBlock<'_, S> {
    /// The columns of the tile are rearranged first, those apart by the stride beside each other, because
    /// they are read by neighbouring pixels: such a *phase* has four planes of quads, one for each vector
    /// of sums. In a plane the columns follow each other without a gap, so that the vector that a tap of
    /// the window reads begins as many columns after that of the first tap as the tap is to its right.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn planes<const PIXELS: usize>(
        &self,
        weights: &[[Quad; 4]],
        columns: &mut Columns,
        out: &mut [u8],
    ) {
        let Self {
            ref finish,
            channel,
            tile,
        } = *self;
        let width = BYTES / PIXELS;
        let reach = (tile.horizontal.kernel - 1) * tile.horizontal.dilation;
        let phases = tile.horizontal.stride.min(reach + 1);
        let vectors = (out.len() / tile.channels).div_ceil(PIXELS);
        // Vectors of a plane, and of the four planes of a phase.
        let plane = vectors + (reach / tile.horizontal.stride).div_ceil(PIXELS);
        let fours = tile.rows.chunks(QUAD);
        let mut factors = [phases, 4, plane].into_iter();
        let count = factors.try_fold(fours.len(), usize::checked_mul);
        let columns = columns.take(count.expect("columns that fit into memory"));
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
            let end = start(tap).checked_add((vectors + 3 * plane) * BYTES);
            end.is_some_and(|end| end <= columns.len() * BYTES)
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

    /// Likewise for by far the most frequent windows, of three columns beside each other that move by one
    /// or two: each column is rearranged once and stays in registers for all that read it. Four rows of the
    /// input are read by the windows of `ROWS` rows of outputs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn three_columns<const PIXELS: usize, const ROWS: usize>(
        &self,
        weights: [&[[Quad; 4]; 3]; ROWS],
        outs: &mut [&mut [u8]; ROWS],
    ) {
        let Self {
            ref finish,
            channel,
            tile,
        } = *self;
        let columns = TileColumns::<PIXELS>::new(tile, tile.rows, channel);
        let add = |sums: &mut [[__m512i; 4]; ROWS], values: &[__m512i; 4], tap: usize| {
            for (sums, weights) in sums.iter_mut().zip(weights) {
                for lane in 0..4 {
                    let weights = weights[tap][lane].load();
                    sums[lane] = _mm512_dpbusd_epi32(sums[lane], values[lane], weights);
                }
            }
        };
        let length = PIXELS * tile.channels;
        let vectors = outs[0].len().div_ceil(length);
        let mut outs = outs.each_mut().map(|out| out.chunks_mut(length));
        let mut store = |sums: &[[__m512i; 4]; ROWS]| {
            for (out, sums) in outs.iter_mut().zip(sums) {
                if let Some(out) = out.next() {
                    store_pixels::<PIXELS>(finish.bytes(sums), channel, tile.channels, out);
                }
            }
        };
        if tile.horizontal.stride == 2 {
            // Columns 0, 2, 4, ... of the windows; those between are read by one pixel only.
            let mut even = columns.quads(0);
            for vector in 0..vectors {
                let first = vector * PIXELS * 2;
                let next = columns.quads(first + 2 * PIXELS);
                let mut sums = [finish.correction; ROWS];
                add(&mut sums, &even, 0);
                add(&mut sums, &columns.quads(first + 1), 1);
                add(&mut sums, &moved::<PIXELS, 1>(&even, &next), 2);
                even = next;
                store(&sums);
            }
        } else {
            let mut these = columns.quads(0);
            let mut next = columns.quads(PIXELS);
            for vector in 0..vectors {
                let mut sums = [finish.correction; ROWS];
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
                store(&sums);
            }
        }
    }
}

/// Whether the columns of windows are rearranged in registers, by [`DepthwiseBlock::three_columns`].
pub fn in_registers(rows: usize, horizontal: &Span) -> bool {
    rows <= QUAD && (horizontal.kernel, horizontal.dilation) == (3, 1) && horizontal.stride <= 2
}

/// Whether two rows of outputs are computed together: what they read are four rows at most, which are
/// rearranged together anyway.
pub fn in_pairs(vertical: &Span, horizontal: &Span) -> bool {
    let moves_by_one = (vertical.stride, horizontal.stride) == (1, 1);
    moves_by_one && vertical.dilation == 1 && in_registers(vertical.kernel + 1, horizontal)
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
    // SAFETY: the bytes that are written are there, up to those of the last pixel.
    unsafe { scatter::<PIXELS>(bytes, out.as_mut_ptr().add(channel), channels) };
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
    /// The first columns of vectors whose pixels are all inside.
    whole: std::ops::Range<usize>,
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
        let inside = tile.inside();
        let reach = (PIXELS - 1).saturating_mul(tile.horizontal.stride);
        let this = Self {
            sources: std::array::from_fn(|number| tile.source(row(number), channel)),
            whole: inside.start..inside.end.saturating_sub(reach),
            inside,
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
        let values = if self.whole.contains(&first) {
            let mut values = [_mm512_setzero_si512(); QUAD];
            let start = (first - self.inside.start) * self.channels;
            for (values, source) in values.iter_mut().zip(&self.sources) {
                // SAFETY: as asserted, the source has as many bytes at all columns that are inside, and
                // these are.
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
                let column = first.saturating_add(pixel.saturating_mul(self.stride));
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

/// What has to be done besides for a rounded number to become a value of the output. Packing numbers to
/// bytes saturates them anyway.
trait Saturation {
    /// The zero point is to be added.
    const MOVES: bool;
    /// The output may not be as little as 0 or as much as 255, or i32 does not hold all numbers.
    const CLAMPS: bool;
}

struct ByPacking;
impl Saturation for ByPacking {
    const MOVES: bool = false;
    const CLAMPS: bool = false;
}

struct WithZero;
impl Saturation for WithZero {
    const MOVES: bool = true;
    const CLAMPS: bool = false;
}

struct Clamped;
impl Saturation for Clamped {
    const MOVES: bool = true;
    const CLAMPS: bool = true;
}

/// Which [`Saturation`] a requantization needs.
enum Needed {
    Nothing,
    Zero,
    Clamping,
}

fn needed(requantization: &Requantization) -> Needed {
    let Range { zero, low, high } = requantization.range;
    match (requantization.bounded && (low, high) == (0.0, 255.0), zero) {
        (true, 0.0) => Needed::Nothing,
        (true, _) => Needed::Zero,
        (false, _) => Needed::Clamping,
    }
}

/// The requantization of the channels of a panel; see [`Requantization`].
struct Finish<const VECTORS: usize, S> {
    /// What sums of products begin with.
    correction: [__m512i; VECTORS],
    bias: [__m512; VECTORS],
    factor: [__m512; VECTORS],
    bias_factor: __m512,
    divisor: Option<f32>,
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
    fn new(requantization: &Requantization, first: usize) -> Self {
        let range = &requantization.range;
        let mut finish = Self {
            correction: [_mm512_setzero_si512(); VECTORS],
            bias: [_mm512_setzero_ps(); VECTORS],
            factor: [_mm512_setzero_ps(); VECTORS],
            bias_factor: _mm512_set1_ps(requantization.bias_factor),
            divisor: requantization.divisor,
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
    fn bytes(&self, sums: &[__m512i; 4]) -> __m512i {
        let rounded = |n: usize| self.rounded(sums[n], n % VECTORS);
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

    /// Rounded numbers from sums that began with the correction, without the zero point: perhaps less
    /// than what the output may be, and more only where saturation makes up for it. NaN is the least.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rounded(&self, sums: __m512i, vector: usize) -> __m512i {
        let sums = _mm512_cvtepi32_ps(sums);
        let real = _mm512_fmadd_ps(self.bias[vector], self.bias_factor, sums);
        let mut scaled = match self.divisor {
            None => _mm512_mul_ps(real, self.factor[vector]),
            Some(divisor) => {
                let rest = _mm512_mul_ps(real, self.rest[vector]);
                let product = _mm512_fmadd_ps(real, self.factor[vector], rest);
                _mm512_div_ps(product, _mm512_set1_ps(divisor))
            }
        };
        if S::CLAMPS {
            // Of a number and NaN it gives the second operand.
            scaled = _mm512_min_ps(self.high, scaled);
        }
        // Rounds half to even, which nothing in a Rust program may change. What i32 does not hold
        // becomes its least number.
        _mm512_cvtps_epi32(scaled)
    }
}

/// The blocks of a depthwise convolution, as [`Blocks`] has them, and the channel of every lane
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
