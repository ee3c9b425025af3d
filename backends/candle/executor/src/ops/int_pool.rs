//! Pooling of quantized values: the largest of a window, and the mean.

use std::cell::RefCell;

use candle_core::{Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{check_length, map},
    operation::{Compiled, Inputs, Operation, Writing, first, image},
    parallel::for_each_part,
    pool::{Kind, Pool, taps},
    quantize::{integers, reals},
};
use crate::{
    geometry::{Span, Window},
    graph::{Bounds, Quantization, Target},
    kernels::{self, Integers, Isa, Reals, Windows},
};

thread_local! {
    /// The largest values of some rows, kept from pass to pass.
    static ROW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Likewise the sums of a pixel.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// MaxPool of quantized values, which is that of the real numbers they stand for.
#[derive(Debug)]
pub struct MaxOfQuantized(pub Pool);

impl Operation for MaxOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (images, output) = Images::new(inputs, &self.0)?;
        let isa = inputs.isa;
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            images.run(first(inputs)?, out, |rows, _, out| {
                images.largest(isa, rows, out)
            })
        };
        let name = "int-max-pool";
        Ok(Compiled::quantized(Writing { name, run }, &output))
    }
}

/// AveragePool of images of quantized values.
#[derive(Debug)]
pub struct AverageOfQuantized {
    pub pool: Pool,
    pub input: Quantization,
    pub bounds: Bounds,
    pub output: Target,
}

impl Operation for AverageOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let Kind::Average { counts_padding } = self.pool.kind else {
            return Err(Error::unsupported("a pooling without means"));
        };
        image(inputs.dims()?)?;
        let (images, output) = Images::new(inputs, &self.pool)?;
        let (of, to, isa) = (
            reals(self.input),
            integers(self.bounds, self.output),
            inputs.isa,
        );
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            images.run(first(inputs)?, out, |rows, row, out| {
                images.means(isa, (of, to), (rows, row, counts_padding), out);
            })
        };
        let name = "int-average-pool";
        Ok(Compiled::quantized(Writing { name, run }, &output))
    }
}

/// Windows over images with the channels last.
struct Images {
    window: Window,
    /// Number, height, width and channels.
    input: [usize; 4],
    output: [usize; 4],
    /// By output column, the columns of the input that it reads.
    columns: Vec<Vec<usize>>,
}

impl Images {
    /// And the shape of the output in the order of ONNX.
    fn new(inputs: &Inputs<'_>, pool: &Pool) -> Result<(Self, Vec<usize>)> {
        let dims = inputs.dims()?;
        let (spans, output_dims) = pool.fit(dims)?;
        let image = |dims: &[usize]| match *dims {
            // A line of u8 lies as ONNX has it: every channel is an image of one row and one channel.
            [number, channels, length] => Ok([number * channels, 1, length, 1]),
            _ => image(dims)
                .map(|[number, channels, height, width]| [number, height, width, channels]),
        };
        let (input, output) = (image(dims)?, image(&output_dims)?);
        let window = Window::of(&spans)
            .ok_or_else(|| Error::unsupported("windows over more than an image"))?;
        let columns = (0..output[2]).map(|at| sources(window.horizontal, at, input[2]));
        let this = Self {
            window,
            input,
            output,
            columns: columns.collect(),
        };
        Ok((this, output_dims))
    }

    /// Calls `work` with the rows of the input that a row of the output reads, the number of that row in its
    /// image, and the row.
    fn run(
        &self,
        input: &Tensor,
        out: &Tensor,
        work: impl Fn(&[&[u8]], usize, &mut [u8]) + Send + Sync,
    ) -> CandleResult<()> {
        map(input, out, |values: &[u8], out: &mut [u8]| {
            check_length("the input", values.len(), self.input.iter().product())?;
            let [_, height, width, channels] = self.input;
            let [_, rows, columns, _] = self.output;
            for_each_part(out, columns * channels, |number, out| {
                let (image, row) = (number / rows, number % rows);
                let of = sources(self.window.vertical, row, height).into_iter();
                let length = width * channels;
                let of = of.map(|row| &values[(image * height + row) * length..][..length]);
                work(&of.collect::<Vec<&[u8]>>(), row, out);
            });
            Ok(())
        })
    }

    fn largest(&self, isa: Isa, rows: &[&[u8]], out: &mut [u8]) {
        let Some((first, others)) = rows.split_first() else {
            out.fill(0);
            return;
        };
        ROW.with_borrow_mut(|row| {
            row.clear();
            row.extend_from_slice(first);
            for other in others {
                kernels::maximum(isa, other, row);
            }
            kernels::largest_of_columns(isa, row, &self.columns, self.input[3], out);
        });
    }

    fn means(
        &self,
        isa: Isa,
        (of, to): (Reals, Integers),
        (rows, row, counts_padding): (&[&[u8]], usize, bool),
        out: &mut [u8],
    ) {
        let [_, height, width, channels] = self.input;
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let down = taps(vertical, row, height, counts_padding);
        let across = |column| taps(horizontal, column, width, counts_padding);
        let divisors = (0..self.columns.len()).map(|column| (down * across(column)) as f32);
        let windows = Windows {
            rows,
            columns: &self.columns,
            divisors: &divisors.collect::<Vec<f32>>(),
        };
        SUMS.with_borrow_mut(|sums| {
            sums.resize(sums.len().max(channels), 0.0);
            kernels::average(isa, of, to, &windows, &mut sums[..channels], out);
        });
    }
}

/// What the taps of a window read, from the first to the last.
fn sources(span: Span, position: usize, size: usize) -> Vec<usize> {
    let taps = (0..span.kernel).filter_map(|tap| span.source(position, tap, size));
    taps.collect()
}
