//! What is computed from all values along some axes: reductions, softmax, normalization.

use std::cmp::Ordering;

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{Written, map, read, write},
    functions::exp,
    operation::{Compiled, Inputs, Operation, Writing, axes_of, expect_type, first},
    parallel::{CHUNK, for_each_part, part},
    strided_softmax::{Layout, SHORT, softmax_side_by_side},
};
use crate::geometry::axis_of;
use crate::graph::Node;

/// What is made of several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSumExp,
}

/// A reduction along axes.
#[derive(Debug)]
pub struct Reduce {
    function: Function,
    /// `None` where they are an input.
    axes: Option<Vec<i64>>,
    keeps_axes: bool,
    /// Without axes it does nothing, and does not reduce all of them.
    none_is_none: bool,
}

impl Reduce {
    /// # Errors
    /// Fails where `node` is no reduction.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let function = match node.op_type.as_str() {
            "ReduceSum" => Function::Sum,
            "ReduceMean" => Function::Mean,
            "ReduceMax" => Function::Max,
            "ReduceMin" => Function::Min,
            "ReduceProd" => Function::Prod,
            "ReduceL1" => Function::L1,
            "ReduceL2" => Function::L2,
            "ReduceSumSquare" => Function::SumSquare,
            "ReduceLogSumExp" => Function::LogSumExp,
            _ => return Err(node.unsupported("it is no reduction")),
        };
        Ok(Box::new(Self {
            function,
            axes: node.ints("axes").map(<[i64]>::to_vec),
            keeps_axes: node.int("keepdims")?.unwrap_or(1) != 0,
            none_is_none: node.int("noop_with_empty_axes")?.unwrap_or(0) != 0,
        }))
    }

    /// # Errors
    /// Fails where `node` reduces no image.
    pub fn parse_global(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Global(match node.op_type.as_str() {
            "GlobalAveragePool" => Function::Mean,
            "GlobalMaxPool" => Function::Max,
            _ => return Err(node.unsupported("it is no reduction")),
        })))
    }
}

/// A reduction of each plane.
#[derive(Debug)]
struct Global(Function);

impl Operation for Global {
    fn averages(&self, inputs: &Inputs<'_>) -> Result<Option<Vec<usize>>> {
        let axes = (2..inputs.dims()?.len()).collect();
        Ok((self.0 == Function::Mean).then_some(axes))
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let rank = inputs.dims()?.len();
        if rank < 3 {
            return Err(Error::unsupported("its input is no image"));
        }
        reduce(self.0, inputs, &(2..rank).collect::<Vec<_>>(), true)
    }
}

impl Operation for Reduce {
    fn is_parameter(&self, position: usize) -> bool {
        position == 1
    }

    fn averages(&self, inputs: &Inputs<'_>) -> Result<Option<Vec<usize>>> {
        match self.function {
            Function::Mean => self.axes(inputs).map(Some),
            _ => Ok(None),
        }
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        reduce(self.function, inputs, &self.axes(inputs)?, self.keeps_axes)
    }
}

impl Reduce {
    fn axes(&self, inputs: &Inputs<'_>) -> Result<Vec<usize>> {
        let rank = inputs.dims()?.len();
        let axes = match &self.axes {
            Some(axes) => Some(axes.clone()),
            None => inputs.optional_integers(1)?,
        };
        match axes {
            Some(axes) if !axes.is_empty() => axes_of(&axes, rank),
            _ if self.none_is_none => Ok(Vec::new()),
            _ => Ok((0..rank).collect()),
        }
    }
}

/// The integer of a type that is nearest to one of 64 bits.
macro_rules! clamped {
    ($integer:expr, $type:ty) => {
        $integer.clamp(<$type>::MIN.into(), <$type>::MAX.into()) as $type
    };
}

fn reduce(
    function: Function,
    inputs: &Inputs<'_>,
    axes: &[usize],
    keeps_axes: bool,
) -> Result<Compiled> {
    let fact = inputs.get(0)?;
    let (order, length) = last(&fact.dims, axes);
    let isa = inputs.isa;
    let run = move |inputs: &[&Tensor], out: &Tensor| {
        let input = first(inputs)?.permute(&order[..])?;
        match input.dtype() {
            DType::F32 => rows(&input, out, length, |row: &[f32]| {
                isa.run(|| of_floats(function, row))
            }),
            DType::F64 => rows(&input, out, length, |row: &[f64]| of_doubles(function, row)),
            DType::I64 => rows(&input, out, length, |row: &[i64]| {
                of_integers(function, row.iter().copied())
            }),
            DType::I32 => narrow(function, &input, out, length, |all| clamped!(all, i32)),
            // They hold i8.
            DType::I16 => narrow(function, &input, out, length, |all| {
                i16::from(clamped!(all, i8))
            }),
            _ => narrow(function, &input, out, length, |all| clamped!(all, u8)),
        }
    };
    if !fact.dtype.is_float()
        && !matches!(
            function,
            Function::Sum | Function::Prod | Function::Max | Function::Min
        )
    {
        expect_type(fact.dtype, DType::F32)?;
    }
    let dims = reduced(&fact.dims, axes, keeps_axes);
    let name = "reduce";
    Ok(Compiled::written(Writing { name, run }, &dims, fact.dtype))
}

/// The order of axes in which `axes` come last, and how many values they hold together.
fn last(dims: &[usize], axes: &[usize]) -> (Vec<usize>, usize) {
    let others = (0..dims.len()).filter(|axis| !axes.contains(axis));
    let order = others.chain(axes.iter().copied()).collect();
    (order, axes.iter().map(|&axis| dims[axis]).product())
}

fn reduced(dims: &[usize], axes: &[usize], keeps_axes: bool) -> Vec<usize> {
    let dims = dims.iter().enumerate();
    dims.filter_map(|(axis, &length)| match axes.contains(&axis) {
        true => keeps_axes.then_some(1),
        false => Some(length),
    })
    .collect()
}

/// One value of every row of `length` values.
fn rows<T: Written, U: Written>(
    input: &Tensor,
    out: &Tensor,
    length: usize,
    of: impl Fn(&[T]) -> U + Sync,
) -> CandleResult<()> {
    /// Enough rows for a task to be worth its cost.
    const ROWS: usize = 64;
    map(input, out, |input: &[T], out: &mut [U]| {
        for_each_part(out, ROWS, |number, out| {
            for (row, out) in out.iter_mut().enumerate() {
                *out = of(&input[(number * ROWS + row) * length..][..length]);
            }
        });
        Ok(())
    })
}

#[inline(always)]
fn of_floats(function: Function, row: &[f32]) -> f32 {
    match function {
        Function::Sum => sum(row, |x| x),
        Function::Mean => sum(row, |x| x) / row.len() as f32,
        Function::Max => largest(row),
        Function::Min => row.iter().copied().fold(f32::INFINITY, f32::min),
        Function::Prod => row.iter().product(),
        Function::L1 => sum(row, f32::abs),
        Function::L2 => sum(row, |x| x * x).sqrt(),
        Function::SumSquare => sum(row, |x| x * x),
        Function::LogSumExp => {
            let largest = largest(row);
            sum(row, |x| exp(x - largest)).ln() + largest
        }
    }
}

/// In eight sums side by side: more exact than one, and what vectors hold.
#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += of(value);
        }
    }
    let rest: f32 = rest.iter().map(|&value| of(value)).sum();
    sums.iter().sum::<f32>() + rest
}

fn of_doubles(function: Function, row: &[f64]) -> f64 {
    let sum = |of: &dyn Fn(f64) -> f64| row.iter().map(|&value| of(value)).sum::<f64>();
    match function {
        Function::Sum => sum(&|x| x),
        Function::Mean => sum(&|x| x) / row.len() as f64,
        Function::Max => row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Function::Min => row.iter().copied().fold(f64::INFINITY, f64::min),
        Function::Prod => row.iter().product(),
        Function::L1 => sum(&f64::abs),
        Function::L2 => sum(&|x| x * x).sqrt(),
        Function::SumSquare => sum(&|x| x * x),
        Function::LogSumExp => {
            let largest = of_doubles(Function::Max, row);
            sum(&|x| (x - largest).exp()).ln() + largest
        }
    }
}

/// Of integers of fewer bits, added up in 64.
fn narrow<T: Written + Into<i64>>(
    function: Function,
    input: &Tensor,
    out: &Tensor,
    length: usize,
    of: fn(i64) -> T,
) -> CandleResult<()> {
    rows(input, out, length, |row: &[T]| {
        of(of_integers(function, row.iter().map(|&value| value.into())))
    })
}

/// Shapes are integers: beyond their range nothing is meant.
fn of_integers(function: Function, row: impl Iterator<Item = i64>) -> i64 {
    match function {
        Function::Max => row.max().unwrap_or(i64::MIN),
        Function::Min => row.min().unwrap_or(i64::MAX),
        Function::Prod => row.fold(1, i64::saturating_mul),
        _ => row.fold(0, i64::saturating_add),
    }
}

/// Where the largest or the smallest value of an axis is.
#[derive(Debug)]
pub struct Arg {
    axis: i64,
    keeps_axis: bool,
    wanted: Ordering,
    /// Of equal values the last, not the first.
    takes_last: bool,
}

impl Arg {
    /// # Errors
    /// Fails where an attribute is of another type.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self {
            axis: node.int("axis")?.unwrap_or(0),
            keeps_axis: node.int("keepdims")?.unwrap_or(1) != 0,
            wanted: match node.op_type.as_str() {
                "ArgMax" => Ordering::Greater,
                _ => Ordering::Less,
            },
            takes_last: node.int("select_last_index")?.unwrap_or(0) != 0,
        }))
    }
}

impl Operation for Arg {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let axes = [axis_of(self.axis, fact.dims.len())?];
        let (order, length) = last(&fact.dims, &axes);
        let (wanted, takes_last) = (self.wanted, self.takes_last);
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let input = first(inputs)?.permute(&order[..])?;
            let find = Find { wanted, takes_last };
            match input.dtype() {
                DType::F32 => rows(&input, out, length, |row: &[f32]| find.of(row)),
                DType::F64 => rows(&input, out, length, |row: &[f64]| find.of(row)),
                DType::I64 => rows(&input, out, length, |row: &[i64]| find.of(row)),
                DType::I32 => rows(&input, out, length, |row: &[i32]| find.of(row)),
                DType::I16 => rows(&input, out, length, |row: &[i16]| find.of(row)),
                DType::U8 => rows(&input, out, length, |row: &[u8]| find.of(row)),
                other => candle_core::bail!("values of type {other:?}"),
            }
        };
        let dims = reduced(&fact.dims, &axes, self.keeps_axis);
        let name = "arg";
        Ok(Compiled::written(Writing { name, run }, &dims, DType::I64))
    }
}

/// What is looked for in a row.
#[derive(Clone, Copy)]
struct Find {
    wanted: Ordering,
    takes_last: bool,
}

impl Find {
    fn of<T: PartialOrd>(self, row: &[T]) -> i64 {
        let mut best = 0;
        for (index, value) in row.iter().enumerate() {
            let order = value.partial_cmp(&row[best]);
            if order == Some(self.wanted) || (self.takes_last && order == Some(Ordering::Equal)) {
                best = index;
            }
        }
        best as i64
    }
}

/// Softmax and its logarithm.
#[derive(Debug)]
pub struct Softmax {
    axis: i64,
    /// Until operator set 12: along all axes from this one on.
    flattens: bool,
    is_log: bool,
}

impl Softmax {
    /// # Errors
    /// Fails where the axis is no integer.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let flattens = node.opset < 13;
        let default = if flattens { 1 } else { -1 };
        Ok(Box::new(Self {
            axis: node.int("axis")?.unwrap_or(default),
            flattens,
            is_log: node.op_type == "LogSoftmax",
        }))
    }
}

impl Operation for Softmax {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        expect_type(fact.dtype, DType::F32)?;
        let axis = axis_of(self.axis, fact.dims.len())?;
        let end = if self.flattens {
            fact.dims.len()
        } else {
            axis + 1
        };
        let length: usize = fact.dims[axis..end].iter().product();
        let stride: usize = fact.dims[end..].iter().product();
        let (is_log, isa) = (self.is_log, inputs.isa);
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            map(first(inputs)?, out, |input: &[f32], out: &mut [f32]| {
                let block = length * stride;
                if stride == 1 && length < SHORT && !is_log {
                    let of = Layout {
                        length,
                        step: 1,
                        next: length,
                    };
                    for_each_part(out, CHUNK / SHORT * length, |number, out| {
                        let input = part(input, CHUNK / SHORT * length, number);
                        softmax_side_by_side(isa, of, input.len() / length, input, out);
                    });
                    return Ok(());
                }
                for_each_part(out, block, |number, out| {
                    let input = &input[number * block..][..block];
                    if stride > 1 && !is_log {
                        let of = Layout {
                            length,
                            step: stride,
                            next: 1,
                        };
                        softmax_side_by_side(isa, of, stride, input, out);
                    } else {
                        isa.run(|| softmax(input, stride, is_log, out));
                    }
                });
                Ok(())
            })
        };
        let name = if is_log { "log-softmax" } else { "softmax" };
        Ok(Compiled::written(
            Writing { name, run },
            &fact.dims,
            DType::F32,
        ))
    }
}

/// Of values that are `stride` apart.
#[inline(always)]
fn softmax(input: &[f32], stride: usize, is_log: bool, out: &mut [f32]) {
    if stride == 1 {
        return softmax_of_row(input, is_log, out);
    }
    let mut row = vec![0.0; input.len() / stride];
    let mut result = row.clone();
    for first in 0..stride {
        let values = input[first..].iter().step_by(stride);
        row.iter_mut()
            .zip(values)
            .for_each(|(to, &value)| *to = value);
        softmax_of_row(&row, is_log, &mut result);
        let out = out[first..].iter_mut().step_by(stride);
        out.zip(&result).for_each(|(out, &value)| *out = value);
    }
}

#[inline(always)]
pub fn softmax_of_row(row: &[f32], is_log: bool, out: &mut [f32]) {
    let largest = largest(row);
    for (out, &value) in out.iter_mut().zip(row) {
        *out = exp(value - largest);
    }
    let sum = sum(out, |x| x);
    if is_log {
        let log = sum.ln();
        for (out, &value) in out.iter_mut().zip(row) {
            *out = value - largest - log;
        }
    } else {
        out.iter_mut().for_each(|out| *out /= sum);
    }
}

/// In eight maxima side by side. NaN is none, unless there is nothing else.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = row.as_chunks::<8>();
    let mut largest = [f32::NEG_INFINITY; 8];
    for chunk in chunks {
        for (largest, &value) in largest.iter_mut().zip(chunk) {
            *largest = larger(*largest, value);
        }
    }
    rest.iter()
        .chain(&largest)
        .copied()
        .fold(f32::NEG_INFINITY, larger)
}

/// The normalizations that compute mean and variance from the values of a sample.
#[derive(Debug)]
pub enum Norm {
    /// Of the axes from one on, with scales and biases of their shape.
    Layer { axis: i64, epsilon: f32 },
    /// What one of the axes from one on is normalized by.
    Statistic {
        axis: i64,
        epsilon: f32,
        is_mean: bool,
    },
    /// Of each channel.
    Instance { epsilon: f32 },
    /// Of groups of channels; until operator set 20 with one scale and bias for each group.
    Group {
        groups: usize,
        scales_groups: bool,
        epsilon: f32,
    },
}

impl Norm {
    /// # Errors
    /// Fails where its numbers are of another type.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Self::read(node, 0)
    }

    /// The output at `index`: LayerNormalization has the mean and one over the deviation as well.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(node: &Node<'_>, index: usize) -> Result<Box<dyn Operation>> {
        let epsilon = node.float("epsilon").unwrap_or(1e-5);
        Ok(Box::new(match node.op_type.as_str() {
            "LayerNormalization" if index > 0 => Self::Statistic {
                axis: node.int("axis")?.unwrap_or(-1),
                epsilon,
                is_mean: index == 1,
            },
            "LayerNormalization" => Self::Layer {
                axis: node.int("axis")?.unwrap_or(-1),
                epsilon,
            },
            "InstanceNormalization" => Self::Instance { epsilon },
            _ => {
                let groups = node.int("num_groups")?.unwrap_or(0);
                let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
                let groups = groups.ok_or_else(|| node.malformed("it has no groups"))?;
                Self::Group {
                    groups,
                    scales_groups: node.opset < 21,
                    epsilon,
                }
            }
        }))
    }
}

impl Operation for Norm {
    /// Mean and deviation are told as they were computed.
    fn floats_of_output(&self, first: DType) -> DType {
        match self {
            Self::Statistic { .. } => DType::F32,
            _ => first,
        }
    }

    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn may_vary(&self, _: usize) -> bool {
        true
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        expect_type(fact.dtype, DType::F32)?;
        let dims = &fact.dims;
        if let Self::Statistic {
            axis,
            epsilon,
            is_mean,
        } = *self
        {
            return statistic(dims, axis_of(axis, dims.len())?, epsilon, is_mean);
        }
        let (scale, bias) = (inputs.floats(1)?, inputs.optional_floats(2)?);
        // Values of a sample; of these, neighbours that share a scale, and the scales of a sample.
        let (length, run_length, scales) = match *self {
            Self::Layer { axis, .. } | Self::Statistic { axis, .. } => {
                let axis = axis_of(axis, dims.len())?;
                let length: usize = dims[axis..].iter().product();
                (length, 1, length)
            }
            Self::Instance { .. } | Self::Group { .. } => {
                let [_, channels, pixels @ ..] = &dims[..] else {
                    return Err(Error::unsupported("its input has no channels"));
                };
                let pixels: usize = pixels.iter().product();
                let groups = match *self {
                    Self::Group { groups, .. } => groups,
                    _ => *channels,
                };
                if !channels.is_multiple_of(groups) {
                    return Err(Error::engine(format!(
                        "{channels} channels in {groups} groups"
                    )));
                }
                let length = channels / groups * pixels;
                match *self {
                    Self::Group {
                        scales_groups: true,
                        ..
                    } => (length, length, groups),
                    _ => (length, pixels, *channels),
                }
            }
        };
        let bias = bias.unwrap_or_else(|| vec![0.0; scales]);
        if scale.len() != scales || bias.len() != scales || length == 0 {
            return Err(Error::unsupported(format!(
                "{} scales and {} biases for {scales}",
                scale.len(),
                bias.len()
            )));
        }
        let (Self::Layer { epsilon, .. }
        | Self::Statistic { epsilon, .. }
        | Self::Instance { epsilon }
        | Self::Group { epsilon, .. }) = *self;
        let isa = inputs.isa;
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let (scale, bias) = (&scale[..], &bias[..]);
            read(first(inputs)?, |input: &[f32]| {
                write(out, |out: &mut [f32]| {
                    let normalize = |number: usize, out: &mut [f32]| {
                        let input = &input[number * length..][..length];
                        let mean = sum(input, |x| x) / length as f32;
                        let variance = sum(input, |x| (x - mean) * (x - mean)) / length as f32;
                        let factor = 1.0 / (variance + epsilon).sqrt();
                        if run_length == 1 && scales == length {
                            let factors = scale.iter().zip(bias);
                            for ((out, &value), (scale, bias)) in
                                out.iter_mut().zip(input).zip(factors)
                            {
                                *out = (value - mean) * factor * scale + bias;
                            }
                            return;
                        }
                        let runs = out.chunks_mut(run_length).zip(input.chunks(run_length));
                        for (index, (out, input)) in runs.enumerate() {
                            let index = (number * (length / run_length) + index) % scales;
                            let (scale, bias) = (scale[index], bias[index]);
                            for (out, &value) in out.iter_mut().zip(input) {
                                *out = (value - mean) * factor * scale + bias;
                            }
                        }
                    };
                    for_each_part(out, length, |number, out| {
                        isa.run(|| normalize(number, out))
                    });
                    Ok(())
                })
            })
        };
        let name = "normalize";
        Ok(Compiled::written(Writing { name, run }, dims, DType::F32))
    }
}

fn statistic(dims: &[usize], axis: usize, epsilon: f32, is_mean: bool) -> Result<Compiled> {
    let length: usize = dims[axis..].iter().product();
    let run = move |inputs: &[&Tensor], out: &Tensor| {
        rows(first(inputs)?, out, length, |row: &[f32]| {
            let mean = sum(row, |x| x) / length as f32;
            match is_mean {
                true => mean,
                false => {
                    let variance = sum(row, |x| (x - mean) * (x - mean)) / length as f32;
                    1.0 / (variance + epsilon).sqrt()
                }
            }
        })
    };
    let mut reduced = dims.to_vec();
    reduced[axis..].fill(1);
    let name = "normalize";
    Ok(Compiled::written(
        Writing { name, run },
        &reduced,
        DType::F32,
    ))
}
