//! The referee: an exact, slow and readable interpreter of quantized ONNX graphs.
//!
//! Engines disagree by a step here and there. This backend computes what the file means, exactly up to
//! the place where the file itself rounds, and rounds there by one rule at a time ([`rules`]): whose
//! rule gives an engine's bits is how that engine computes.

mod any_order;
mod array;
mod conv;
mod convolution;
mod graph;
mod operators;
mod requantize;
mod rules;
mod value;

use std::{collections::BTreeMap, sync::Arc};

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, Error, Format, Knob, Knobs, Model, OperatorTime, PassTimes,
    ProfiledOperator, Profiler, Result, THREADS, Tensor, Tensors, monotonic_ns,
};

use array::{Array, volume};
use graph::{Graph, Interpretation};
pub use rules::Rules;

/// The interpreter.
pub struct Reference;

/// A graph that was read, and how to interpret it.
#[derive(Clone)]
pub struct Loaded {
    graph: Arc<Graph>,
    interpretation: Interpretation,
}

/// The same for inputs of one shape: nothing is prepared.
pub struct Prepared {
    loaded: Loaded,
    shape: Vec<usize>,
}

impl Backend for Reference {
    const NAME: &'static str = "reference";
    const FORMATS: &'static [Format] = &[Format::ONNX];

    type Engine = Interpretation;
    type Loaded = Loaded;
    type Prepared = Prepared;

    fn knobs() -> Vec<Knob> {
        let mut knobs = vec![Knob::threads(
            "threads that share the channels of a convolution",
        )];
        knobs.extend(Rules::knobs());
        knobs
    }

    fn start(knobs: &Knobs) -> Result<Interpretation> {
        Ok(Interpretation {
            rules: Rules::of(knobs)?,
            threads: knobs.threads(),
        })
    }

    fn describe(engine: &Interpretation) -> Result<EngineInfo> {
        let version = env!("CARGO_PKG_VERSION");
        let binding = format!("{} {version}", env!("CARGO_PKG_NAME"));
        let mut info = EngineInfo::new(version, binding);
        info.details = BTreeMap::from([
            (THREADS.into(), engine.threads.to_string()),
            ("operators".into(), operators::NAMES.join(" ")),
        ]);
        Ok(info)
    }

    fn load(engine: &Interpretation, model: &Model) -> Result<Loaded> {
        let [input] = &model.inputs[..] else {
            return Err(Error::unsupported(format!(
                "it interprets models of one input, not of {}",
                model.inputs.len()
            )));
        };
        let outputs: Vec<&str> = model.outputs.iter().map(|o| o.name.as_str()).collect();
        let graph = Graph::read(&model.path, &input.name, &outputs)
            .map_err(|e| e.context(format!("cannot load {}", model.path.display())))?;
        Ok(Loaded {
            graph: Arc::new(graph),
            interpretation: *engine,
        })
    }

    fn prepare(loaded: &Loaded, shapes: &[Vec<usize>]) -> Result<Prepared> {
        let shape = shapes
            .first()
            .ok_or_else(|| Error::input("there is no shape for the input"))?;
        if volume(shape)? == 0 {
            return Err(Error::input(format!(
                "an input of shape {shape:?} is empty"
            )));
        }
        Ok(Prepared {
            loaded: loaded.clone(),
            shape: shape.clone(),
        })
    }

    fn pass(prepared: &mut Prepared, inputs: &[Tensor]) -> Result<Tensors> {
        prepared.run(inputs, |_, compute| compute())
    }

    fn inspect(engine: &Interpretation, model: &Model, inputs: &[Tensor]) -> Result<Arithmetic> {
        let prepared = Self::prepare(&Self::load(engine, model)?, &model.input_shapes())?;
        let mut arithmetic =
            Arithmetic::new("the nodes of the file, as this backend interpreted them");
        prepared.run(inputs, |node, compute| {
            let value = compute()?;
            *arithmetic
                .operators
                .entry(node.op_type.clone())
                .or_default() += 1;
            if node.op_type == "Conv" {
                match &value {
                    value::Value::Pending(_) => arithmetic.integer += 1,
                    _ => arithmetic.float += 1,
                }
            }
            Ok(value)
        })?;
        Ok(arithmetic)
    }

    fn profile<'a>(engine: &'a Interpretation, model: &'a Model) -> Result<Box<dyn Profiler + 'a>> {
        Ok(Box::new(Profiled {
            prepared: Self::prepare(&Self::load(engine, model)?, &model.input_shapes())?,
            passes: Vec::new(),
        }))
    }
}

/// A model whose nodes are timed.
struct Profiled {
    prepared: Prepared,
    passes: Vec<PassTimes>,
}

impl Profiler for Profiled {
    fn source(&self) -> &str {
        "a clock around every node of this backend's interpreter"
    }

    fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        let mut times = PassTimes::default();
        let outputs = self.prepared.run(inputs, |node, compute| {
            let began = monotonic_ns();
            let value = compute()?;
            times.operators.push(OperatorTime {
                operator: ProfiledOperator {
                    layer: node.label(),
                    kind: node.op_type.clone(),
                },
                self_ns: monotonic_ns() - began,
                minor_faults: None,
            });
            Ok(value)
        })?;
        self.passes.push(times);
        Ok(outputs)
    }

    fn finish(self: Box<Self>) -> Result<Vec<PassTimes>> {
        Ok(self.passes)
    }
}

impl Prepared {
    fn run(
        &self,
        inputs: &[Tensor],
        observe: impl FnMut(
            &firstpass_onnx::NodeProto,
            &mut dyn FnMut() -> Result<value::Value>,
        ) -> Result<value::Value>,
    ) -> Result<Tensors> {
        let [input] = inputs else {
            return Err(Error::input(format!(
                "{} inputs instead of one",
                inputs.len()
            )));
        };
        if input.shape() != self.shape {
            return Err(Error::input(format!(
                "an input of shape {:?} for a model prepared for {:?}",
                input.shape(),
                self.shape
            )));
        }
        let input = Array {
            dims: input.shape().to_vec(),
            values: input.f32s()?.to_vec(),
        };
        let outputs = self
            .loaded
            .graph
            .run(self.loaded.interpretation, input, observe)?;
        outputs
            .iter()
            .map(|output| Tensor::new(&output.dims, output.values.clone()))
            .collect()
    }
}
