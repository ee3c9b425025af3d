//! The referee: an exact, slow and readable interpreter of quantized ONNX graphs.
//!
//! Engines disagree by a step here and there. This backend computes what the file means, exactly up to
//! the place where the file itself rounds, and rounds there by one rule at a time ([`rules`]): whose
//! rule gives an engine's bits is how that engine computes.

#[cfg(test)]
mod against_evaluator;
mod any_order;
mod array;
mod constants;
mod convolution;
mod graph;
mod kind;
mod noise;
mod operators;
mod requantize;
mod rules;
mod value;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, Error, Format, Knob, Knobs, Model, OperatorTime, PassTimes,
    ProfiledOperator, Profiler, Result, THREADS, Tensor, Tensors, monotonic_ns,
};

use array::volume;
use graph::Interpretation;
pub use rules::Rules;
use value::Value;

/// The interpreter.
pub struct Reference;

/// A graph that was read, and how to interpret it.
#[derive(Clone)]
pub struct Loaded {
    graph: Arc<graph::Model>,
    inputs: Vec<String>,
    interpretation: Interpretation,
}

/// The same for inputs of one shape: nothing is prepared.
pub struct Prepared {
    loaded: Loaded,
    shapes: Vec<Vec<usize>>,
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
            ("operators".into(), operators::names().join(" ")),
        ]);
        Ok(info)
    }

    fn load(engine: &Interpretation, model: &Model) -> Result<Loaded> {
        let inputs: Vec<&str> = model.inputs.iter().map(|i| i.name.as_str()).collect();
        let outputs: Vec<&str> = model.outputs.iter().map(|o| o.name.as_str()).collect();
        let graph = graph::Model::read(&model.path, &inputs, &outputs)
            .map_err(|e| e.context(format!("cannot load {}", model.path.display())))?;
        Ok(Loaded {
            graph: Arc::new(graph),
            inputs: inputs.iter().map(ToString::to_string).collect(),
            interpretation: *engine,
        })
    }

    fn prepare(loaded: &Loaded, shapes: &[Vec<usize>]) -> Result<Prepared> {
        if shapes.len() != loaded.inputs.len() {
            return Err(Error::input(format!(
                "{} shapes for {} inputs",
                shapes.len(),
                loaded.inputs.len()
            )));
        }
        for shape in shapes {
            volume(shape)?;
        }
        Ok(Prepared {
            loaded: loaded.clone(),
            shapes: shapes.to_vec(),
        })
    }

    fn pass(prepared: &mut Prepared, inputs: &[Tensor]) -> Result<Tensors> {
        prepared.run(inputs, &mut |_, compute| compute())
    }

    fn inspect(engine: &Interpretation, model: &Model, inputs: &[Tensor]) -> Result<Arithmetic> {
        let loaded = Self::load(engine, model)?;
        let prepared = Self::prepare(&loaded, &model.input_shapes())?;
        let mut arithmetic =
            Arithmetic::new("the nodes of the file, as this backend interpreted them");
        let rules = engine.rules.arithmetic.unwrap_or(loaded.graph.written_for);
        arithmetic.rules = Some(rules.knobs());
        prepared.run(inputs, &mut |node, compute| {
            let values = compute()?;
            *arithmetic
                .operators
                .entry(node.op_type.clone())
                .or_default() += 1;
            match &node.op_type[..] {
                "QLinearConv" | "QLinearMatMul" | "ConvInteger" | "MatMulInteger" | "QGemm" => {
                    arithmetic.integer += 1;
                }
                "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => match values.first() {
                    Some(Value::Pending(_)) => arithmetic.integer += 1,
                    _ => arithmetic.float += 1,
                },
                _ => {}
            }
            Ok(values)
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
        let outputs = self.prepared.run(inputs, &mut |node, compute| {
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
    fn run(&self, inputs: &[Tensor], observe: &mut graph::Observer<'_>) -> Result<Tensors> {
        let shapes = inputs.iter().map(Tensor::shape);
        if shapes.ne(self.shapes.iter().map(Vec::as_slice)) {
            let shapes: Vec<&[usize]> = inputs.iter().map(Tensor::shape).collect();
            return Err(Error::input(format!(
                "inputs of shapes {shapes:?} for a model prepared for {:?}",
                self.shapes
            )));
        }
        let Loaded {
            graph,
            inputs: names,
            interpretation,
        } = &self.loaded;
        let values = names.iter().map(String::as_str).zip(inputs);
        let values = values.map(|(name, tensor)| Ok((name, Value::of(tensor)?)));
        let values: HashMap<&str, Value> = values.collect::<Result<_>>()?;
        let outputs = graph.run(*interpretation, values, observe)?;
        outputs.iter().map(Value::tensor).collect()
    }
}
