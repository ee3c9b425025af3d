//! Convolution of every channel with weights of its own.

use std::arch::x86_64::{
    __m512i, _mm512_alignr_epi32, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_loadu_si512,
    _mm512_setzero_si512, _mm512_store_si512, _mm512_storeu_si512, _mm512_unpackhi_epi8,
    _mm512_unpackhi_epi16, _mm512_unpacklo_epi8, _mm512_unpacklo_epi16,
};

use super::{
    BYTES, Quad,
    finish::{Ending, Finish, with_ending},
    gather, position, scatter,
};
use crate::{
    geometry::Span,
    kernels::{
        panel::{PANEL, QUAD},
        requantization::Requantization,
        tile::{Column, Columns, Tile},
    },
};

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

/// See [`crate::kernels::Depthwise::rows`]. `below` is the second of two rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn depthwise(
    weights: &Blocks,
    requantization: &Requantization,
    tile: &Tile<'_>,
    columns: &mut Columns,
    out: &mut [u8],
    below: Option<&mut [u8]>,
) {
    with_ending!(requantization, Needed => {
        weights.rows::<Needed>(requantization, tile, columns, out, below);
    });
}

impl Blocks {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn rows<E: Ending>(
        &self,
        requantization: &Requantization,
        tile: &Tile<'_>,
        columns: &mut Columns,
        out: &mut [u8],
        below: Option<&mut [u8]>,
    ) {
        match below {
            None => self.multiply::<1, E>(requantization, tile, columns, [out]),
            Some(below) => self.multiply::<2, E>(requantization, tile, columns, [out, below]),
        }
    }

    /// Computes `ROWS` rows of outputs.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn multiply<const ROWS: usize, E: Ending>(
        &self,
        requantization: &Requantization,
        tile: &Tile<'_>,
        columns: &mut Columns,
        mut outs: [&mut [u8]; ROWS],
    ) {
        let taps = tile.rows.len().div_ceil(QUAD) * tile.horizontal.kernel;
        let in_registers = in_registers(tile.rows.len(), &tile.horizontal);
        for (number, &(channel, width)) in self.blocks.iter().enumerate() {
            let finish = Finish::<4, E>::new(requantization, number * BYTES);
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
struct DepthwiseBlock<'a, E> {
    finish: Finish<4, E>,
    /// The first one.
    channel: usize,
    tile: &'a Tile<'a>,
}

impl<E: Ending> DepthwiseBlock<'_, E> {
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
