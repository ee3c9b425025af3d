//! Convolution on floats over windows along any number of axes, as products of matrices: the values under
//! the window become the columns of one, some positions at a time, so that they stay in the cache.

use std::cell::Cell;

use candle_core::Result;

use super::{access::check_length, int_add::bias_clamp, parallel::for_each_part};
use crate::{
    geometry::Span,
    graph::Bounds,
    kernels::{Matrices, gemm},
};

/// Values of the columns that are made together.
const TILE: usize = 1 << 17;

thread_local! {
    /// The columns, kept from pass to pass.
    static COLUMNS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// What a convolution reads, as columns: one for each position of the window, one row for each product.
pub struct Columns {
    /// By axis.
    spans: Vec<Span>,
    groups: usize,
    /// Number, channels, and a length for each axis.
    input: Vec<usize>,
    output: Vec<usize>,
}

/// A convolution, its bias and what Relu and Clip behind it leave.
pub struct WindowConv {
    pub columns: Columns,
    /// `[channel][channel of the group][tap]`.
    pub weights: Vec<f32>,
    /// By channel.
    pub bias: Vec<f32>,
    pub bounds: Bounds,
}

impl WindowConv {
    /// Computes `out` from `input`.
    ///
    /// # Errors
    /// Fails on other lengths than those it was made for.
    pub fn run(&self, input: &[f32], out: &mut [f32]) -> Result<()> {
        let positions = self.columns.positions();
        let multiply = |of: &Matrices<'_>, out: &mut [f32]| gemm(of, out, positions);
        self.columns.products(input, &self.weights, out, multiply)?;
        bias_clamp(out, positions, &self.bias, self.bounds);
        Ok(())
    }
}

impl Columns {
    /// Of shapes with number and channels first.
    pub fn new(spans: Vec<Span>, groups: usize, input: &[usize], output: &[usize]) -> Self {
        let mut this = Self {
            spans: Vec::with_capacity(spans.len()),
            groups,
            input: input[..2].to_vec(),
            output: output[..2].to_vec(),
        };
        // An axis with a single value that is read as it is makes no difference, but for short lines.
        let lengths = input[2..].iter().zip(&output[2..]);
        for (span, (&size, &length)) in spans.iter().zip(lengths) {
            if !(span.is_pointwise() && size == 1) {
                this.spans.push(*span);
                this.input.push(size);
                this.output.push(length);
            }
        }
        if this.spans.is_empty() {
            this.spans.push(Span::POINT);
            this.input.push(1);
            this.output.push(1);
        }
        this
    }

    /// Positions of the window.
    pub fn positions(&self) -> usize {
        self.output[2..].iter().product()
    }

    /// Calls `multiply` with the weights and the columns of some positions, and with the rest of `out` from
    /// the first of these positions on, for all positions of each group of each image. Rows of the product
    /// begin [`Self::positions`] values apart.
    ///
    /// # Errors
    /// Fails on other lengths than those it was made for.
    pub fn products<T>(
        &self,
        input: &[f32],
        weights: &[f32],
        out: &mut [T],
        mut multiply: impl FnMut(&Matrices<'_>, &mut [T]),
    ) -> Result<()> {
        let positions = self.positions();
        let plane: usize = self.input[2..].iter().product();
        let [inputs, channels] = [self.input[1], self.output[1]].map(|all| all / self.groups);
        let taps: usize = self.spans.iter().map(|span| span.kernel).product();
        let products = inputs * taps;
        check_length("the input", input.len(), self.input.iter().product())?;
        check_length("the output", out.len(), self.output.iter().product())?;
        check_length("the weights", weights.len(), self.output[1] * products)?;
        let tile = (TILE / products).clamp(32, positions.max(32));
        let tile = tile.next_multiple_of(16);
        let mut columns = COLUMNS.take();
        columns.resize(columns.len().max(products * tile), 0.0);
        let of_groups = input.chunks_exact(inputs * plane);
        let groups = of_groups.zip(out.chunks_exact_mut(channels * positions));
        for (number, (input, out)) in groups.enumerate() {
            let group = number % self.groups;
            let weights = &weights[group * channels * products..][..channels * products];
            for start in (0..positions).step_by(tile) {
                let count = tile.min(positions - start);
                let columns = &mut columns[..products * count];
                for_each_part(columns, count, |product, column| {
                    let input = &input[product / taps * plane..][..plane];
                    self.fill(input, product % taps, start, column);
                });
                let matrices = Matrices {
                    rows: channels,
                    columns: count,
                    products,
                    left: weights,
                    left_stride: products,
                    right: columns,
                };
                multiply(&matrices, &mut out[start..]);
            }
        }
        COLUMNS.set(columns);
        Ok(())
    }

    /// The values of a plane that `tap` reads at the positions from `start` on.
    fn fill(&self, plane: &[f32], mut tap: usize, start: usize, out: &mut [f32]) {
        let (sizes, lengths) = (&self.input[2..], &self.output[2..]);
        let axes = self.spans.len();
        // Of each axis, its tap.
        let mut taps = [0; MAX_AXES];
        for axis in (0..axes).rev() {
            taps[axis] = tap % self.spans[axis].kernel;
            tap /= self.spans[axis].kernel;
        }
        let last = axes - 1;
        let (span, size, width) = (self.spans[last], sizes[last], lengths[last]);
        let valid = span.valid(taps[last], size, width);
        let mut position = start;
        let mut out = out;
        while !out.is_empty() {
            let column = position % width;
            let count = (width - column).min(out.len());
            let (run, later) = out.split_at_mut(count);
            out = later;
            let mut outer = position / width;
            position += count;
            // Where the line begins that is read; `None` in the padding.
            let mut begin = Some(0);
            let mut stride = size;
            for axis in (0..last).rev() {
                let source =
                    self.spans[axis].source(outer % lengths[axis], taps[axis], sizes[axis]);
                begin = begin.zip(source).map(|(begin, at)| begin + at * stride);
                stride *= sizes[axis];
                outer /= lengths[axis];
            }
            let inside = valid.start.clamp(column, column + count) - column
                ..valid.end.clamp(column, column + count) - column;
            let (Some(begin), false) = (begin, inside.is_empty()) else {
                run.fill(0.0);
                continue;
            };
            run[..inside.start].fill(0.0);
            run[inside.end..].fill(0.0);
            let first = (column + inside.start) * span.stride + taps[last] * span.dilation;
            let values = &plane[begin + first - span.before..];
            let run = &mut run[inside];
            if span.stride == 1 {
                run.copy_from_slice(&values[..run.len()]);
            } else {
                for (out, &value) in run.iter_mut().zip(values.iter().step_by(span.stride)) {
                    *out = value;
                }
            }
        }
    }
}

/// Axes that a window may have.
pub const MAX_AXES: usize = 6;
