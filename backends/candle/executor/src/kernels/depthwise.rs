//! Convolution of every channel with weights of its own, requantized to u8.

use super::{isa::Isa, reference, requantization::Requantization, tile::Columns};
use crate::geometry::Span;

#[cfg(target_arch = "x86_64")]
use super::{
    avx2, avx512,
    panel::{PANEL, QUAD},
    tile::Tile,
    vnni,
};

/// Columns of the input that a vector kernel rearranges before it multiplies them: with those of two
/// or four rows below each other they stay in the first-level cache.
#[cfg(target_arch = "x86_64")]
const TILE: usize = 64;
/// Bytes that are read at most of the input where columns are rearranged in registers: they stay in the
/// first-level cache for all blocks of channels.
#[cfg(target_arch = "x86_64")]
const TILE_BYTES: usize = 48 << 10;
/// A vector kernel may compute as many pixels at the same time.
#[cfg(target_arch = "x86_64")]
const PIXELS: usize = 4;

/// What a row of outputs is computed from.
pub struct Input<'a> {
    /// By tap from top to bottom, the row of the input that it reads, channels last; `None` in the
    /// padding.
    pub rows: &'a [Option<&'a [u8]>],
    /// Columns of such a row.
    pub width: usize,
    /// What padding reads: the zero point, as often as a row has values.
    pub padding: &'a [u8],
}

enum Packed {
    /// `[tap][channel]`
    Reference(Vec<i8>),
    #[cfg(target_arch = "x86_64")]
    Avx2 {
        weights: Vec<avx2::TapPair>,
        offsets: Vec<usize>,
    },
    #[cfg(target_arch = "x86_64")]
    Vnni(vnni::Blocks),
}

/// Weights packed for an instruction set.
pub struct Depthwise {
    packed: Packed,
    vertical: Span,
    horizontal: Span,
    channels: usize,
    /// Of the blocks one after the other where there are some.
    requantization: Requantization,
}

impl Depthwise {
    /// Packs `weights`, which are `[channel][row][column]`.
    pub fn pack(
        isa: Isa,
        weights: &[i8],
        [vertical, horizontal]: [Span; 2],
        requantization: &Requantization,
    ) -> Self {
        let channels = requantization.bias.len();
        let taps = vertical.kernel * horizontal.kernel;
        assert_eq!(weights.len(), channels * taps, "weights are [channel][tap]");
        #[cfg(target_arch = "x86_64")]
        let window = Weights {
            weights,
            rows: vertical.kernel,
            columns: horizontal.kernel,
        };
        let requantization = &requantization.of_weights(weights);
        let (packed, requantization) = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) if channels >= PANEL => {
                let starts = (0..channels).step_by(PANEL);
                // Where the channels are no multiple of a block, the last one overlaps the one before
                // and computes the same values again, so that no kernel reads beyond a pixel.
                let offsets: Vec<_> = starts.map(|start| start.min(channels - PANEL)).collect();
                let lanes = offsets.iter().flat_map(|&start| start..start + PANEL);
                let lanes: Vec<_> = lanes.map(Some).collect();
                let packed = Packed::Avx2 {
                    weights: window.tap_pairs(&offsets),
                    offsets,
                };
                (packed, requantization.select(&lanes))
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) if channels >= PANEL => {
                let (blocks, lanes) = vnni::blocks(channels);
                let below = match vnni::in_pairs(&vertical, &horizontal) {
                    true => window.quads(&lanes, 1),
                    false => Vec::new(),
                };
                let packed = Packed::Vnni(vnni::Blocks {
                    weights: window.quads(&lanes, 0),
                    below,
                    blocks,
                });
                // SAFETY: this instruction set is chosen only where it was detected.
                let inverse = |divisor| unsafe { avx512::inverse(divisor) };
                let requantization = Requantization {
                    inverse: requantization.divisor.and_then(inverse),
                    ..requantization.select(&lanes)
                };
                (packed, requantization)
            }
            _ => {
                let taps_first =
                    (0..taps).flat_map(|tap| weights.iter().skip(tap).step_by(taps).copied());
                (
                    Packed::Reference(taps_first.collect()),
                    requantization.clone(),
                )
            }
        };
        Self {
            packed,
            vertical,
            horizontal,
            channels,
            requantization,
        }
    }

    /// How many rows of outputs [`Self::rows`] computes at the same time.
    pub fn together(&self) -> usize {
        match &self.packed {
            #[cfg(target_arch = "x86_64")]
            Packed::Vnni(weights) if !weights.below.is_empty() => 2,
            _ => 1,
        }
    }

    /// Computes one row of outputs, channels last, or two where they are computed together and the
    /// input has the row that only the second of them reads. `columns` is room that no value is read
    /// from.
    pub fn rows(&self, input: &Input<'_>, columns: &mut Columns, out: &mut [u8]) {
        let count = (input.rows.len() + 1).checked_sub(self.vertical.kernel);
        let count = count.filter(|count| (1..=self.together()).contains(count));
        let count = count.expect("one row a tap, and one more for a second row of outputs");
        let length = input.width.checked_mul(self.channels);
        let length = length.expect("a row that fits into memory");
        assert_eq!(input.padding.len(), length, "a row");
        let mut rows = input.rows.iter().flatten();
        assert!(rows.all(|row| row.len() == length), "whole rows");
        assert!(
            out.len().is_multiple_of(count * self.channels),
            "whole pixels"
        );
        match &self.packed {
            Packed::Reference(weights) => {
                let mut taps = Vec::with_capacity(input.rows.len() * self.horizontal.kernel);
                for (column, out) in out.chunks_exact_mut(self.channels).enumerate() {
                    taps.clear();
                    for row in input.rows {
                        let pixel = |tap| self.pixel(input, *row, column, tap);
                        taps.extend((0..self.horizontal.kernel).map(pixel));
                    }
                    reference::depthwise(weights, &self.requantization, &taps, out);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Packed::Avx2 { weights, offsets } => {
                self.for_each_tile(input, [out, &mut []], TILE, |tile, out, _| {
                    // SAFETY: weights are packed for this instruction set only where it was
                    // detected.
                    unsafe {
                        avx2::depthwise(weights, offsets, &self.requantization, tile, columns, out);
                    }
                });
            }
            #[cfg(target_arch = "x86_64")]
            Packed::Vnni(weights) => {
                let of_bytes = TILE_BYTES / (input.rows.len() * self.channels);
                let columns_of_tile = match vnni::in_registers(input.rows.len(), &self.horizontal) {
                    true => of_bytes.max(TILE),
                    false => TILE,
                };
                let (out, below) = out.split_at_mut(out.len() / count);
                self.for_each_tile(input, [out, below], columns_of_tile, |tile, out, below| {
                    // SAFETY: as above.
                    unsafe {
                        vnni::depthwise(weights, &self.requantization, tile, columns, out, below);
                    }
                });
            }
        }
    }

    /// The channels that a tap reads at an output column.
    fn pixel<'a>(
        &self,
        input: &Input<'a>,
        row: Option<&'a [u8]>,
        column: usize,
        tap: usize,
    ) -> &'a [u8] {
        let row = row.unwrap_or_default();
        match self
            .horizontal
            .source(column, tap, row.len() / self.channels)
        {
            Some(at) => &row[at * self.channels..][..self.channels],
            None => &input.padding[..self.channels],
        }
    }

    /// Calls `work` with tiles of about as many columns of the input, and of two rows of outputs, the
    /// second of which may be empty.
    #[cfg(target_arch = "x86_64")]
    fn for_each_tile(
        &self,
        input: &Input<'_>,
        [out, below]: [&mut [u8]; 2],
        columns: usize,
        mut work: impl FnMut(&Tile<'_>, &mut [u8], Option<&mut [u8]>),
    ) {
        let Span {
            kernel,
            stride,
            dilation,
            before,
            ..
        } = self.horizontal;
        let reach = (kernel - 1) * dilation + 1;
        let pixels = (columns.saturating_sub(reach) / stride + 1).next_multiple_of(PIXELS);
        let mut below = below.chunks_mut(pixels * self.channels);
        for (number, out) in out.chunks_mut(pixels * self.channels).enumerate() {
            let tile = Tile {
                rows: input.rows,
                padding: input.padding,
                channels: self.channels,
                first: (number * pixels * stride).cast_signed() - before.cast_signed(),
                width: (out.len() / self.channels - 1) * stride + reach,
                input_width: input.width,
                horizontal: self.horizontal,
            };
            work(&tile, out, below.next());
        }
    }
}

/// `[channel][row][column]`
#[cfg(target_arch = "x86_64")]
struct Weights<'a> {
    weights: &'a [i8],
    rows: usize,
    columns: usize,
}

#[cfg(target_arch = "x86_64")]
impl Weights<'_> {
    /// For every block of channels from one of `offsets` on, then for every two rows, then for every
    /// column. Missing rows are zero.
    fn tap_pairs(&self, offsets: &[usize]) -> Vec<avx2::TapPair> {
        let mut packed = Vec::new();
        for offset in offsets {
            for row in (0..self.rows).step_by(2) {
                for column in 0..self.columns {
                    let of_row = |row| -> [i8; PANEL] {
                        std::array::from_fn(|lane| self.of(offset + lane, row, column))
                    };
                    packed.push(avx2::TapPair::new(&of_row(row), &of_row(row + 1)));
                }
            }
        }
        packed
    }

    /// For every block of four vectors, then for every four rows, then for every column. `lanes` has
    /// the channel of every lane. Missing rows are zero, as are `before` rows before the first.
    fn quads(&self, lanes: &[Option<usize>], before: usize) -> Vec<[vnni::Quad; 4]> {
        let mut packed = Vec::new();
        for vectors in lanes.as_chunks::<PANEL>().0.as_chunks::<4>().0 {
            for row in (0..self.rows).step_by(QUAD) {
                for column in 0..self.columns {
                    packed.push(vectors.map(|lanes| {
                        vnni::Quad::new(&lanes.map(|channel| {
                            std::array::from_fn(|number| {
                                let row = (row + number).checked_sub(before);
                                let at = channel.zip(row);
                                at.map_or(0, |(channel, row)| self.of(channel, row, column))
                            })
                        }))
                    }));
                }
            }
        }
        packed
    }

    fn of(&self, channel: usize, row: usize, column: usize) -> i8 {
        if row >= self.rows {
            return 0;
        }
        self.weights[(channel * self.rows + row) * self.columns + column]
    }
}
