//! tract, through `tract-onnx`, as a Firstpass backend: an engine in Rust, compiled into the probe.

mod graph;
mod model;
mod nnef;
mod prepared_file;
mod profile;
mod settings;

use std::collections::BTreeMap;

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, Error, Format, Knob, Knobs, Model, Profiler, Result, Tensor,
    Tensors,
};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::TractError;

pub use model::{Loaded, Runnable};
pub use nnef::nnef;
pub use prepared_file::dequantize_weights;
use settings::Settings;

/// tract.
pub struct Tract;

/// Proof that tract's threads are set, and how models are prepared.
pub struct Engine(Settings);

impl Backend for Tract {
    const NAME: &'static str = "tract";
    const FORMATS: &'static [Format] = &[Format::ONNX, Format::ONNX_QOPERATOR];

    type Engine = Engine;
    type Loaded = Loaded;
    type Prepared = Runnable;

    fn knobs() -> Vec<Knob> {
        settings::knobs()
    }

    fn start(knobs: &Knobs) -> Result<Engine> {
        let settings = Settings::of(knobs)?;
        // Set either way: an earlier start in this process may have changed it.
        set_default_executor(match knobs.threads() {
            1 => Executor::SingleThread,
            threads => Executor::multithread(threads),
        });
        Ok(Engine(settings))
    }

    fn describe(_: &Engine) -> Result<EngineInfo> {
        let yes_or_no = |yes| String::from(if yes { "yes" } else { "no" });
        let binding = concat!("tract-onnx ", env!("TRACT_ONNX_VERSION"));
        let mut info = EngineInfo::new(env!("TRACT_CORE_VERSION"), binding);
        // tract chooses its matrix kernels when it runs; all its other loops use what the
        // compiler was allowed to.
        info.details = BTreeMap::from([
            ("architecture".into(), std::env::consts::ARCH.into()),
            (
                "compiled-for-avx2".into(),
                yes_or_no(cfg!(target_feature = "avx2")),
            ),
            (
                "compiled-with-debug-assertions".into(),
                yes_or_no(cfg!(debug_assertions)),
            ),
        ]);
        Ok(info)
    }

    fn load(engine: &Engine, model: &Model) -> Result<Loaded> {
        Loaded::read(&engine.0, model)
    }

    fn prepare(loaded: &Loaded, shapes: &[Vec<usize>]) -> Result<Runnable> {
        loaded.prepare(shapes)
    }

    fn pass(runnable: &mut Runnable, inputs: &[Tensor]) -> Result<Tensors> {
        runnable.pass(inputs)
    }

    fn inspect(engine: &Engine, model: &Model, _: &[Tensor]) -> Result<Arithmetic> {
        let runnable = Loaded::read(&engine.0, model)?.prepare(&model.input_shapes())?;
        graph::count(runnable.plan())
    }

    fn profile<'a>(engine: &'a Engine, model: &'a Model) -> Result<Box<dyn Profiler + 'a>> {
        let runnable = Loaded::read(&engine.0, model)?.prepare(&model.input_shapes())?;
        Ok(Box::new(profile::Profiled::new(runnable)))
    }
}

/// tract's errors are of a type that does not implement `std::error::Error`, but leads to one.
fn tract_error(error: TractError) -> Error {
    Error::caused_by(error.as_ref())
}
