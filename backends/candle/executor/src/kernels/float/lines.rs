//! Lines of an image with their padding, so that all taps of a window read them as they lie, only further on. Where the
//! window moves by more than one, every other line and column is a plane of its own.

use super::{
    lanes::{Lanes, Ymm, Zmm},
    panels::{lanes_inside, whole},
    tile::{MAX_VECTORS, Place, Places},
};
use crate::{geometry::Window, kernels::isa::Isa};

/// How lines are kept, for a number of lines of the output at most.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    pub window: Window,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Columns of a line of the output.
    pub columns: usize,
    pub channels: usize,
    /// Lines of the output.
    pub lines: usize,
}

impl Lines {
    /// From a line to the next: the columns of the output, and those that only further taps read.
    pub fn pitch(&self) -> usize {
        let span = self.window.horizontal;
        self.columns + (span.kernel - 1) * span.dilation / span.stride
    }

    /// Lines that further taps read beyond those of the output.
    pub fn beyond(&self) -> usize {
        let span = self.window.vertical;
        (span.kernel - 1) * span.dilation / span.stride
    }

    /// Planes of a channel.
    pub fn planes(&self) -> usize {
        self.window.vertical.stride * self.window.horizontal.stride
    }

    fn plane(&self) -> usize {
        (self.lines + self.beyond()) * self.pitch()
    }

    /// Values of all lines, and of `more` that may be read behind them.
    pub fn length(&self, more: usize) -> usize {
        self.channels * self.planes() * self.plane() + more
    }

    /// By product, where it reads for the first position.
    pub fn offsets(&self) -> Vec<u32> {
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let mut offsets = Vec::new();
        for channel in 0..self.channels {
            for row in 0..vertical.kernel {
                for column in 0..horizontal.kernel {
                    let (row, column) = (row * vertical.dilation, column * horizontal.dilation);
                    let of = row % vertical.stride * horizontal.stride + column % horizontal.stride;
                    let plane = channel * self.planes() + of;
                    let line = row / vertical.stride;
                    let at =
                        plane * self.plane() + line * self.pitch() + column / horizontal.stride;
                    offsets.push(at as u32);
                }
            }
        }
        offsets
    }

    /// Where `vectors` of positions from `first` on are written, in a plane of the output from the first line on.
    pub fn places(&self, first: usize, vectors: usize, lanes: usize, lines: usize) -> Places {
        let mut places = [Place::default(); MAX_VECTORS];
        for (vector, place) in places.iter_mut().enumerate().take(vectors) {
            let position = first + vector * lanes;
            let (line, column) = (position / self.pitch(), position % self.pitch());
            if line >= lines {
                continue;
            }
            if column < self.columns {
                place.start = line * self.columns + column;
                place.count = lanes.min(self.columns - column);
            }
            let next = self.pitch() - column;
            if next < lanes && line + 1 < lines {
                place.rest_start = (line + 1) * self.columns;
                place.rest = (next, lanes.min(next + self.columns));
            }
        }
        Places::new(places, vectors, lanes)
    }

    /// Positions of as many lines, with those between the lines.
    pub fn positions(&self, lines: usize) -> usize {
        (lines - 1) * self.pitch() + self.columns
    }

    /// Writes what `lines` of the output from `first` on read of `planes`.
    ///
    /// # Panics
    /// Where slices are too short, or the instruction set has no kernels.
    pub fn fill(&self, isa: Isa, first: usize, lines: usize, planes: &[f32], out: &mut [f32]) {
        assert!(planes.len() >= self.channels * self.input[0] * self.input[1]);
        assert!(lines <= self.lines && out.len() >= self.length(Zmm::LANES));
        match isa {
            Isa::Reference => unreachable!("there are no kernels without vectors"),
            // SAFETY: the instruction set was detected.
            Isa::Avx2(_) => unsafe { on_ymm(self, first, lines, planes, out) },
            // SAFETY: as above.
            Isa::Avx512Vnni(_) => unsafe { on_zmm(self, first, lines, planes, out) },
        }
    }

    /// With a horizontal stride of `STRIDE`, or of any where that is 0.
    ///
    /// # Safety
    /// The processor has the instruction set; `out` has room for all lines and a vector.
    #[inline(always)]
    unsafe fn write<V: Lanes, const STRIDE: usize>(
        &self,
        first: usize,
        lines: usize,
        planes: &[f32],
        out: &mut [f32],
    ) {
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let [height, width] = self.input;
        let (pitch, stride) = (self.pitch(), horizontal.stride);
        for (number, plane) in planes.chunks_exact(height * width).enumerate() {
            // In ascending order: a vector may reach into the next line, which is written later.
            for of in 0..self.planes() {
                let (row_of, column_of) = (of / stride, of % stride);
                if row_of > (vertical.kernel - 1) * vertical.dilation
                    || column_of > (horizontal.kernel - 1) * horizontal.dilation
                {
                    continue;
                }
                let start = (number * self.planes() + of) * self.plane();
                for line in 0..lines + self.beyond() {
                    let row = (first + line) * vertical.stride + row_of;
                    let row = row.checked_sub(vertical.before).filter(|&row| row < height);
                    let out = &mut out[start + line * pitch..];
                    let Some(row) = row else {
                        out[..pitch].fill(0.0);
                        continue;
                    };
                    let values = &plane[row * width..][..width];
                    let begin = column_of as isize - horizontal.before as isize;
                    if STRIDE == 0 {
                        for (column, out) in out[..pitch].iter_mut().enumerate() {
                            let at = begin + (column * stride) as isize;
                            let value = usize::try_from(at).ok().and_then(|at| values.get(at));
                            *out = value.copied().unwrap_or(0.0);
                        }
                        continue;
                    }
                    let width = width as isize;
                    for column in (0..pitch).step_by(V::LANES) {
                        let at = begin + (column * STRIDE) as isize;
                        let from = values.as_ptr().wrapping_offset(at);
                        let out = &mut out[column..][..V::LANES];
                        // SAFETY: only lanes of the row are read.
                        unsafe {
                            let is_inside = at >= 0 && at + (V::LANES * STRIDE) as isize <= width;
                            let values = match is_inside {
                                true => whole::<V, STRIDE>(from),
                                false => lanes_inside::<V, STRIDE>(from, at, width),
                            };
                            values.store(out.as_mut_ptr());
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`Lines::write`]; the processor has AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn on_zmm(of: &Lines, first: usize, lines: usize, planes: &[f32], out: &mut [f32]) {
    // SAFETY: as the caller says.
    unsafe {
        match of.window.horizontal.stride {
            1 => of.write::<Zmm, 1>(first, lines, planes, out),
            2 => of.write::<Zmm, 2>(first, lines, planes, out),
            _ => of.write::<Zmm, 0>(first, lines, planes, out),
        }
    }
}

/// # Safety
/// As [`Lines::write`]; the processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn on_ymm(of: &Lines, first: usize, lines: usize, planes: &[f32], out: &mut [f32]) {
    // SAFETY: as the caller says.
    unsafe {
        match of.window.horizontal.stride {
            1 => of.write::<Ymm, 1>(first, lines, planes, out),
            2 => of.write::<Ymm, 2>(first, lines, planes, out),
            _ => of.write::<Ymm, 0>(first, lines, planes, out),
        }
    }
}
