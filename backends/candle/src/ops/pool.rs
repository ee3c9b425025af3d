//! The largest value and the mean of windows over an image.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_probe::{Error, Result};

use super::{
    access::{check_length, map},
    operation::{Compiled, Inputs, Operation, Writing, expect_type, first},
    parallel::for_each_part,
};
use crate::{
    geometry::{Geometry, Span, Window},
    graph::Node,
};

/// MaxPool and AveragePool of images.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    geometry: Geometry,
    kernel: [usize; 2],
    kind: Kind,
    /// Whether a last window may reach beyond the padding.
    rounds_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Max,
    Average { counts_padding: bool },
}

impl Pool {
    /// # Errors
    /// Fails where the window is not one of an image.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self::read(node)?))
    }

    /// # Errors
    /// As [`Self::parse`].
    pub fn read(node: &Node<'_>) -> Result<Self> {
        let kernel = node.ints("kernel_shape").unwrap_or_default();
        let [height, width] = *kernel else {
            return Err(node.unsupported(format!("a window {kernel:?} is not of an image")));
        };
        let kernel = [height, width].map(|length| usize::try_from(length).unwrap_or(0));
        if kernel.contains(&0) {
            return Err(node.malformed("its window is empty"));
        }
        let flag = |name: &str| Ok::<_, Error>(node.int(name)?.unwrap_or(0) != 0);
        Ok(Self {
            geometry: node.geometry()?,
            kernel,
            kind: match node.op_type.as_str() {
                "MaxPool" => Kind::Max,
                _ => Kind::Average {
                    counts_padding: flag("count_include_pad")?,
                },
            },
            rounds_up: flag("ceil_mode")?,
        })
    }

    /// The window over an image and the shape of the output.
    fn fit(&self, dims: [usize; 4]) -> Result<(Window, [usize; 4])> {
        let [number, channels, height, width] = dims;
        let window = self.geometry.window(self.kernel, [height, width])?;
        let (rows, columns) = if self.rounds_up {
            window.output_rounded_up(height, width)?
        } else {
            window.output(height, width)?
        };
        Ok((window, [number, channels, rows, columns]))
    }

    /// The same of u8 with the channels last.
    pub fn on_integers(self) -> PoolOfQuantized {
        PoolOfQuantized(self)
    }
}

impl Operation for Pool {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let input = inputs.image()?;
        expect_type(inputs.get(0)?.dtype, DType::F32)?;
        let (window, output) = self.fit(input)?;
        let planes = Planes {
            window,
            kind: self.kind,
            input: [input[2], input[3]],
            output: [output[2], output[3]],
        };
        let name = match self.kind {
            Kind::Max => "max-pool",
            Kind::Average { .. } => "average-pool",
        };
        let run = move |inputs: &[&Tensor], out: &Tensor| planes.run(first(inputs)?, out);
        Ok(Compiled::written(
            Writing { name, run },
            &output,
            DType::F32,
        ))
    }
}

/// MaxPool of quantized values, which is that of the real numbers they stand for.
#[derive(Debug)]
pub struct PoolOfQuantized(Pool);

impl Operation for PoolOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let input = inputs.image()?;
        let (window, output) = self.0.fit(input)?;
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            map(first(inputs)?, out, |values: &[u8], out: &mut [u8]| {
                check_length("the input", values.len(), input.iter().product())?;
                let [_, channels, height, width] = input;
                let [_, _, rows, columns] = output;
                for_each_part(out, columns * channels, |number, out| {
                    let (image, row) = (number / rows, number % rows);
                    out.fill(0);
                    for tap in 0..window.vertical.kernel {
                        let Some(row) = window.vertical.source(row, tap, height) else {
                            continue;
                        };
                        let row = &values[(image * height + row) * width * channels..];
                        let pixels = out.chunks_exact_mut(channels).enumerate();
                        for (column, out) in pixels {
                            for tap in 0..window.horizontal.kernel {
                                let column = window.horizontal.source(column, tap, width);
                                let Some(column) = column else { continue };
                                let pixel = &row[column * channels..][..channels];
                                for (out, &value) in out.iter_mut().zip(pixel) {
                                    *out = value.max(*out);
                                }
                            }
                        }
                    }
                });
                Ok(())
            })
        };
        let name = "int-max-pool";
        Ok(Compiled::quantized(Writing { name, run }, &output))
    }
}

struct Planes {
    window: Window,
    kind: Kind,
    input: [usize; 2],
    output: [usize; 2],
}

impl Planes {
    fn run(&self, input: &Tensor, out: &Tensor) -> CandleResult<()> {
        let [height, width] = self.input;
        let [rows, columns] = self.output;
        map(input, out, |input: &[f32], out: &mut [f32]| {
            for_each_part(out, rows * columns, |plane, out| {
                let input = &input[plane * height * width..][..height * width];
                for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                    self.row(input, row, out);
                }
            });
            Ok(())
        })
    }

    fn row(&self, plane: &[f32], row: usize, out: &mut [f32]) {
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let [height, width] = self.input;
        let columns = out.len();
        out.fill(match self.kind {
            Kind::Max => f32::NEG_INFINITY,
            Kind::Average { .. } => 0.0,
        });
        for tap in 0..vertical.kernel {
            let Some(row) = vertical.source(row, tap, height) else {
                continue;
            };
            let line = &plane[row * width..][..width];
            for tap in 0..horizontal.kernel {
                let valid = horizontal.valid(tap, width, columns);
                let Some(start) = horizontal.source(valid.start, tap, width) else {
                    continue;
                };
                let values = line[start..].iter().step_by(horizontal.stride);
                let pairs = out[valid].iter_mut().zip(values);
                match self.kind {
                    Kind::Max => pairs.for_each(|(out, &value)| *out = out.max(value)),
                    Kind::Average { .. } => pairs.for_each(|(out, &value)| *out += value),
                }
            }
        }
        let Kind::Average { counts_padding } = self.kind else {
            return;
        };
        let rows = taps(vertical, row, height, counts_padding);
        for (column, out) in out.iter_mut().enumerate() {
            *out /= (rows * taps(horizontal, column, width, counts_padding)) as f32;
        }
    }
}

/// How many taps at a position read the image, or its padding where that counts; at least 1.
fn taps(span: Span, position: usize, size: usize, counts_padding: bool) -> usize {
    let reads = |tap: &usize| {
        if counts_padding {
            let at = position * span.stride + tap * span.dilation;
            at < span.before + size + span.after
        } else {
            span.source(position, *tap, size).is_some()
        }
    };
    (0..span.kernel).filter(reads).count().max(1)
}
