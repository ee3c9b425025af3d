//! Convolution of planes, each with weights of its own, on rows as they lie.

use std::cell::RefCell;

use super::{
    blocks::Registers,
    dense::{Finish, Shape},
    lanes::{Lanes, Ymm, Zmm},
    panels::{lanes_inside, whole},
};
use crate::{geometry::Window, kernels::isa::Isa};

/// Rows of the output that are computed together, so that a row of the input is loaded once for them.
const ROWS: usize = 4;
/// Taps of a window from top to bottom at most.
const MAX_TAPS: usize = 16;

thread_local! {
    /// A row of padding.
    static ZEROS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A convolution whose groups have one input each.
pub struct Planes {
    isa: Isa,
    shape: Shape,
    /// `[channel][row][column]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    bounds: Option<(f32, f32)>,
}

impl Planes {
    /// `None` where there is no kernel for the instruction set or the window.
    ///
    /// # Panics
    /// Where the weights or the biases are not as many as the shape says.
    pub fn new(
        isa: Isa,
        shape: Shape,
        weights: &[f32],
        bias: &[f32],
        bounds: Option<(f32, f32)>,
    ) -> Option<Self> {
        Registers::of(isa)?;
        let Window {
            vertical,
            horizontal,
        } = shape.window;
        if shape.groups != shape.input[1]
            || !matches!(horizontal.stride, 1 | 2)
            || vertical.kernel > MAX_TAPS
        {
            return None;
        }
        assert_eq!(weights.len(), shape.output[1] * shape.window.taps());
        assert_eq!(bias.len(), shape.output[1]);
        Some(Self {
            isa,
            shape,
            weights: weights.to_vec(),
            bias: bias.to_vec(),
            bounds,
        })
    }

    /// Computes a plane of the output from all of `input`.
    ///
    /// # Panics
    /// Where slices are of other lengths than the shape says.
    pub fn plane(&self, number: usize, input: &[f32], out: &mut [f32], finish: Option<Finish<'_>>) {
        let [_, channels, height, width] = self.shape.input;
        let [_, all, lines, columns] = self.shape.output;
        assert_eq!(input.len(), self.shape.input.iter().product::<usize>());
        assert_eq!(out.len(), lines * columns);
        let (image, channel) = (number / all, number % all);
        let source = image * channels + channel / (all / channels);
        let taps = self.shape.window.taps();
        let plane = Plane {
            window: self.shape.window,
            input: &input[source * height * width..][..height * width],
            size: [height, width],
            columns,
            weights: &self.weights[channel * taps..][..taps],
            bias: self.bias[channel],
            bounds: self.bounds,
        };
        ZEROS.with_borrow_mut(|zeros| {
            if zeros.len() < width {
                zeros.resize(width, 0.0);
            }
            match self.isa {
                Isa::Reference => unreachable!("there are no kernels without vectors"),
                // SAFETY: the instruction set was detected.
                Isa::Avx2(_) => unsafe { on_ymm(&plane, zeros, out) },
                // SAFETY: as above.
                Isa::Avx512Vnni(_) => unsafe { on_zmm(&plane, zeros, out) },
            }
        });
        if let Some(finish) = finish {
            finish(number, 0, out);
        }
    }
}

struct Plane<'a> {
    window: Window,
    input: &'a [f32],
    /// Height and width of the input.
    size: [usize; 2],
    /// Of the output.
    columns: usize,
    weights: &'a [f32],
    bias: f32,
    bounds: Option<(f32, f32)>,
}

/// # Safety
/// The processor has AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn on_zmm(plane: &Plane<'_>, zeros: &[f32], out: &mut [f32]) {
    // SAFETY: as the caller says.
    unsafe { plane.run::<Zmm>(zeros, out) }
}

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn on_ymm(plane: &Plane<'_>, zeros: &[f32], out: &mut [f32]) {
    // SAFETY: as the caller says.
    unsafe { plane.run::<Ymm>(zeros, out) }
}

impl Plane<'_> {
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn run<V: Lanes>(&self, zeros: &[f32], out: &mut [f32]) {
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let dilates = vertical.dilation > 1 || horizontal.dilation > 1;
        let strides = [vertical.stride, horizontal.stride];
        // SAFETY: as the caller says.
        unsafe {
            match ([vertical.kernel, horizontal.kernel], strides) {
                ([3, 3], [1, 1]) if !dilates => self.rows::<V, 3, 1, ROWS>(zeros, out),
                ([3, 3], [2, 2]) if !dilates => self.rows::<V, 3, 2, ROWS>(zeros, out),
                ([5, 5], [1, 1]) if !dilates => self.rows::<V, 5, 1, ROWS>(zeros, out),
                ([5, 5], [2, 2]) if !dilates => self.rows::<V, 5, 2, ROWS>(zeros, out),
                (_, [_, 1]) => self.any::<V, 1>(zeros, out),
                _ => self.any::<V, 2>(zeros, out),
            }
        }
    }

    /// The row of the input that `tap` reads for a line of the output.
    #[inline(always)]
    fn row<'a>(&'a self, line: usize, tap: usize, zeros: &'a [f32]) -> *const f32 {
        let [height, width] = self.size;
        match self.window.vertical.source(line, tap, height) {
            Some(row) => self.input[row * width..][..width].as_ptr(),
            None => zeros[..width].as_ptr(),
        }
    }

    /// Square windows that move by `STRIDE` both ways, `N` rows of the output together.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn rows<V: Lanes, const TAPS: usize, const STRIDE: usize, const N: usize>(
        &self,
        zeros: &[f32],
        out: &mut [f32],
    ) {
        let mut line = 0;
        for out in out.chunks_mut(N * self.columns) {
            // SAFETY: as the caller says.
            unsafe {
                if out.len() == N * self.columns {
                    self.group::<V, TAPS, STRIDE, N>(line, zeros, out);
                } else {
                    for out in out.chunks_exact_mut(self.columns) {
                        self.group::<V, TAPS, STRIDE, 1>(line, zeros, out);
                        line += 1;
                    }
                }
            }
            line += N;
        }
    }

    /// # Safety
    /// The processor has the instruction set; `out` holds `N` rows.
    #[inline(always)]
    unsafe fn group<V: Lanes, const TAPS: usize, const STRIDE: usize, const N: usize>(
        &self,
        line: usize,
        zeros: &[f32],
        out: &mut [f32],
    ) {
        let width = self.size[1] as isize;
        let count = (N - 1) * STRIDE + TAPS;
        let mut rows = [zeros.as_ptr(); MAX_TAPS];
        for (row, from) in rows.iter_mut().enumerate().take(count) {
            // The last line of the group has all taps that lie below the first line's.
            let below = (row / STRIDE).min(N - 1);
            *from = self.row(line + below, row - below * STRIDE, zeros);
        }
        let weights: &[f32] = &self.weights[..TAPS * TAPS];
        let lanes = V::LANES;
        for column in (0..self.columns).step_by(lanes) {
            let first = (column * STRIDE) as isize - self.window.horizontal.before as isize;
            let is_inside = first >= 0 && first + (TAPS - 1 + lanes * STRIDE) as isize <= width;
            // SAFETY: where it is not inside, the lanes are left out that are not; of the output as many
            // columns are written as there are.
            unsafe {
                let mut sums = [V::splat(self.bias); N];
                for row in 0..count {
                    for tap in 0..TAPS {
                        let from = rows[row].wrapping_offset(first + tap as isize);
                        let values = if is_inside {
                            whole::<V, STRIDE>(from)
                        } else {
                            let at = first + tap as isize;
                            lanes_inside::<V, STRIDE>(from, at, width)
                        };
                        for out in 0..N {
                            if row >= out * STRIDE && row - out * STRIDE < TAPS {
                                let weight = weights[(row - out * STRIDE) * TAPS + tap];
                                sums[out] = values.times_plus(V::splat(weight), sums[out]);
                            }
                        }
                    }
                }
                for (row, sum) in sums.into_iter().enumerate() {
                    self.write(sum, &mut out[row * self.columns..][..self.columns], column);
                }
            }
        }
    }

    /// Any window that moves to the right by `STRIDE`.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn any<V: Lanes, const STRIDE: usize>(&self, zeros: &[f32], out: &mut [f32]) {
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let width = self.size[1] as isize;
        for (line, out) in out.chunks_exact_mut(self.columns).enumerate() {
            let mut rows = [zeros.as_ptr(); MAX_TAPS];
            for (tap, row) in rows.iter_mut().enumerate().take(vertical.kernel) {
                *row = self.row(line, tap, zeros);
            }
            let rows = &rows[..vertical.kernel];
            for column in (0..self.columns).step_by(V::LANES) {
                let first = (column * STRIDE) as isize - horizontal.before as isize;
                // SAFETY: only the lanes inside are read; as many columns are written as there are.
                unsafe {
                    let mut sum = V::splat(self.bias);
                    for (row, weights) in rows.iter().zip(self.weights.chunks(horizontal.kernel)) {
                        for (tap, &weight) in weights.iter().enumerate() {
                            let at = first + (tap * horizontal.dilation) as isize;
                            let from = row.wrapping_offset(at);
                            let values = lanes_inside::<V, STRIDE>(from, at, width);
                            sum = values.times_plus(V::splat(weight), sum);
                        }
                    }
                    self.write(sum, out, column);
                }
            }
        }
    }

    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn write<V: Lanes>(&self, sum: V, out: &mut [f32], column: usize) {
        let out = &mut out[column..];
        // SAFETY: no more is written than there is room for.
        unsafe {
            let sum = match self.bounds {
                Some((low, high)) => sum.at_least(V::splat(low)).at_most(V::splat(high)),
                None => sum,
            };
            if out.len() >= V::LANES {
                sum.store(out.as_mut_ptr());
            } else {
                sum.store_masked(out.as_mut_ptr(), V::mask(0, out.len() as isize));
            }
        }
    }
}
