//! The candle backend: an executor of ONNX graphs on candle-core, exact on quantized ones.

mod geometry;
mod kernels;
mod onnx;
mod ops;
mod plan;
mod prepared;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, Error, Format, Knob, Knobs, Model, Profile, Result, THREADS,
    Tensor, Tensors,
};
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use kernels::Isa;
use plan::Plan;
use prepared::ConvKind;
pub use prepared::Prepared;

/// candle, by `candle-core`.
pub struct Candle;

/// The threads that every pass runs on, and the instruction set of the integer kernels.
#[derive(Clone)]
pub struct Engine {
    pool: Arc<ThreadPool>,
    isa: Isa,
}

impl Engine {
    /// An engine whose integer kernels use `isa`, which has to be one of [`Isa::available`].
    ///
    /// # Errors
    /// Fails where `isa` is not available or the threads cannot be started.
    pub fn new(threads: usize, isa: Isa) -> Result<Self> {
        if !Isa::available().contains(&isa) {
            return Err(Error::unsupported(format!(
                "this machine has no {}",
                isa.name()
            )));
        }
        // A pool of the engine's own instead of rayon's global one: several engines may live in
        // one process, one after the other or side by side.
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("candle-{number}"))
            .build()?;
        let pool = Arc::new(pool);
        Ok(Self { pool, isa })
    }
}

/// A recognised graph.
pub struct Loaded {
    engine: Engine,
    plan: Plan,
}

impl Backend for Candle {
    const NAME: &'static str = "candle";
    const FORMATS: &'static [Format] = &[Format::Onnx];

    type Engine = Engine;
    type Loaded = Loaded;
    type Prepared = Prepared;

    fn knobs() -> Vec<Knob> {
        vec![Knob::threads(
            "threads of the rayon pool in which every pass runs",
        )]
    }

    fn start(knobs: &Knobs) -> Result<Engine> {
        let threads = knobs.threads();
        // candle asks the environment into how many tasks it divides a product of matrices.
        // SAFETY: the standard library locks the environment, and no code in this process reads
        // it in another way: candle, gemm and rayon are Rust.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
        Engine::new(threads, Isa::detect())
    }

    fn describe(engine: &Engine) -> Result<EngineInfo> {
        let version = env!("CANDLE_CORE_VERSION");
        let details = BTreeMap::from([
            ("cpu features".into(), cpu_features()),
            ("integer kernels".into(), engine.isa.name().into()),
            (
                "float kernels".into(),
                "gemm (1x1), conv2d (dense), own (grouped)".into(),
            ),
            (
                THREADS.into(),
                engine.pool.current_num_threads().to_string(),
            ),
        ]);
        Ok(EngineInfo {
            version: version.into(),
            binding: format!("candle-core {version}"),
            library: None,
            details,
        })
    }

    fn load(engine: &Engine, model: &Model) -> Result<Loaded> {
        let path = &model.path;
        let load = || {
            let graph = onnx::decode(&std::fs::read(path)?)?;
            let outputs: Vec<&str> = model.outputs.iter().map(|o| o.name.as_str()).collect();
            Plan::new(&graph, &model.input.name, &outputs)
        };
        let plan =
            load().map_err(|e: Error| e.context(format!("cannot load {}", path.display())))?;
        Ok(Loaded {
            engine: engine.clone(),
            plan,
        })
    }

    fn prepare(loaded: &Loaded, shape: &[usize]) -> Result<Prepared> {
        let Engine { pool, isa } = loaded.engine.clone();
        Prepared::new(pool, isa, &loaded.plan, shape)
    }

    fn pass(prepared: &mut Prepared, input: &Tensor) -> Result<Tensors> {
        prepared.pass(&input.data)
    }

    fn inspect(engine: &Engine, model: &Model, input: &Tensor) -> Result<Arithmetic> {
        let mut prepared = Self::prepare(&Self::load(engine, model)?, &input.shape)?;
        // Only steps that run are worth counting.
        prepared.pass(&input.data)?;
        let mut arithmetic = Arithmetic {
            source: "the list of steps that this backend compiled for the model and ran".into(),
            ..Arithmetic::default()
        };
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

    fn profile(_: &Engine, _: &Model, _: &Tensor, _: usize) -> Result<Profile> {
        Err(Error::unsupported("no profile yet"))
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
