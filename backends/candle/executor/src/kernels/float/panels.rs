//! What the window of a convolution reads, as panels of columns: one column for each position, one row for each
//! product. They are made for a few positions at a time, so that they stay in the cache.

use std::ops::Range;

use super::lanes::{Lanes, Ymm, Zmm};
use crate::{geometry::Window, kernels::isa::Isa};

/// Part of a panel: neighbours in a line of the output, for one tap of the window.
#[derive(Clone, Copy)]
pub struct Piece {
    /// Where it begins among the panels, the product being the first.
    to: usize,
    /// Columns that are written.
    length: usize,
    /// From the beginning of a plane to where the first column reads.
    from: isize,
    /// The columns that read the plane; others are padding.
    low: usize,
    high: usize,
    /// Whether all vectors of the panel can be read at once.
    is_whole: bool,
}

/// The panels of some positions.
pub struct Panels<'a> {
    pub window: Window,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Columns of a line of the output.
    pub columns: usize,
    pub positions: Range<usize>,
    pub channels: usize,
    /// Columns of a panel.
    pub width: usize,
    /// Kept from call to call.
    pub pieces: &'a mut Vec<Piece>,
}

impl Panels<'_> {
    /// Values of all panels.
    pub fn length(&self) -> usize {
        let panels = self.positions.len().div_ceil(self.width);
        panels * self.width * self.products()
    }

    fn products(&self) -> usize {
        self.channels * self.window.taps()
    }

    /// Writes the panels of `planes`, one for each channel.
    ///
    /// # Panics
    /// Where slices are too short, or the instruction set has no kernels.
    pub fn fill(&mut self, isa: Isa, planes: &[f32], out: &mut [f32]) {
        assert!(planes.len() >= self.channels * self.input[0] * self.input[1]);
        assert!(out.len() >= self.length());
        self.find_pieces();
        match isa {
            Isa::Reference => panic!("no kernels"),
            // SAFETY: the instruction set was detected. Pieces lie within the panels, and the columns from
            // `low` to `high` read within a plane, as `find_pieces` has it.
            Isa::Avx2(_) => unsafe { on_ymm(self, planes, out) },
            // SAFETY: as above.
            Isa::Avx512Vnni(_) => unsafe { on_zmm(self, planes, out) },
        }
    }

    fn find_pieces(&mut self) {
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let [height, width] = self.input;
        let products = self.products();
        self.pieces.clear();
        for row_tap in 0..vertical.kernel {
            for tap in 0..horizontal.kernel {
                let mut position = self.positions.start;
                while position < self.positions.end {
                    let number = position - self.positions.start;
                    let (panel, lane) = (number / self.width, number % self.width);
                    let (line, column) = (position / self.columns, position % self.columns);
                    let count = (self.width - lane)
                        .min(self.columns - column)
                        .min(self.positions.end - position);
                    let source = vertical.source(line, row_tap, height);
                    let valid = horizontal.valid(tap, width, column + count);
                    let inside = valid.start.max(column)..valid.end.max(column);
                    let inside = match source {
                        Some(_) if !inside.is_empty() => inside.start - column..inside.end - column,
                        _ => 0..0,
                    };
                    position += count;
                    // Behind the last column the panel is zero.
                    let length = match position == self.positions.end {
                        true => self.width - lane,
                        false => count,
                    };
                    let first = (column * horizontal.stride + tap * horizontal.dilation) as isize
                        - horizontal.before as isize;
                    let is_whole = inside == (0..self.width)
                        && first + (self.width * horizontal.stride) as isize <= width as isize;
                    self.pieces.push(Piece {
                        to: panel * self.width * products + lane,
                        length,
                        from: (source.unwrap_or(0) * width) as isize + first,
                        low: inside.start,
                        high: inside.end,
                        is_whole,
                    });
                }
            }
        }
    }
}

/// # Safety
/// As [`fill`]; the processor has AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn on_zmm(panels: &Panels<'_>, planes: &[f32], out: &mut [f32]) {
    // SAFETY: as the caller says.
    unsafe {
        match panels.window.horizontal.stride {
            1 => fill::<Zmm, 1>(panels, planes, out),
            2 => fill::<Zmm, 2>(panels, planes, out),
            _ => fill::<Zmm, 0>(panels, planes, out),
        }
    }
}

/// # Safety
/// As [`fill`]; the processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn on_ymm(panels: &Panels<'_>, planes: &[f32], out: &mut [f32]) {
    // SAFETY: as the caller says.
    unsafe {
        match panels.window.horizontal.stride {
            1 => fill::<Ymm, 1>(panels, planes, out),
            2 => fill::<Ymm, 2>(panels, planes, out),
            _ => fill::<Ymm, 0>(panels, planes, out),
        }
    }
}

/// With a horizontal stride of `STRIDE`, or of any where that is 0.
///
/// # Safety
/// Every piece lies within `out` for all products, and its columns from `low` to `high` within each plane.
#[inline(always)]
unsafe fn fill<V: Lanes, const STRIDE: usize>(
    panels: &Panels<'_>,
    planes: &[f32],
    out: &mut [f32],
) {
    let plane = panels.input[0] * panels.input[1];
    let taps = panels.window.taps();
    let by_tap = panels.pieces.len() / taps;
    let stride = panels.window.horizontal.stride;
    let (width, planes, out) = (panels.width, planes.as_ptr(), out.as_mut_ptr());
    for channel in 0..panels.channels {
        let plane = planes.wrapping_add(channel * plane);
        for (tap, pieces) in panels.pieces.chunks_exact(by_tap).enumerate() {
            let row = out.wrapping_add((channel * taps + tap) * width);
            for piece in pieces {
                let (from, to) = (
                    plane.wrapping_offset(piece.from),
                    row.wrapping_add(piece.to),
                );
                // SAFETY: as the caller says.
                unsafe {
                    if piece.is_whole && STRIDE > 0 {
                        for column in (0..width).step_by(V::LANES) {
                            let from = from.add(column * STRIDE);
                            whole::<V, STRIDE>(from).store(to.add(column));
                        }
                    } else if STRIDE > 0 {
                        for column in (0..piece.length).step_by(V::LANES) {
                            let at = |lane: usize| lane as isize - column as isize;
                            let from = from.wrapping_add(column * STRIDE);
                            let values = inside::<V, STRIDE>(from, at(piece.low), at(piece.high));
                            values.store_masked(to.add(column), V::mask(0, at(piece.length)));
                        }
                    } else {
                        for column in 0..piece.length {
                            *to.add(column) = match (piece.low..piece.high).contains(&column) {
                                true => *from.wrapping_add(column * stride),
                                false => 0.0,
                            };
                        }
                    }
                }
            }
        }
    }
}

/// A vector of values `STRIDE` apart.
///
/// # Safety
/// `STRIDE` vectors can be read.
#[inline(always)]
pub unsafe fn whole<V: Lanes, const STRIDE: usize>(from: *const f32) -> V {
    // SAFETY: as the caller says.
    unsafe {
        match STRIDE {
            1 => V::load(from),
            _ => V::load(from).evens(V::load(from.add(V::LANES))),
        }
    }
}

/// The lanes from `low` to `high` of [`whole`], the others being 0.
///
/// # Safety
/// The values of these lanes can be read.
#[inline(always)]
pub unsafe fn inside<V: Lanes, const STRIDE: usize>(
    from: *const f32,
    low: isize,
    high: isize,
) -> V {
    let lanes = V::LANES as isize;
    let (low, high) = (low.clamp(0, lanes), high.clamp(0, lanes));
    // SAFETY: as the caller says; of pairs of values the second of the last lane is not read.
    unsafe {
        match STRIDE {
            1 => V::load_masked(from, V::mask(low, high)),
            _ => {
                let (low, high) = (2 * low, 2 * high - 1);
                let next = from.wrapping_add(V::LANES);
                V::load_masked(from, V::mask(low, high))
                    .evens(V::load_masked(next, V::mask(low - lanes, high - lanes)))
            }
        }
    }
}

/// Values `STRIDE` apart of a row of `width`, of which the first is at `at`, with 0 where there are none.
///
/// # Safety
/// The row can be read.
#[inline(always)]
pub unsafe fn lanes_inside<V: Lanes, const STRIDE: usize>(
    from: *const f32,
    at: isize,
    width: isize,
) -> V {
    let stride = STRIDE as isize;
    let low = (-at + stride - 1).div_euclid(stride);
    let high = (width - at + stride - 1).div_euclid(stride);
    // SAFETY: lane `l` reads at `at + l · STRIDE`, which is from 0 to `width`.
    unsafe { inside::<V, STRIDE>(from, low, high) }
}
