//! The candle backend: an executor of ONNX graphs on candle-core, exact on quantized ones.

mod clock;
mod knobs;
mod tensors;

use std::collections::BTreeMap;

use firstpass_executor::ConvKind;
pub use firstpass_executor::{Buffers, Convolution, Engine, Isa, Packing, Prepared, Settings};
use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, Format, Knob, Knobs, Model, PassTimes, Profiler, Result,
    THREADS, Tensor, Tensors,
};

use clock::Clock;
use tensors::{copies, values};

/// candle, by `candle-core`.
pub struct Candle;

/// Has candle divide products of matrices into as many tasks as the request in the process's argument
/// allows threads; without it they are as many as the machine has cores.
///
/// # Safety
/// As [`firstpass_executor::divide_products`]: to be called while the process has one thread.
pub unsafe fn divide_as_requested() {
    if let Ok(request) = firstpass_probe::request() {
        // SAFETY: the caller says that no other thread runs.
        unsafe { firstpass_executor::divide_products(request.knobs().threads()) };
    }
}

impl Backend for Candle {
    const NAME: &'static str = "candle";
    const FORMATS: &'static [Format] = &[Format::ONNX];

    type Engine = Engine;
    type Loaded = firstpass_executor::Model;
    type Prepared = Prepared;

    fn knobs() -> Vec<Knob> {
        knobs::all()
    }

    fn start(knobs: &Knobs) -> Result<Engine> {
        Ok(Engine::new(knobs::settings(knobs)?)?)
    }

    fn describe(engine: &Engine) -> Result<EngineInfo> {
        let version = env!("CANDLE_CORE_VERSION");
        let details = BTreeMap::from([
            ("cpu features".into(), cpu_features()),
            (
                "integer kernels".into(),
                engine.settings().kernels.name().into(),
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
            (THREADS.into(), engine.settings().threads.to_string()),
        ]);
        let mut info = EngineInfo::new(version, format!("candle-core {version}"));
        info.details = details;
        Ok(info)
    }

    fn load(engine: &Engine, model: &Model) -> Result<Self::Loaded> {
        let inputs: Vec<&str> = model.inputs.iter().map(|i| i.name.as_str()).collect();
        let outputs: Vec<&str> = model.outputs.iter().map(|o| o.name.as_str()).collect();
        Ok(engine.load_as(&model.path, &inputs, &outputs)?)
    }

    fn prepare(loaded: &Self::Loaded, shapes: &[Vec<usize>]) -> Result<Prepared> {
        Ok(loaded.prepare(shapes)?)
    }

    fn pass(prepared: &mut Prepared, inputs: &[Tensor]) -> Result<Tensors> {
        let outputs = prepared.run(&values(inputs))?;
        copies(&outputs, prepared.types())
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
        let mut clock = Clock(std::mem::take(&mut self.pass.operators));
        let outputs = self.prepared.observed_run(&values(inputs), &mut clock);
        self.pass.operators = clock.0;
        copies(&outputs?, self.prepared.types())
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
