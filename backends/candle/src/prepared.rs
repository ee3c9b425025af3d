//! A plan made ready for inputs of one shape, and its execution.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device, InplaceOp2, InplaceOp3, Tensor};
use firstpass_probe::{Error, Result};
use rayon::ThreadPool;

use crate::{
    geometry::{Window, volume},
    kernels::Isa,
    onnx::{Constant, Values},
    ops,
    plan::{Bounds, FloatConv, Operation, Plan, Step, Value},
};

/// A model that is ready to run, with every buffer that its own operators write into.
pub struct Prepared {
    pool: Arc<ThreadPool>,
    input: Tensor,
    steps: Vec<Compiled>,
    /// What is computed so far; empty between passes.
    values: Vec<Option<Tensor>>,
    outputs: Vec<Value>,
}

/// A step with its operator.
struct Compiled {
    label: String,
    operator: Operator,
    inputs: Vec<Value>,
    output: Value,
    /// Values that no later step reads.
    done: Vec<Value>,
}

/// An operator and the tensor that it writes into; those without one are candle's, which allocate.
enum Operator {
    Quantize(ops::Quantize, Tensor),
    Dequantize(ops::Dequantize, Tensor),
    IntConv(ops::IntConv, Tensor),
    IntAdd(ops::IntAdd, Tensor),
    /// A convolution without window, as a product of matrices.
    Matmul {
        weights: Tensor,
        output: [usize; 4],
        epilogue: ops::BiasClamp,
    },
    Conv2d {
        weights: Tensor,
        padding: usize,
        stride: usize,
        dilation: usize,
        epilogue: ops::BiasClamp,
    },
    DirectConv(ops::DirectConv, Tensor),
    FloatAdd(ops::FloatAdd, Tensor),
    Clamp(ops::Clamp, Tensor),
    Sigmoid(Tensor),
    Transpose(Vec<usize>),
    Reshape(Vec<usize>),
    Concat(usize),
}

/// What an operator calculates with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvKind {
    Integer,
    Float,
}

impl Operator {
    fn name(&self) -> &'static str {
        match self {
            Self::Quantize(op, _) => op.name(),
            Self::Dequantize(op, _) => op.name(),
            Self::IntConv(op, _) => op.name(),
            Self::IntAdd(op, _) => op.name(),
            Self::Matmul { .. } => "matmul",
            Self::Conv2d { .. } => "conv2d",
            Self::DirectConv(op, _) => op.name(),
            Self::FloatAdd(op, _) => op.name(),
            Self::Clamp(op, _) => op.name(),
            Self::Sigmoid(_) => ops::Sigmoid.name(),
            Self::Transpose(_) => "transpose",
            Self::Reshape(_) => "reshape",
            Self::Concat(_) => "concat",
        }
    }

    fn conv_kind(&self) -> Option<ConvKind> {
        match self {
            Self::IntConv(..) => Some(ConvKind::Integer),
            Self::Matmul { .. } | Self::Conv2d { .. } | Self::DirectConv(..) => {
                Some(ConvKind::Float)
            }
            _ => None,
        }
    }

    fn run(&self, inputs: &[&Tensor]) -> candle_core::Result<Tensor> {
        match (self, inputs) {
            (Self::Quantize(op, out), [input]) => write(op, &input.contiguous()?, out),
            (Self::Dequantize(op, out), [input]) => {
                let out = write(op, input, out)?;
                // The values lie with the channels last; the axes are in the order of ONNX.
                if out.rank() == 4 {
                    out.permute((0, 3, 1, 2))
                } else {
                    Ok(out)
                }
            }
            (Self::IntConv(op, out), [input]) => write(op, input, out),
            (Self::IntAdd(op, out), [left, right]) => write_from_two(op, left, right, out),
            (
                Self::Matmul {
                    weights,
                    output,
                    epilogue,
                },
                [input],
            ) => {
                let (number, channels, height, width) = input.dims4()?;
                let pixels = input.reshape((number, channels, height * width))?;
                let product = weights.broadcast_matmul(&pixels)?;
                product.inplace_op1(epilogue)?;
                product.reshape(&output[..])
            }
            (
                Self::Conv2d {
                    weights,
                    padding,
                    stride,
                    dilation,
                    epilogue,
                },
                [input],
            ) => {
                let out = input.conv2d(weights, *padding, *stride, *dilation, 1)?;
                out.inplace_op1(epilogue)?;
                Ok(out)
            }
            (Self::DirectConv(op, out), [input]) => write(op, &input.contiguous()?, out),
            (Self::FloatAdd(op, out), [left, right]) => {
                write_from_two(op, &left.contiguous()?, &right.contiguous()?, out)
            }
            (Self::Clamp(op, out), [input]) => write(op, &input.contiguous()?, out),
            (Self::Sigmoid(out), [input]) => write(&ops::Sigmoid, &input.contiguous()?, out),
            (Self::Transpose(axes), [input]) => input.permute(axes.as_slice()),
            (Self::Reshape(dims), [input]) => input.reshape(dims.as_slice()),
            (Self::Concat(axis), inputs) => Tensor::cat(inputs, *axis),
            _ => candle_core::bail!("{} inputs for {}", inputs.len(), self.name()),
        }
    }
}

fn write(op: &impl InplaceOp2, input: &Tensor, out: &Tensor) -> candle_core::Result<Tensor> {
    out.inplace_op2(input, op)?;
    Ok(out.clone())
}

fn write_from_two(
    op: &impl InplaceOp3,
    left: &Tensor,
    right: &Tensor,
    out: &Tensor,
) -> candle_core::Result<Tensor> {
    out.inplace_op3(left, right, op)?;
    Ok(out.clone())
}

impl Prepared {
    /// Packs weights, takes buffers and lists the steps for inputs of `shape`.
    ///
    /// # Errors
    /// Names the step whose inputs do not have the shapes that it takes.
    pub fn new(pool: Arc<ThreadPool>, isa: Isa, plan: &Plan, shape: &[usize]) -> Result<Self> {
        if volume(shape)? == 0 {
            return Err(Error::input(format!(
                "an input of shape {shape:?} is empty"
            )));
        }
        let mut compiler = Compiler {
            isa,
            dims: vec![Vec::new(); plan.values],
            buffers: Buffers::default(),
        };
        compiler.dims[0] = shape.to_vec();
        let mut lifetimes = Lifetimes::of(plan);
        let mut steps = Vec::with_capacity(plan.steps.len());
        for (number, step) in plan.steps.iter().enumerate() {
            let (operator, dims) = compiler
                .compile(step)
                .map_err(|error| error.context(format!("cannot prepare {}", step.label)))?;
            compiler.dims[step.output] = dims;
            for value in &lifetimes.buffers_done[number] {
                compiler.buffers.give_back(value);
            }
            steps.push(Compiled {
                label: step.label.clone(),
                operator,
                inputs: step.inputs.clone(),
                output: step.output,
                done: std::mem::take(&mut lifetimes.values_done[number]),
            });
        }
        Ok(Self {
            pool,
            input: Tensor::zeros(shape, DType::F32, &Device::Cpu)?,
            steps,
            values: vec![None; plan.values],
            outputs: plan.outputs.clone(),
        })
    }

    /// Runs the steps on `input`, on the threads of the engine.
    pub fn pass(&mut self, input: &[f32]) -> Result<Vec<firstpass_probe::Tensor>> {
        let pool = Arc::clone(&self.pool);
        let outputs = pool.install(|| self.run(input));
        // What a failed pass has left must not be taken for results of the next.
        self.values.fill(None);
        outputs
    }

    fn run(&mut self, input: &[f32]) -> Result<Vec<firstpass_probe::Tensor>> {
        self.input.inplace_op1(&ops::Fill(input))?;
        self.values[0] = Some(self.input.clone());
        for step in &self.steps {
            let inputs: Result<Vec<&Tensor>> = step
                .inputs
                .iter()
                .map(|&value| computed(&self.values, value))
                .collect();
            let run = step.operator.run(&inputs?);
            let output = run.map_err(|e| Error::from(e).context(&step.label))?;
            self.values[step.output] = Some(output);
            for &value in &step.done {
                self.values[value] = None;
            }
        }
        let outputs = self.outputs.iter().map(|&value| {
            let tensor = computed(&self.values, value)?;
            let values = tensor.flatten_all()?.to_vec1()?;
            firstpass_probe::Tensor::new(tensor.dims(), values)
        });
        outputs.collect()
    }

    /// The name of every operator in the order of execution, and what convolutions calculate with.
    pub fn operators(&self) -> impl Iterator<Item = (&'static str, Option<ConvKind>)> {
        self.steps
            .iter()
            .map(|step| (step.operator.name(), step.operator.conv_kind()))
    }
}

fn computed(values: &[Option<Tensor>], value: Value) -> Result<&Tensor> {
    let tensor = values.get(value).and_then(Option::as_ref);
    tensor.ok_or_else(|| Error::engine(format!("value {value} is not there")))
}

/// By step, what is read there for the last time.
struct Lifetimes {
    values_done: Vec<Vec<Value>>,
    /// Values whose memory no view of them reads any longer either.
    buffers_done: Vec<Vec<Value>>,
}

impl Lifetimes {
    fn of(plan: &Plan) -> Self {
        let mut last_read = vec![Some(0); plan.values];
        let mut owner: Vec<Value> = (0..plan.values).collect();
        for (number, step) in plan.steps.iter().enumerate() {
            last_read[step.output] = Some(number);
            for &input in &step.inputs {
                last_read[input] = Some(number);
            }
            if matches!(
                step.operation,
                Operation::Transpose(_) | Operation::Reshape { .. } | Operation::Flatten { .. }
            ) {
                owner[step.output] = owner[step.inputs[0]];
            }
        }
        for &output in &plan.outputs {
            last_read[output] = None;
        }
        let mut last_read_of_buffer = last_read.clone();
        for (value, &owner) in owner.iter().enumerate() {
            // None, an output of the model, is read after the last step.
            let views = [last_read_of_buffer[owner], last_read[value]];
            last_read_of_buffer[owner] = match views {
                [Some(a), Some(b)] => Some(a.max(b)),
                _ => None,
            };
        }
        let by_step = |last_read: &[Option<usize>]| {
            let mut done = vec![Vec::new(); plan.steps.len()];
            for (value, &last) in last_read.iter().enumerate() {
                if let Some(done) = last.and_then(|step| done.get_mut(step)) {
                    done.push(value);
                }
            }
            done
        };
        Self {
            values_done: by_step(&last_read),
            buffers_done: by_step(&last_read_of_buffer),
        }
    }
}

/// Memory for values, taken again when the value before is no longer read.
#[derive(Default)]
struct Buffers {
    free: Vec<Tensor>,
    taken: HashMap<Value, Tensor>,
}

impl Buffers {
    fn take(&mut self, value: Value, dtype: DType, dims: &[usize]) -> Result<Tensor> {
        let length = volume(dims)?;
        let fitting = self.free.iter().enumerate();
        let smallest = fitting
            .filter(|(_, free)| free.dtype() == dtype && free.elem_count() >= length)
            .min_by_key(|(_, free)| free.elem_count())
            .map(|(index, _)| index);
        let buffer = match smallest {
            Some(index) => self.free.swap_remove(index),
            None => Tensor::zeros(length, dtype, &Device::Cpu)?,
        };
        let tensor = buffer.narrow(0, 0, length)?.reshape(dims)?;
        self.taken.insert(value, buffer);
        Ok(tensor)
    }

    fn give_back(&mut self, value: &Value) {
        self.free.extend(self.taken.remove(value));
    }
}

struct Compiler {
    isa: Isa,
    /// Of every value that is computed so far, in the order of ONNX.
    dims: Vec<Vec<usize>>,
    buffers: Buffers,
}

impl Compiler {
    /// The operator of a step and the shape of its output.
    fn compile(&mut self, step: &Step) -> Result<(Operator, Vec<usize>)> {
        let dims: Vec<Vec<usize>> = step
            .inputs
            .iter()
            .map(|&value| self.dims[value].clone())
            .collect();
        let Some(input) = dims.first() else {
            return Err(Error::engine("it has no inputs"));
        };
        let output = output_dims(&step.operation, &dims)?;
        volume(&output)?;
        let mut floats = |dims: &[usize]| self.buffers.take(step.output, DType::F32, dims);
        let operator = match &step.operation {
            Operation::Dequantize(quantization) => {
                let op = ops::Dequantize {
                    quantization: *quantization,
                };
                Operator::Dequantize(op, floats(&channels_last(&output))?)
            }
            Operation::Add { bounds } => {
                Operator::FloatAdd(ops::FloatAdd { bounds: *bounds }, floats(&output)?)
            }
            Operation::Clamp(bounds) => {
                Operator::Clamp(ops::Clamp { bounds: *bounds }, floats(&output)?)
            }
            Operation::Sigmoid => Operator::Sigmoid(floats(&output)?),
            Operation::Transpose(axes) => Operator::Transpose(axes.clone()),
            Operation::Reshape { .. } | Operation::Flatten { .. } => {
                Operator::Reshape(output.clone())
            }
            Operation::Concat { axis } => Operator::Concat(axis_of(*axis, input.len())?),
            Operation::Conv { conv, bounds } => {
                self.float_conv(step.output, conv, *bounds, image(input)?, image(&output)?)?
            }
            Operation::Quantize(quantization) => {
                let op = ops::Quantize {
                    isa: self.isa,
                    inverse_scale: quantization.inverse_scale(),
                    range: ops::range(Bounds::NONE, *quantization),
                };
                Operator::Quantize(op, self.bytes(step.output, &output)?)
            }
            Operation::QuantizedAdd {
                inputs,
                bounds,
                output: quantization,
            } => {
                let op = ops::IntAdd {
                    isa: self.isa,
                    addition: ops::addition(*inputs, *bounds, *quantization),
                };
                Operator::IntAdd(op, self.bytes(step.output, &output)?)
            }
            Operation::QuantizedConv {
                conv,
                bounds,
                output: quantization,
            } => {
                let Values::I8(weights) = &conv.weights.values else {
                    return Err(Error::engine("its weights are not i8"));
                };
                let op = ops::IntConv::new(
                    self.isa,
                    conv,
                    weights,
                    *bounds,
                    *quantization,
                    image(&channels_last(input))?,
                    image(&channels_last(&output))?,
                );
                Operator::IntConv(op, self.bytes(step.output, &output)?)
            }
        };
        Ok((operator, output))
    }

    fn bytes(&mut self, value: Value, dims: &[usize]) -> Result<Tensor> {
        self.buffers.take(value, DType::U8, &channels_last(dims))
    }

    fn float_conv(
        &mut self,
        value: Value,
        conv: &FloatConv,
        bounds: Bounds,
        input: [usize; 4],
        output: [usize; 4],
    ) -> Result<Operator> {
        let Values::F32(weights) = &conv.weights.values else {
            return Err(Error::engine("its weights are not f32"));
        };
        let [_, channels, height, width] = output;
        let epilogue = ops::BiasClamp {
            bias: conv.bias.clone(),
            pixels: height * width,
            bounds,
        };
        if conv.groups == 1 && conv.window.is_pointwise() {
            let dims = (1, channels, input[1]);
            return Ok(Operator::Matmul {
                weights: Tensor::from_slice(weights, dims, &Device::Cpu)?,
                output,
                epilogue,
            });
        }
        if conv.groups == 1
            && let Some(span) = conv.window.symmetric()
        {
            let dims = conv.weights.dims.as_slice();
            return Ok(Operator::Conv2d {
                weights: Tensor::from_slice(weights, dims, &Device::Cpu)?,
                padding: span.before,
                stride: span.stride,
                dilation: span.dilation,
                epilogue,
            });
        }
        let op = ops::DirectConv {
            window: conv.window,
            groups: conv.groups,
            weights: weights.clone(),
            bias: conv.bias.clone(),
            bounds,
            input,
            output,
        };
        Ok(Operator::DirectConv(
            op,
            self.buffers.take(value, DType::F32, &output)?,
        ))
    }
}

/// The shape of what `operation` computes from inputs of shapes `inputs`.
fn output_dims(operation: &Operation, inputs: &[Vec<usize>]) -> Result<Vec<usize>> {
    let input = &inputs[0];
    match operation {
        Operation::Quantize(_)
        | Operation::Dequantize(_)
        | Operation::Clamp(_)
        | Operation::Sigmoid => Ok(input.clone()),
        Operation::Add { .. } | Operation::QuantizedAdd { .. } => {
            if inputs.iter().all(|dims| dims == input) {
                Ok(input.clone())
            } else {
                Err(Error::unsupported(format!(
                    "adding different shapes {inputs:?}"
                )))
            }
        }
        Operation::Conv { conv, .. } => conv_dims(&conv.window, conv.groups, &conv.weights, input),
        Operation::QuantizedConv { conv, .. } => {
            conv_dims(&conv.window, conv.groups, &conv.weights, input)
        }
        Operation::Transpose(axes) if axes.len() == input.len() => {
            Ok(axes.iter().map(|&axis| input[axis]).collect())
        }
        Operation::Transpose(axes) => Err(Error::engine(format!(
            "axes {axes:?} of a tensor of shape {input:?}"
        ))),
        Operation::Reshape { dims, allow_zero } => reshaped(input, dims, *allow_zero),
        Operation::Flatten { axis } => {
            let rank = input.len();
            // Unlike elsewhere the axis may be one past the last.
            let axis = if usize::try_from(*axis) == Ok(rank) {
                rank
            } else {
                axis_of(*axis, rank)?
            };
            Ok(vec![volume(&input[..axis])?, volume(&input[axis..])?])
        }
        Operation::Concat { axis } => {
            let axis = axis_of(*axis, input.len())?;
            let mut output = input.clone();
            for dims in &inputs[1..] {
                let mut like = dims.clone();
                if like.len() != input.len() {
                    return Err(Error::engine(format!("shapes {inputs:?} differ in rank")));
                }
                like[axis] = input[axis];
                if &like != input {
                    return Err(Error::engine(format!(
                        "shapes {inputs:?} along axis {axis}"
                    )));
                }
                output[axis] += dims[axis];
            }
            Ok(output)
        }
    }
}

fn conv_dims(
    window: &Window,
    groups: usize,
    weights: &Constant,
    input: &[usize],
) -> Result<Vec<usize>> {
    let [number, channels, height, width] = image(input)?;
    if groups.checked_mul(weights.dims[1]) != Some(channels) {
        return Err(Error::engine(format!(
            "weights {:?} in {groups} groups on an input of shape {input:?}",
            weights.dims
        )));
    }
    let (height, width) = window.output(height, width)?;
    Ok(vec![number, weights.dims[0], height, width])
}

fn reshaped(input: &[usize], dims: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    let impossible = || Error::engine(format!("cannot reshape {input:?} to {dims:?}"));
    let count = volume(input)?;
    let mut output = Vec::with_capacity(dims.len());
    let mut unknown = None;
    for (axis, &dim) in dims.iter().enumerate() {
        output.push(match dim {
            -1 if unknown.is_none() => {
                unknown = Some(axis);
                1
            }
            0 if !allow_zero => *input.get(axis).ok_or_else(impossible)?,
            _ => usize::try_from(dim).map_err(|_| impossible())?,
        });
    }
    if let Some(axis) = unknown {
        output[axis] = count.checked_div(volume(&output)?).ok_or_else(impossible)?;
    }
    if volume(&output)? == count {
        Ok(output)
    } else {
        Err(impossible())
    }
}

fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let rank_i64 = i64::try_from(rank).unwrap_or(i64::MAX);
    let from_start = if axis < 0 {
        axis.checked_add(rank_i64)
    } else {
        Some(axis)
    };
    from_start
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|&axis| axis < rank)
        .ok_or_else(|| Error::engine(format!("a tensor of rank {rank} has no axis {axis}")))
}

/// The order in which u8 images lie in memory; other tensors keep theirs.
fn channels_last(dims: &[usize]) -> Vec<usize> {
    match *dims {
        [number, channels, height, width] => vec![number, height, width, channels],
        _ => dims.to_vec(),
    }
}

fn image(dims: &[usize]) -> Result<[usize; 4]> {
    dims.try_into()
        .map_err(|_| Error::unsupported(format!("a tensor of shape {dims:?} is no image")))
}
