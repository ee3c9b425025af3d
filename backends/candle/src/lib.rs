//! The candle backend: an executor of ONNX graphs on candle-core, exact on quantized ones.

mod compilation;
mod engine;
mod fusion;
mod geometry;
mod graph;
mod kernels;
mod lifetimes;
mod memory;
mod observer;
mod ops;
mod plan;
mod prepared;
mod room;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use firstpass_onnx::{Bytes, decode_with_opset, external};
use firstpass_probe::{
    Arithmetic, Backend, Data, EngineInfo, Error, Format, Knob, Knobs, Model, PassTimes, Profiler,
    Result, THREADS, Tensor, Tensors,
};

pub use engine::{Engine, divide_as_requested};
pub use kernels::{Isa, Matrix, Output, Range, Requantization, Rows};
use ops::ConvKind;
use plan::Plan;
pub use prepared::{Convolution, Prepared, Values};
pub use settings::{Buffers, Packing, Settings};

/// candle, by `candle-core`.
pub struct Candle;

/// A recognised graph.
pub struct Loaded {
    engine: Engine,
    plan: Plan,
}

impl Backend for Candle {
    const NAME: &'static str = "candle";
    const FORMATS: &'static [Format] = &[Format::ONNX];

    type Engine = Engine;
    type Loaded = Loaded;
    type Prepared = Prepared;

    fn knobs() -> Vec<Knob> {
        Settings::knobs()
    }

    fn start(knobs: &Knobs) -> Result<Engine> {
        Engine::new(Settings::of(knobs)?)
    }

    fn describe(engine: &Engine) -> Result<EngineInfo> {
        let version = env!("CANDLE_CORE_VERSION");
        let details = BTreeMap::from([
            ("cpu features".into(), cpu_features()),
            (
                "integer kernels".into(),
                engine.settings.kernels.name().into(),
            ),
            (
                "float kernels".into(),
                "own (convolutions), gemm (other products)".into(),
            ),
            (
                "quantizing".into(),
                "x / scale, as ONNX defines it; x · (1 / scale) in files that are written for fbgemm, \
                 which have float biases beside int8 weights"
                    .into(),
            ),
            (THREADS.into(), engine.settings.threads.to_string()),
        ]);
        let mut info = EngineInfo::new(version, format!("candle-core {version}"));
        info.details = details;
        Ok(info)
    }

    fn load(engine: &Engine, model: &Model) -> Result<Loaded> {
        let path = &model.path;
        let load = || {
            // Read and not mapped: a map of a file that is cut meanwhile ends the process (SIGBUS).
            let bytes: Bytes = std::fs::read(path)?.into();
            let mut graph = decode_with_opset(bytes)?;
            external::read(&mut graph.0, path)?;
            let mut outputs: Vec<&str> = model.outputs.iter().map(|o| o.name.as_str()).collect();
            if outputs.is_empty() {
                outputs = graph.0.output.iter().map(|o| o.name.as_str()).collect();
            }
            let inputs: Vec<&str> = model.inputs.iter().map(|i| i.name.as_str()).collect();
            Plan::new(&graph, &inputs, &outputs)
        };
        let plan =
            load().map_err(|e: Error| e.context(format!("cannot load {}", path.display())))?;
        Ok(Loaded {
            engine: engine.clone(),
            plan,
        })
    }

    fn prepare(loaded: &Loaded, shapes: &[Vec<usize>]) -> Result<Prepared> {
        Prepared::new(&loaded.engine, &loaded.plan, shapes)
    }

    fn pass(prepared: &mut Prepared, inputs: &[Tensor]) -> Result<Tensors> {
        prepared.observed_pass(&values(inputs)?, &mut ())
    }

    fn inspect(engine: &Engine, model: &Model, inputs: &[Tensor]) -> Result<Arithmetic> {
        let mut prepared = Self::prepare(&Self::load(engine, model)?, &model.input_shapes())?;
        // Only steps that run are worth counting.
        Self::pass(&mut prepared, inputs)?;
        let mut arithmetic =
            Arithmetic::new("the list of steps that this backend compiled for the model and ran");
        for (name, kind) in prepared.operators() {
            *arithmetic.operators.entry(name.into()).or_default() += 1;
            match kind {
                Some(ConvKind::Integer) => arithmetic.integer += 1,
                Some(ConvKind::Float) => arithmetic.float += 1,
                None => {}
            }
        }
        Ok(arithmetic)
    }

    fn profile<'a>(engine: &'a Engine, model: &'a Model) -> Result<Box<dyn Profiler + 'a>> {
        Ok(Box::new(Profiled {
            prepared: Self::prepare(&Self::load(engine, model)?, &model.input_shapes())?,
            pass: PassTimes::default(),
            passes: Vec::new(),
        }))
    }
}

/// A model whose steps are timed.
struct Profiled {
    prepared: Prepared,
    /// What is seen of the pass that runs.
    pass: PassTimes,
    passes: Vec<PassTimes>,
}

impl Profiler for Profiled {
    fn source(&self) -> &str {
        "a clock around every step of this backend's executor"
    }

    fn begin(&mut self) -> Result<()> {
        self.pass = PassTimes::with_capacity(self.prepared.operators().count());
        Ok(())
    }

    fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        let times = &mut self.pass.operators;
        self.prepared.observed_pass(&values(inputs)?, times)
    }

    fn end(&mut self) -> Result<()> {
        let mut pass = std::mem::take(&mut self.pass);
        pass.counts = BTreeMap::from([
            ("buffer bytes".into(), self.prepared.memory_bytes() as u64),
            ("packed convolutions".into(), self.prepared.packed() as u64),
        ]);
        self.passes.push(pass);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<PassTimes>> {
        Ok(self.passes)
    }
}

/// The values of inputs as the executor takes them.
fn values(inputs: &[Tensor]) -> Result<Vec<Values<'_>>> {
    let inputs = inputs.iter().map(|input| match input.data() {
        Data::F32(values) => Ok(Values::F32(values)),
        Data::I64(values) => Ok(Values::I64(values)),
        Data::I32(values) => Ok(Values::I32(values)),
        Data::U8(values) => Ok(Values::U8(values)),
        // ONNX keeps truth values in bytes, and so does the executor.
        Data::Bool(values) => Ok(Values::U8(bytemuck::cast_slice(values))),
        Data::I8(values) => Ok(Values::I8(values)),
        Data::F64(values) => Ok(Values::F64(values)),
        Data::F16(values) => Ok(Values::F16(values)),
        Data::BF16(values) => Ok(Values::BF16(values)),
        _ => Err(Error::unsupported(format!(
            "an input of {}",
            input.dtype().key()
        ))),
    });
    inputs.collect()
}

/// What of the processor the integer kernels and gemm look for.
fn cpu_features() -> String {
    let mut found: Vec<&str> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! note {
            ($($feature:tt),*) => {
                $(if is_x86_feature_detected!($feature) { found.push($feature); })*
            };
        }
        note!(
            "avx2",
            "fma",
            "avx512f",
            "avx512bw",
            "avx512vl",
            "avx512vnni"
        );
    }
    if found.is_empty() {
        found.push(std::env::consts::ARCH);
    }
    found.join(" ")
}
