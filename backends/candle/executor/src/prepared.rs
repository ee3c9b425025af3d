//! A plan made ready for inputs of some shapes, and its execution.

use std::{ops::Range, sync::Arc};

use candle_core::{DType, Device, Tensor};
use firstpass_onnx::{EngineResult, Error, Result, data_type};
use half::{bf16, f16};

use crate::{
    additions,
    compilation::{Compilation, CompiledStep},
    engine::Engine,
    fusion, graph,
    lifetimes::Lifetimes,
    memory::{self, Request},
    observer::Observer,
    ops::{self, Chain, ConvKind, IntConv, Operator, Storage, Written},
    plan::{Plan, Value},
    pool::Pool,
    settings::Buffers,
};

/// A model that is ready to run, with every buffer that its own operators write into.
pub struct Prepared {
    /// `None` for one thread.
    pool: Option<Arc<Pool>>,
    inputs: Vec<Input>,
    steps: Vec<CompiledStep>,
    /// All steps, by those that run together.
    groups: Vec<Group>,
    /// What does not depend on the inputs, where a step reads it.
    constants: Vec<Option<Tensor>>,
    /// What is computed so far; empty between passes.
    values: Vec<Option<Tensor>>,
    outputs: Vec<Value>,
    types: Vec<i32>,
    memory_bytes: usize,
}

/// An input of the graph.
struct Input {
    shape: Vec<usize>,
    /// Its ONNX type.
    onnx: i32,
    /// `None` where it is only quantized, which needs no copy of it, or not read at all.
    tensor: Option<Tensor>,
}

/// The values of an input.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    I64(&'a [i64]),
    I32(&'a [i32]),
    U8(&'a [u8]),
    I8(&'a [i8]),
    U16(&'a [u16]),
    I16(&'a [i16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    Bool(&'a [bool]),
}

impl Values<'_> {
    /// Their ONNX type.
    fn onnx(self) -> i32 {
        match self {
            Self::F32(_) => data_type::FLOAT,
            Self::F64(_) => data_type::DOUBLE,
            Self::F16(_) => data_type::FLOAT16,
            Self::BF16(_) => data_type::BFLOAT16,
            Self::I64(_) => data_type::INT64,
            Self::I32(_) => data_type::INT32,
            Self::U8(_) => data_type::UINT8,
            Self::I8(_) => data_type::INT8,
            Self::U16(_) => data_type::UINT16,
            Self::I16(_) => data_type::INT16,
            Self::U32(_) => data_type::UINT32,
            Self::U64(_) => data_type::UINT64,
            Self::Bool(_) => data_type::BOOL,
        }
    }

    /// Copies them into a tensor of the type that holds them.
    ///
    /// # Errors
    /// Fails where there are not as many as it holds, and on a u64 for which there is no room.
    fn fill(self, tensor: &Tensor) -> Result<()> {
        fn widened<T: Copy + Into<W>, W: Written>(
            tensor: &Tensor,
            values: &[T],
        ) -> candle_core::Result<()> {
            let values: Vec<W> = values.iter().map(|&value| value.into()).collect();
            ops::fill(tensor, &values)
        }
        let filled = match self {
            Self::F32(values) => ops::fill(tensor, values),
            Self::F64(values) => ops::fill(tensor, values),
            Self::F16(values) => ops::fill(tensor, values),
            Self::BF16(values) => ops::fill(tensor, values),
            Self::I64(values) => ops::fill(tensor, values),
            Self::I32(values) => ops::fill(tensor, values),
            Self::U8(values) => ops::fill(tensor, values),
            Self::I8(values) => widened::<i8, i16>(tensor, values),
            Self::U16(values) => widened::<u16, i32>(tensor, values),
            Self::I16(values) => widened::<i16, i32>(tensor, values),
            Self::U32(values) => widened::<u32, i64>(tensor, values),
            Self::U64(values) => ops::fill(tensor, &graph::whole(values)?),
            Self::Bool(values) => widened::<bool, u8>(tensor, values),
        };
        filled.engine()
    }
}

/// Steps that run together.
struct Group {
    steps: Range<usize>,
    /// How, where there are several.
    chain: Option<Chain>,
}

impl Prepared {
    /// Packs weights, takes buffers and lists the steps for inputs of these shapes.
    ///
    /// # Errors
    /// Names the step whose inputs do not have the shapes that it takes.
    pub(crate) fn new(engine: &Engine, plan: &Plan, shapes: &[Vec<usize>]) -> Result<Self> {
        let Compilation { facts, mut steps } = Compilation::new(engine.settings, plan, shapes)?;
        fusion::fuse(&mut steps, &facts, &plan.outputs);
        additions::fuse(&mut steps, &plan.outputs);
        let lifetimes = Lifetimes::of(&steps, plan.values, &plan.outputs);
        let groups = groups(&steps, &lifetimes);
        let mut requests = Vec::new();
        let mut writers = Vec::new();
        for group in &groups {
            // Of a chain only the last step writes into a buffer, and does so from the first on.
            let writer = group.steps.end - 1;
            let (step, storage) = &steps[writer];
            if let (Storage::Buffer(dims), Some(fact)) = (storage, &facts[step.output]) {
                requests.push(Request {
                    dtype: fact.dtype,
                    dims: dims.clone(),
                    steps: group.steps.start..=lifetimes.last_read_of_buffer[step.output],
                });
                writers.push(writer);
            }
        }
        let (buffers, memory_bytes) = memory::take(&requests, engine.settings.buffers)?;
        for (writer, buffer) in writers.into_iter().zip(buffers) {
            steps[writer].0.out = Some(buffer);
        }
        for ((step, _), done) in steps.iter_mut().zip(lifetimes.values_done) {
            step.done = done;
        }
        let steps: Vec<CompiledStep> = steps.into_iter().map(|(step, _)| step).collect();
        if engine.settings.buffers != Buffers::Lazy {
            let reserve = || {
                for chain in groups.iter().filter_map(|group| group.chain.as_ref()) {
                    chain.reserve(|memory| memory::touch(memory, engine.settings.buffers));
                }
            };
            match &engine.pool {
                Some(pool) => pool.on_each(reserve),
                None => reserve(),
            }
        }
        let is_read = |value: &Value| {
            let reads = |step: &CompiledStep| !step.reads_host && step.inputs.contains(value);
            steps.iter().any(reads) || plan.outputs.contains(value)
        };
        let inputs = shapes.iter().zip(&plan.inputs).enumerate();
        let inputs = inputs.map(|(value, (shape, input))| {
            let zeros = || Tensor::zeros(&shape[..], input.dtype, &Device::Cpu);
            let tensor = is_read(&value).then(zeros);
            Ok(Input {
                shape: shape.clone(),
                onnx: input.onnx,
                tensor: tensor.transpose().engine()?,
            })
        });
        let inputs = inputs.collect::<Result<_>>()?;
        let constants = facts.into_iter().enumerate().map(|(value, fact)| {
            let constant = fact?.constant?;
            is_read(&value).then_some(constant)
        });
        Ok(Self {
            pool: engine.pool.clone(),
            inputs,
            constants: constants.collect(),
            steps,
            groups,
            values: vec![None; plan.values],
            outputs: plan.outputs.clone(),
            types: plan.types.clone(),
            memory_bytes,
        })
    }

    /// Runs the steps on `inputs`: on the threads of the engine, or on the calling one where it has
    /// one. The outputs lie in the buffers of the model, until its next pass.
    ///
    /// # Errors
    /// Fails on inputs of other lengths or types than those of the prepared model.
    pub fn run(&mut self, inputs: &[Values<'_>]) -> Result<Vec<Tensor>> {
        self.observed_run(inputs, &mut ())
    }

    /// [`Self::run`], with what looks on at every step.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn observed_run(
        &mut self,
        inputs: &[Values<'_>],
        observer: &mut (impl Observer + Send),
    ) -> Result<Vec<Tensor>> {
        let outputs = match self.pool.clone() {
            Some(pool) => pool.run(|| self.compute(inputs, observer)),
            None => self.compute(inputs, observer),
        };
        // What a failed pass has left must not be taken for results of the next.
        self.values.fill(None);
        outputs
    }

    fn compute(
        &mut self,
        inputs: &[Values<'_>],
        observer: &mut impl Observer,
    ) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            return Err(Error::input(format!(
                "{} inputs for a model of {}",
                inputs.len(),
                self.inputs.len()
            )));
        }
        for (value, (data, input)) in inputs.iter().zip(&self.inputs).enumerate() {
            // Bytes may be truth values: ONNX writes these as such.
            let is_bytes = data.onnx() == data_type::UINT8 && input.onnx == data_type::BOOL;
            if data.onnx() != input.onnx && !is_bytes {
                return Err(Error::input(format!(
                    "input {value} is {}, and values of {} are given",
                    data_type::name(input.onnx),
                    data_type::name(data.onnx())
                )));
            }
            if let Some(tensor) = &input.tensor {
                data.fill(tensor)?;
                self.values[value] = Some(tensor.clone());
            }
        }
        for Group { steps, chain } in &self.groups {
            let steps = &self.steps[steps.clone()];
            let [.., last] = steps else {
                continue;
            };
            let output = match chain {
                Some(chain) => self.run_chain(chain, steps, observer),
                None => {
                    let output = observer.step(last.name(), || self.run_step(last, inputs));
                    output.map_err(|e| e.context(&last.label))
                }
            };
            self.values[last.output] = Some(output?);
            for &value in steps.iter().flat_map(|step| &step.done) {
                self.values[value] = None;
            }
        }
        let outputs = self.outputs.iter();
        outputs
            .map(|&value| self.computed(value).cloned())
            .collect()
    }

    fn run_step(&self, step: &CompiledStep, inputs: &[Values<'_>]) -> Result<Tensor> {
        match (step.reads_host, step.operator.as_quantize(), &step.out) {
            (true, Some(operator), Some(out)) => {
                let input = step.inputs[0];
                let Values::F32(values) = inputs[input] else {
                    return Err(Error::input("an input of f32 is of another type"));
                };
                out.inplace_op1(&ops::QuantizeHost {
                    operator,
                    input: values,
                    dims: &self.inputs[input].shape,
                })
                .engine()?;
                Ok(out.clone())
            }
            _ => {
                let inputs = step.inputs.iter();
                let inputs: Result<Vec<&Tensor>> =
                    inputs.map(|&value| self.computed(value)).collect();
                step.operator.run(&inputs?, step.out.as_ref()).engine()
            }
        }
    }

    fn run_chain(
        &self,
        chain: &Chain,
        steps: &[CompiledStep],
        observer: &mut impl Observer,
    ) -> Result<Tensor> {
        let ([first, ..], [.., last]) = (steps, steps) else {
            return Err(Error::engine("a chain of no steps"));
        };
        let mut run = || {
            let input = self.computed(first.inputs[0])?;
            let others = last.inputs.get(1).map(|&value| self.computed(value));
            let others = others.transpose()?;
            let out = last.out.as_ref();
            let out = out.ok_or_else(|| Error::engine("a chain without a buffer"))?;
            let convolutions: Vec<&IntConv> = convolutions_of(steps).collect();
            observer
                .chain(steps.iter().map(CompiledStep::name), |meter| {
                    chain.run(&convolutions, input, others, out, meter)
                })
                .engine()?;
            Ok(out.clone())
        };
        run().map_err(|e: Error| e.context(format!("{} to {}", first.label, last.label)))
    }

    fn computed(&self, value: Value) -> Result<&Tensor> {
        let tensor = self.values[value].as_ref();
        tensor
            .or(self.constants[value].as_ref())
            .ok_or_else(|| Error::engine(format!("value {value} is not there")))
    }

    /// The name of every operator in the order of execution, and what convolutions calculate with.
    pub fn operators(&self) -> impl Iterator<Item = (&'static str, Option<ConvKind>)> {
        let steps = self.steps.iter();
        steps.map(|step| (step.operator.name(), step.operator.kind()))
    }

    /// The convolutions on integers in the order of execution.
    ///
    /// # Errors
    /// Fails where their outputs do not fit into memory.
    pub fn convolutions(&self) -> Result<Vec<Convolution<'_>>> {
        let convolutions = self.steps.iter().filter_map(|step| {
            let operator = step.operator.as_int_conv()?;
            let [_, output] = operator.shapes();
            let out = Tensor::zeros(&output, DType::U8, &Device::Cpu);
            Some(out.map(|out| Convolution {
                layer: &step.label,
                operator,
                out,
            }))
        });
        convolutions.collect::<candle_core::Result<_>>().engine()
    }

    /// Of each output the ONNX type that the file declares, by its number; 0 where it declares none. Truth values
    /// are bytes here, and integers of the types that candle has not are held in a wider one.
    pub fn types(&self) -> &[i32] {
        &self.types
    }

    /// Bytes of the buffers that the operators of this backend write into.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The number of integer convolutions whose weights are packed.
    pub fn packed(&self) -> usize {
        let convolutions = self.steps.iter().filter_map(|step| step.operator.packed());
        convolutions.filter(|conv| conv.is_packed()).count()
    }
}

fn convolutions_of(steps: &[CompiledStep]) -> impl Iterator<Item = &IntConv> {
    let operators = steps.iter();
    operators.filter_map(|step| step.operator.as_int_conv())
}

/// Puts convolutions together each of which alone reads the output of the one before.
fn groups(steps: &[(CompiledStep, Storage)], lifetimes: &Lifetimes) -> Vec<Group> {
    let joins = |number: &usize| -> bool {
        let ((before, _), (step, _)) = (&steps[number - 1], &steps[*number]);
        let (Some(first), Some(second)) =
            (before.operator.as_int_conv(), step.operator.as_int_conv())
        else {
            return false;
        };
        // What it is added to is read as a whole.
        step.inputs.first() == Some(&before.output)
            && !step.inputs[1..].contains(&before.output)
            && lifetimes.last_read_of_buffer[before.output] == *number
            && Chain::joins(first, second)
    };
    let mut groups = Vec::new();
    let mut start = 0;
    while start < steps.len() {
        let end = (start + 1..steps.len()).take_while(joins).last();
        let group = start..end.unwrap_or(start) + 1;
        let members = steps[group.clone()].iter();
        let convolutions: Vec<&IntConv> = members
            .filter_map(|(step, _)| step.operator.as_int_conv())
            .collect();
        start = group.end;
        groups.push(Group {
            chain: if group.len() > 1 {
                Chain::new(&convolutions)
            } else {
                None
            },
            steps: group,
        });
    }
    groups
}

/// A convolution on integers of a prepared model with an output of its own, which can be run alone:
/// benchmarks need that.
pub struct Convolution<'a> {
    layer: &'a str,
    operator: &'a ops::IntConv,
    out: Tensor,
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

    /// Computes it on the calling thread.
    ///
    /// # Errors
    /// Fails on an input that does not hold u8 of the shape that [`Self::shapes`] tells.
    pub fn run(&self, input: &Tensor) -> Result<()> {
        self.out.inplace_op2(input, self.operator).engine()
    }
}
