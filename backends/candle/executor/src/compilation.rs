//! The steps of a plan, with the operators that they are for inputs of some shapes.

use candle_core::Tensor;
use firstpass_onnx::{Error, Result};

use crate::{
    geometry::volume,
    ops::{Fact, Inputs, Operator, Storage},
    plan::{Plan, Step, Value},
    settings::{Packing, Settings},
};

/// Values that may be computed from constants in all: a damaged file must not exhaust memory.
const MAX_FOLDED: usize = 1 << 28;

/// A step with its operator.
pub struct CompiledStep {
    pub label: String,
    pub operator: Box<dyn Operator>,
    /// Without parameters, which the operator has taken in.
    pub inputs: Vec<Value>,
    pub output: Value,
    /// The buffer that the operator writes into; those without one are candle's, which allocate.
    pub out: Option<Tensor>,
    /// Whether the operator reads an input of the model as it lies in the memory of the host.
    pub reads_host: bool,
    /// Values that no later step reads.
    pub done: Vec<Value>,
}

/// What the steps of a plan are for inputs of some shapes.
pub struct Compilation {
    /// By value, what is known of it.
    pub facts: Vec<Option<Fact>>,
    /// The steps that run in each pass, with where their outputs lie. Those whose inputs do not depend on
    /// those of the model have run.
    pub steps: Vec<(CompiledStep, Storage)>,
}

impl Compilation {
    /// Compiles every step of `plan`, or computes it now where nothing in it depends on the inputs.
    ///
    /// # Errors
    /// Names the step whose inputs do not have the shapes that it takes.
    pub fn new(settings: Settings, plan: &Plan, shapes: &[Vec<usize>]) -> Result<Self> {
        if shapes.len() != plan.inputs.len() {
            return Err(Error::input(format!(
                "{} shapes for a model of {} inputs",
                shapes.len(),
                plan.inputs.len()
            )));
        }
        let mut facts = vec![None; plan.values];
        for (value, (shape, input)) in shapes.iter().zip(&plan.inputs).enumerate() {
            if volume(shape)? == 0 {
                return Err(Error::input(format!(
                    "the input {:?} of shape {shape:?} is empty",
                    input.name
                )));
            }
            facts[value] = Some(Fact {
                dims: shape.clone(),
                dtype: input.dtype,
                narrow: input.narrow(),
                constant: None,
            });
        }
        for (value, fact) in &plan.constants {
            facts[*value] = Some(fact.clone());
        }
        let mut this = Self {
            facts,
            steps: Vec::with_capacity(plan.steps.len()),
        };
        let mut folded = 0;
        for step in &plan.steps {
            this.add(settings, step, &mut folded, plan.inputs.len())
                .map_err(|e| e.context(format!("cannot prepare {}", step.label)))?;
        }
        Ok(this)
    }

    fn add(
        &mut self,
        settings: Settings,
        step: &Step,
        folded: &mut usize,
        inputs_of_model: usize,
    ) -> Result<()> {
        let facts = step.inputs.iter();
        let facts: Vec<Option<&Fact>> = facts.map(|input| self.facts[(*input)?].as_ref()).collect();
        let inputs = Inputs {
            facts: &facts,
            isa: settings.kernels,
        };
        let operation = step.operation.as_ref();
        let compiled = inputs.compile(operation)?;
        let narrow = operation.narrow(&inputs, compiled.dtype);
        let values = volume(&compiled.dims)?;
        let is_constant = |fact: &&Fact| fact.constant.is_some();
        let constant = if operation.is_of_shapes() || facts.iter().flatten().all(is_constant) {
            *folded += values;
            if *folded > MAX_FOLDED {
                return Err(Error::unsupported("too much is computed from constants"));
            }
            Some(inputs.fold(operation, &compiled)?)
        } else if values == 0 {
            let dims = compiled.dims;
            return Err(Error::unsupported(format!("its result {dims:?} is empty")));
        } else {
            let read = step.inputs.iter().enumerate();
            let read = read.filter(|(position, _)| !operation.is_parameter(*position));
            let read: Vec<Value> = read.filter_map(|(_, input)| *input).collect();
            let quantizes = compiled.operator.as_quantize().is_some();
            if let (Some(conv), Packing::Prepare) = (compiled.operator.packed(), settings.packing) {
                conv.pack();
            }
            let step = CompiledStep {
                label: step.label.clone(),
                operator: compiled.operator,
                reads_host: quantizes && read.iter().all(|&value| value < inputs_of_model),
                inputs: read,
                output: step.output,
                out: None,
                done: Vec::new(),
            };
            self.steps.push((step, compiled.storage));
            None
        };
        self.facts[step.output] = Some(Fact {
            dims: compiled.dims,
            dtype: compiled.dtype,
            narrow,
            constant,
        });
        Ok(())
    }
}
