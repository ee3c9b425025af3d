//! A plan made ready for inputs of one shape, and its execution.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device, InplaceOp2, InplaceOp3, Tensor};
use firstpass_probe::{Error, OperatorTime, ProfiledOperator, Result, monotonic_ns};
use nix::sys::resource::{UsageWho, getrusage};
use rayon::ThreadPool;

use crate::{
    Engine,
    geometry::{Span, Window, volume},
    kernels::Isa,
    memory::{self, Request},
    onnx::Values,
    ops,
    plan::{Bounds, FloatConv, Operation, Plan, Step, Value},
    settings::Packing,
};

/// A model that is ready to run, with every buffer that its own operators write into.
pub struct Prepared {
    /// `None` for one thread.
    pool: Option<Arc<ThreadPool>>,
    shape: Vec<usize>,
    /// `None` where the input is only quantized, which needs no copy of it.
    input: Option<Tensor>,
    steps: Vec<Compiled>,
    /// What is computed so far; empty between passes.
    values: Vec<Option<Tensor>>,
    outputs: Vec<Value>,
    memory_bytes: usize,
}

/// A step with its operator.
pub(crate) struct Compiled {
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
    /// The same on the input of the model, as it lies in the memory of the host.
    QuantizeInput(ops::Quantize, Tensor),
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
            Self::Quantize(op, _) | Self::QuantizeInput(op, _) => op.name(),
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
    pub(crate) fn new(engine: &Engine, plan: &Plan, shape: &[usize]) -> Result<Self> {
        if volume(shape)? == 0 {
            return Err(Error::input(format!(
                "an input of shape {shape:?} is empty"
            )));
        }
        let settings = engine.settings;
        let mut lifetimes = Lifetimes::of(plan);
        let mut dims = vec![Vec::new(); plan.values];
        dims[0] = shape.to_vec();
        let mut requests = Vec::new();
        for (number, step) in plan.steps.iter().enumerate() {
            let found = output_dims(&step.operation, step.inputs.iter().map(|&v| &dims[v]))
                .and_then(|found| volume(&found).map(|_| found))
                .map_err(|error| cannot_prepare(step, error))?;
            if let Some((dtype, dims)) = memory_of(&step.operation, &found) {
                requests.push(Request {
                    value: step.output,
                    dtype,
                    dims,
                    steps: number..=lifetimes.last_read_of_buffer[step.output],
                });
            }
            dims[step.output] = found;
        }
        let (memory, memory_bytes) = memory::take(&requests, settings.buffers)?;
        let compiler = Compiler {
            isa: settings.kernels,
            dims,
            memory,
        };
        let mut steps = Vec::with_capacity(plan.steps.len());
        for (number, step) in plan.steps.iter().enumerate() {
            let operator = compiler
                .compile(step)
                .map_err(|error| cannot_prepare(step, error))?;
            if let (Operator::IntConv(op, _), Packing::Prepare) = (&operator, settings.packing) {
                op.pack();
            }
            steps.push(Compiled {
                label: step.label.clone(),
                operator,
                inputs: step.inputs.clone(),
                output: step.output,
                done: std::mem::take(&mut lifetimes.values_done[number]),
            });
        }
        let reads_input = |step: &Compiled| {
            step.inputs.contains(&0) && !matches!(step.operator, Operator::QuantizeInput(..))
        };
        let input = if steps.iter().any(reads_input) || plan.outputs.contains(&0) {
            Some(Tensor::zeros(shape, DType::F32, &Device::Cpu)?)
        } else {
            None
        };
        Ok(Self {
            pool: engine.pool.clone(),
            shape: shape.to_vec(),
            input,
            steps,
            values: vec![None; plan.values],
            outputs: plan.outputs.clone(),
            memory_bytes,
        })
    }

    /// Runs the steps on `input`: on the threads of the engine, or on the calling one where it has
    /// one.
    ///
    /// # Errors
    /// Fails on an input of another length than that of the prepared shape.
    pub fn pass(&mut self, input: &[f32]) -> Result<Vec<firstpass_probe::Tensor>> {
        self.observed_pass(input, &mut ())
    }

    /// [`Self::pass`] with the time of every step.
    pub(crate) fn observed_pass(
        &mut self,
        input: &[f32],
        observer: &mut (impl Observer + Send),
    ) -> Result<Vec<firstpass_probe::Tensor>> {
        let outputs = match self.pool.clone() {
            Some(pool) => pool.install(|| self.run(input, observer)),
            None => self.run(input, observer),
        };
        // What a failed pass has left must not be taken for results of the next.
        self.values.fill(None);
        outputs
    }

    fn run(
        &mut self,
        input: &[f32],
        observer: &mut impl Observer,
    ) -> Result<Vec<firstpass_probe::Tensor>> {
        if let Some(tensor) = &self.input {
            tensor.inplace_op1(&ops::Fill(input))?;
            self.values[0] = Some(tensor.clone());
        }
        for step in &self.steps {
            let run = || match &step.operator {
                Operator::QuantizeInput(operator, out) => {
                    out.inplace_op1(&ops::QuantizeHost {
                        operator,
                        input,
                        dims: &self.shape,
                    })?;
                    Ok(out.clone())
                }
                operator => {
                    let inputs = step.inputs.iter();
                    let inputs: Result<Vec<&Tensor>> =
                        inputs.map(|&value| computed(&self.values, value)).collect();
                    Ok(operator.run(&inputs?)?)
                }
            };
            let output = observer
                .step(step, run)
                .map_err(|e: Error| e.context(&step.label))?;
            self.values[step.output] = Some(output);
            for &value in &step.done {
                self.values[value] = None;
            }
        }
        let outputs = self.outputs.iter().map(|&value| {
            let tensor = computed(&self.values, value)?;
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
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

    /// The convolutions on integers in the order of execution.
    pub fn convolutions(&self) -> impl Iterator<Item = Convolution<'_>> {
        self.steps.iter().filter_map(|step| match &step.operator {
            Operator::IntConv(operator, out) => Some(Convolution {
                layer: &step.label,
                operator,
                out,
            }),
            _ => None,
        })
    }

    /// Bytes of the buffers that the operators of this backend write into.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The number of integer convolutions whose weights are packed.
    pub(crate) fn packed(&self) -> usize {
        let packed =
            |step: &&Compiled| matches!(&step.operator, Operator::IntConv(op, _) if op.is_packed());
        self.steps.iter().filter(packed).count()
    }
}

/// A convolution on integers of a prepared model, which can be run alone: benchmarks need that.
pub struct Convolution<'a> {
    layer: &'a str,
    operator: &'a ops::IntConv,
    out: &'a Tensor,
}

impl Convolution<'_> {
    /// The node of the graph.
    pub fn layer(&self) -> &str {
        self.layer
    }

    /// `int-conv-1x1`, `int-conv-depthwise`, or `int-conv` for all others.
    pub fn operator(&self) -> &'static str {
        self.operator.name()
    }

    /// Number, height, width and channels of the input and of the output.
    pub fn shapes(&self) -> [[usize; 4]; 2] {
        self.operator.shapes()
    }

    /// Products of the whole output, each of which is added to a sum.
    pub fn multiply_adds(&self) -> u64 {
        self.operator.multiply_adds()
    }

    /// Computes it on the calling thread; the result stays in the buffers of the model.
    ///
    /// # Errors
    /// Fails on an input that does not hold u8 of the shape that [`Self::shapes`] tells.
    pub fn run(&self, input: &Tensor) -> Result<()> {
        Ok(self.out.inplace_op2(input, self.operator)?)
    }
}

/// Looks on while steps run. Without an observer, which is `()`, nothing is left of it.
pub(crate) trait Observer {
    fn step<T>(&mut self, step: &Compiled, run: impl FnOnce() -> T) -> T;
}

impl Observer for () {
    fn step<T>(&mut self, _: &Compiled, run: impl FnOnce() -> T) -> T {
        run()
    }
}

impl Observer for Vec<OperatorTime> {
    fn step<T>(&mut self, step: &Compiled, run: impl FnOnce() -> T) -> T {
        let faults = minor_faults();
        let began = monotonic_ns();
        let result = run();
        let self_ns = monotonic_ns() - began;
        self.push(OperatorTime {
            operator: ProfiledOperator {
                layer: step.label.clone(),
                kind: step.operator.name().into(),
            },
            self_ns,
            minor_faults: minor_faults()
                .zip(faults)
                .map(|(after, before)| after.saturating_sub(before)),
        });
        result
    }
}

fn minor_faults() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.minor_page_faults()).ok()
}

fn cannot_prepare(step: &Step, error: Error) -> Error {
    error.context(format!("cannot prepare {}", step.label))
}

fn computed(values: &[Option<Tensor>], value: Value) -> Result<&Tensor> {
    let tensor = values.get(value).and_then(Option::as_ref);
    tensor.ok_or_else(|| Error::engine(format!("value {value} is not there")))
}

/// By step, what is read there for the last time.
struct Lifetimes {
    values_done: Vec<Vec<Value>>,
    /// By value, the last step that reads it or a view of it; the outputs are read after all steps.
    last_read_of_buffer: Vec<usize>,
}

impl Lifetimes {
    fn of(plan: &Plan) -> Self {
        let mut last_read = vec![0; plan.values];
        let mut owner: Vec<Value> = (0..plan.values).collect();
        for (number, step) in plan.steps.iter().enumerate() {
            last_read[step.output] = number;
            for &input in &step.inputs {
                last_read[input] = number;
            }
            if matches!(
                step.operation,
                Operation::Transpose(_) | Operation::Reshape { .. } | Operation::Flatten { .. }
            ) {
                owner[step.output] = owner[step.inputs[0]];
            }
        }
        for &output in &plan.outputs {
            last_read[output] = usize::MAX;
        }
        let mut last_read_of_buffer = last_read.clone();
        for (value, &owner) in owner.iter().enumerate() {
            last_read_of_buffer[owner] = last_read_of_buffer[owner].max(last_read[value]);
        }
        let mut values_done = vec![Vec::new(); plan.steps.len()];
        for (value, &last) in last_read.iter().enumerate() {
            if let Some(done) = values_done.get_mut(last) {
                done.push(value);
            }
        }
        Self {
            values_done,
            last_read_of_buffer,
        }
    }
}

struct Compiler {
    isa: Isa,
    /// Of every value, in the order of ONNX.
    dims: Vec<Vec<usize>>,
    /// Where the operators of this backend write.
    memory: HashMap<Value, Tensor>,
}

impl Compiler {
    fn compile(&self, step: &Step) -> Result<Operator> {
        let Some(input) = step.inputs.first().map(|&value| &self.dims[value]) else {
            return Err(Error::engine("it has no inputs"));
        };
        let output = &self.dims[step.output];
        let memory = || {
            let memory = self.memory.get(&step.output).cloned();
            memory.ok_or_else(|| Error::engine("it has no memory for its output"))
        };
        Ok(match &step.operation {
            Operation::Dequantize(quantization) => {
                let op = ops::Dequantize {
                    quantization: *quantization,
                };
                Operator::Dequantize(op, memory()?)
            }
            Operation::Add { bounds } => {
                Operator::FloatAdd(ops::FloatAdd { bounds: *bounds }, memory()?)
            }
            Operation::Clamp(bounds) => Operator::Clamp(ops::Clamp { bounds: *bounds }, memory()?),
            Operation::Sigmoid => Operator::Sigmoid(memory()?),
            Operation::Transpose(axes) => Operator::Transpose(axes.clone()),
            Operation::Reshape { .. } | Operation::Flatten { .. } => {
                Operator::Reshape(output.clone())
            }
            Operation::Concat { axis } => Operator::Concat(axis_of(*axis, input.len())?),
            Operation::Conv { conv, bounds } => {
                return float_conv(conv, *bounds, image(input)?, image(output)?, memory);
            }
            Operation::Quantize(quantization) => {
                let op = ops::Quantize {
                    isa: self.isa,
                    inverse_scale: quantization.inverse_scale(),
                    range: ops::range(Bounds::NONE, *quantization),
                };
                if step.inputs == [0] {
                    Operator::QuantizeInput(op, memory()?)
                } else {
                    Operator::Quantize(op, memory()?)
                }
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
                Operator::IntAdd(op, memory()?)
            }
            Operation::QuantizedConv {
                conv,
                bounds,
                output: quantization,
            } => {
                let op = ops::IntConv::new(
                    self.isa,
                    Arc::clone(conv),
                    *bounds,
                    *quantization,
                    image(&channels_last(input))?,
                    image(&channels_last(output))?,
                );
                Operator::IntConv(op, memory()?)
            }
        })
    }
}

/// Type and shape of the tensor that this backend's operator for `operation` writes into; `None`
/// where candle allocates one or makes a view.
fn memory_of(operation: &Operation, output: &[usize]) -> Option<(DType, Vec<usize>)> {
    match operation {
        Operation::Quantize(_)
        | Operation::QuantizedAdd { .. }
        | Operation::QuantizedConv { .. } => Some((DType::U8, channels_last(output))),
        Operation::Dequantize(_) => Some((DType::F32, channels_last(output))),
        Operation::Add { .. } | Operation::Clamp(_) | Operation::Sigmoid => {
            Some((DType::F32, output.to_vec()))
        }
        Operation::Conv { conv, .. } => match FloatKernel::of(conv) {
            FloatKernel::Direct => Some((DType::F32, output.to_vec())),
            FloatKernel::Matmul | FloatKernel::Conv2d(_) => None,
        },
        Operation::Transpose(_)
        | Operation::Reshape { .. }
        | Operation::Flatten { .. }
        | Operation::Concat { .. } => None,
    }
}

/// How a convolution on floats is computed.
enum FloatKernel {
    /// Without window, as a product of matrices.
    Matmul,
    /// By candle, for a window that is equal along both axes.
    Conv2d(Span),
    Direct,
}

impl FloatKernel {
    fn of(conv: &FloatConv) -> Self {
        if conv.groups != 1 {
            return Self::Direct;
        }
        match conv.window.symmetric() {
            _ if conv.window.is_pointwise() => Self::Matmul,
            Some(span) => Self::Conv2d(span),
            None => Self::Direct,
        }
    }
}

fn float_conv(
    conv: &FloatConv,
    bounds: Bounds,
    input: [usize; 4],
    output: [usize; 4],
    memory: impl FnOnce() -> Result<Tensor>,
) -> Result<Operator> {
    let Values::F32(weights) = &conv.weights.values else {
        return Err(Error::engine("its weights are not f32"));
    };
    let [_, channels, height, width] = output;
    let epilogue = || ops::BiasClamp {
        bias: conv.bias.clone(),
        pixels: height * width,
        bounds,
    };
    Ok(match FloatKernel::of(conv) {
        FloatKernel::Matmul => Operator::Matmul {
            weights: Tensor::from_slice(weights, (1, channels, input[1]), &Device::Cpu)?,
            output,
            epilogue: epilogue(),
        },
        FloatKernel::Conv2d(span) => {
            let dims = conv.weights.dims.as_slice();
            Operator::Conv2d {
                weights: Tensor::from_slice(weights, dims, &Device::Cpu)?,
                padding: span.before,
                stride: span.stride,
                dilation: span.dilation,
                epilogue: epilogue(),
            }
        }
        FloatKernel::Direct => {
            let op = ops::DirectConv {
                window: conv.window,
                groups: conv.groups,
                weights: weights.clone(),
                bias: conv.bias.clone(),
                bounds,
                input,
                output,
            };
            Operator::DirectConv(op, memory()?)
        }
    })
}

/// The shape of what `operation` computes from inputs of shapes `inputs`.
fn output_dims<'a>(
    operation: &Operation,
    inputs: impl Iterator<Item = &'a Vec<usize>>,
) -> Result<Vec<usize>> {
    let inputs: Vec<&Vec<usize>> = inputs.collect();
    let [input, others @ ..] = &inputs[..] else {
        return Err(Error::engine("it has no inputs"));
    };
    let input = *input;
    match operation {
        Operation::Quantize(_)
        | Operation::Dequantize(_)
        | Operation::Clamp(_)
        | Operation::Sigmoid => Ok(input.clone()),
        Operation::Add { .. } | Operation::QuantizedAdd { .. } => {
            if others.iter().all(|dims| *dims == input) {
                Ok(input.clone())
            } else {
                Err(Error::unsupported(format!(
                    "adding different shapes {inputs:?}"
                )))
            }
        }
        Operation::Conv { conv, .. } => {
            conv_dims(&conv.window, conv.groups, &conv.weights.dims, input)
        }
        Operation::QuantizedConv { conv, .. } => {
            conv_dims(&conv.window, conv.groups, &conv.dims, input)
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
            for dims in others {
                let mut like = (*dims).clone();
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
    weights: &[usize],
    input: &[usize],
) -> Result<Vec<usize>> {
    let [number, channels, height, width] = image(input)?;
    if groups.checked_mul(weights[1]) != Some(channels) {
        return Err(Error::engine(format!(
            "weights {weights:?} in {groups} groups on an input of shape {input:?}"
        )));
    }
    let (height, width) = window.output(height, width)?;
    Ok(vec![number, weights[0], height, width])
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
