//! The largest value and the mean of windows over a line, an image or more axes.

use std::ops::Range;

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{check_length, map},
    operation::{Compiled, Inputs, Operation, Writing, expect_type, first},
    parallel::for_each_part,
};
use crate::{
    geometry::{Geometry, Span, Window, volume},
    graph::Node,
    kernels::Isa,
};

/// MaxPool, AveragePool and LpPool.
#[derive(Debug, Clone)]
pub struct Pool {
    geometry: Geometry,
    /// By axis.
    kernel: Vec<usize>,
    pub(super) kind: Kind,
    /// Whether a last window may reach beyond the padding.
    rounds_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Max,
    Average {
        counts_padding: bool,
    },
    /// A norm: the root of the sum of powers.
    Norm {
        power: i32,
    },
}

impl Pool {
    /// # Errors
    /// Fails where the window is none.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self::read(node)?))
    }

    /// # Errors
    /// As [`Self::parse`].
    pub fn read(node: &Node<'_>) -> Result<Self> {
        let kernel = node.list("kernel_shape")?;
        if kernel.is_empty() || kernel.contains(&0) {
            return Err(node.malformed("its window is empty"));
        }
        let flag = |name: &str| Ok::<_, Error>(node.int(name)?.unwrap_or(0) != 0);
        Ok(Self {
            geometry: node.geometry()?,
            kernel,
            kind: match node.op_type.as_str() {
                "MaxPool" => Kind::Max,
                "LpPool" => Kind::Norm {
                    power: i32::try_from(node.int("p")?.unwrap_or(2))
                        .ok()
                        .filter(|power| *power > 0)
                        .ok_or_else(|| node.malformed("its p must be at least 1"))?,
                },
                _ => Kind::Average {
                    counts_padding: flag("count_include_pad")?,
                },
            },
            rounds_up: flag("ceil_mode")?,
        })
    }

    /// The number of axes of the window.
    pub fn axes(&self) -> usize {
        self.kernel.len()
    }

    /// The window along every axis and the shape of the output.
    pub(super) fn fit(&self, dims: &[usize]) -> Result<(Vec<Span>, Vec<usize>)> {
        let [number, channels, ref sizes @ ..] = *dims else {
            return Err(Error::engine(format!("an input of shape {dims:?}")));
        };
        let spans = self.geometry.spans(&self.kernel, sizes)?;
        let mut output = vec![number, channels];
        for (span, &size) in spans.iter().zip(sizes) {
            let positions = match self.rounds_up {
                true => span.positions_rounded_up(size),
                false => span.positions(size),
            };
            output.push(positions.ok_or_else(|| {
                Error::unsupported(format!("{span:?} does not fit {size} values"))
            })?);
        }
        volume(&output)?;
        Ok((spans, output))
    }
}

impl Operation for Pool {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let input = inputs.dims()?;
        expect_type(inputs.get(0)?.dtype, DType::F32)?;
        let (spans, output) = self.fit(input)?;
        let name = match self.kind {
            Kind::Max => "max-pool",
            Kind::Average { .. } => "average-pool",
            Kind::Norm { .. } => "lp-pool",
        };
        let (kind, sizes, lengths) = (self.kind, input[2..].to_vec(), output[2..].to_vec());
        let is_norm = matches!(kind, Kind::Norm { .. });
        let Some(window) = Window::of(&spans).filter(|_| !is_norm) else {
            let volumes = Volumes {
                spans,
                kind,
                input: sizes,
                output: lengths,
            };
            let run = move |inputs: &[&Tensor], out: &Tensor| volumes.run(first(inputs)?, out);
            let operator = Writing { name, run };
            return Ok(Compiled::written(operator, &output, DType::F32));
        };
        let image = |sizes: &[usize]| match *sizes {
            [rows, columns] => [rows, columns],
            _ => [1, sizes.iter().product()],
        };
        let planes = Planes {
            window,
            kind,
            isa: inputs.isa,
            input: image(&sizes),
            output: image(&lengths),
            taps: Vec::new(),
            counts: Vec::new(),
        }
        .with_columns();
        let run = move |inputs: &[&Tensor], out: &Tensor| planes.run(first(inputs)?, out);
        Ok(Compiled::written(
            Writing { name, run },
            &output,
            DType::F32,
        ))
    }
}

struct Planes {
    window: Window,
    kind: Kind,
    isa: Isa,
    input: [usize; 2],
    output: [usize; 2],
    /// Of each tap in a line, the columns of the output that it is for, and where it reads for the first.
    taps: Vec<(Range<usize>, usize)>,
    /// By column, how many taps in a line count.
    counts: Vec<usize>,
}

impl Planes {
    fn run(&self, input: &Tensor, out: &Tensor) -> CandleResult<()> {
        let [height, width] = self.input;
        let [rows, columns] = self.output;
        map(input, out, |input: &[f32], out: &mut [f32]| {
            for_each_part(out, rows * columns, |plane, out| {
                let input = &input[plane * height * width..][..height * width];
                match self.isa {
                    Isa::Reference => self.plane(input, out),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2(_) => {
                        // SAFETY: this instruction set is chosen only where it was detected.
                        unsafe { self.plane_avx2(input, out) }
                    }
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512Vnni(_) => {
                        // SAFETY: as above.
                        unsafe { self.plane_avx512(input, out) }
                    }
                }
            });
            Ok(())
        })
    }

    fn with_columns(mut self) -> Self {
        let span = self.window.horizontal;
        let (width, columns) = (self.input[1], self.output[1]);
        for tap in 0..span.kernel {
            let valid = span.valid(tap, width, columns);
            if let Some(start) = span.source(valid.start, tap, width) {
                self.taps.push((valid, start));
            }
        }
        if let Kind::Average { counts_padding } = self.kind {
            let counts = (0..columns).map(|column| taps(span, column, width, counts_padding));
            self.counts = counts.collect();
        }
        self
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn plane_avx2(&self, input: &[f32], out: &mut [f32]) {
        self.plane(input, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
    fn plane_avx512(&self, input: &[f32], out: &mut [f32]) {
        self.plane(input, out);
    }

    #[inline(always)]
    fn plane(&self, input: &[f32], out: &mut [f32]) {
        for (row, out) in out.chunks_exact_mut(self.output[1]).enumerate() {
            self.row(input, row, out);
        }
    }

    #[inline(always)]
    fn row(&self, plane: &[f32], row: usize, out: &mut [f32]) {
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let [height, width] = self.input;
        out.fill(match self.kind {
            Kind::Max => f32::NEG_INFINITY,
            Kind::Average { .. } | Kind::Norm { .. } => 0.0,
        });
        for tap in 0..vertical.kernel {
            let Some(row) = vertical.source(row, tap, height) else {
                continue;
            };
            let line = &plane[row * width..][..width];
            for (valid, start) in &self.taps {
                let (out, values) = (&mut out[valid.clone()], &line[*start..]);
                match self.kind {
                    Kind::Max => each(out, values, horizontal.stride, |out, value| {
                        *out = if value > *out { value } else { *out };
                    }),
                    Kind::Average { .. } | Kind::Norm { .. } => {
                        each(out, values, horizontal.stride, |out, value| *out += value);
                    }
                }
            }
        }
        let Kind::Average { counts_padding } = self.kind else {
            return;
        };
        let rows = taps(vertical, row, height, counts_padding);
        for (out, &count) in out.iter_mut().zip(&self.counts) {
            *out /= (rows * count) as f32;
        }
    }
}

/// Calls `add` with each place of `out` and its value, which lie `stride` apart.
#[inline(always)]
fn each(out: &mut [f32], values: &[f32], stride: usize, add: impl Fn(&mut f32, f32)) {
    // With the stride as a constant the compiler makes vector code of the common cases.
    match stride {
        1 => {
            for (out, &value) in out.iter_mut().zip(values) {
                add(out, value);
            }
        }
        2 => {
            let (pairs, _) = values.as_chunks::<2>();
            let whole = out.len().min(pairs.len());
            let (now, last) = out.split_at_mut(whole);
            for (out, [value, _]) in now.iter_mut().zip(pairs) {
                add(out, *value);
            }
            // The last value may be the first of a pair that is not whole.
            if let ([out, ..], Some(&value)) = (last, values.get(2 * whole)) {
                add(out, value);
            }
        }
        _ => {
            for (out, &value) in out.iter_mut().zip(values.iter().step_by(stride)) {
                add(out, value);
            }
        }
    }
}

/// Windows along more axes than those of an image.
struct Volumes {
    spans: Vec<Span>,
    kind: Kind,
    input: Vec<usize>,
    output: Vec<usize>,
}

impl Volumes {
    fn run(&self, input: &Tensor, out: &Tensor) -> CandleResult<()> {
        let [size, length] = [&self.input, &self.output].map(|dims| dims.iter().product());
        map(input, out, |input: &[f32], out: &mut [f32]| {
            check_length("the input", input.len(), out.len() / length * size)?;
            for_each_part(out, length, |plane, out| {
                let input = &input[plane * size..][..size];
                for (position, out) in out.iter_mut().enumerate() {
                    *out = self.at(input, position);
                }
            });
            Ok(())
        })
    }

    fn at(&self, plane: &[f32], mut position: usize) -> f32 {
        // Where each window begins that is read along the axes so far, and by how many taps.
        let mut begins = vec![0];
        let mut count = 1;
        let mut stride = 1;
        for (axis, span) in self.spans.iter().enumerate().rev() {
            let (size, at) = (self.input[axis], position % self.output[axis]);
            position /= self.output[axis];
            let sources = (0..span.kernel).filter_map(|tap| span.source(at, tap, size));
            let along = |source| begins.iter().map(move |begin| begin + source * stride);
            begins = sources.flat_map(along).collect();
            if let Kind::Average { counts_padding } = self.kind {
                count *= taps(*span, at, size, counts_padding);
            }
            stride *= size;
        }
        let values = begins.iter().map(|&at| plane[at]);
        match self.kind {
            Kind::Max => values.fold(f32::NEG_INFINITY, f32::max),
            Kind::Average { .. } => values.sum::<f32>() / count as f32,
            Kind::Norm { power: 1 } => values.map(f32::abs).sum(),
            Kind::Norm { power: 2 } => values.map(|value| value * value).sum::<f32>().sqrt(),
            Kind::Norm { power } => {
                let sum: f32 = values.map(|value| value.abs().powi(power)).sum();
                sum.powf(1.0 / power as f32)
            }
        }
    }
}

/// How many taps at a position read the image, or its padding where that counts; at least 1.
pub(super) fn taps(span: Span, position: usize, size: usize, counts_padding: bool) -> usize {
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
