//! ONNX Runtime, through `ort`, as a Firstpass backend, on its CPU execution provider.

mod arena;
mod library;
mod model;
mod optimizers;
mod options;
mod prepared;
mod profile;

use std::collections::BTreeMap;

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, EngineResult, Format, Knob, Knobs, Model, Profiler, Result,
    Tensor, Tensors,
};

use ort::session::builder::SessionBuilder;

use library::Runtime;
use model::Runnable;
use options::Options;
use profile::Profiled;

/// ONNX Runtime, loaded when the probe starts.
pub struct OnnxRuntime;

/// The loaded library with the options that every session of this start gets.
pub struct Engine {
    runtime: &'static Runtime,
    options: Options,
}

/// A builder of sessions under these knobs, which were checked against [`Backend::knobs`]: for a
/// program that goes on with ort itself. It knows nothing of prepared files, and an arena of the
/// environment has to be registered by the program.
///
/// # Errors
/// As [`Backend::start`].
pub fn session_builder(knobs: &Knobs) -> Result<SessionBuilder> {
    let engine = OnnxRuntime::start(knobs)?;
    let environment = &engine.runtime.environment;
    let builder = engine.options.builder(environment, options::Use::default());
    builder.engine()
}

impl Backend for OnnxRuntime {
    const NAME: &'static str = "onnxruntime";
    const FORMATS: &'static [Format] = &[Format::ONNX];

    type Engine = Engine;
    type Loaded = Runnable;
    type Prepared = Runnable;

    fn knobs() -> Vec<Knob> {
        options::declared()
    }

    fn start(knobs: &Knobs) -> Result<Engine> {
        Ok(Engine {
            runtime: library::start()?,
            options: Options::read(knobs)?,
        })
    }

    fn describe(engine: &Engine) -> Result<EngineInfo> {
        let build = ort::info().trim_start_matches("ORT Build Info: ");
        let mut info = EngineInfo::new(&engine.runtime.version, env!("BINDING"));
        info.library = Some(engine.runtime.path.display().to_string());
        info.details = BTreeMap::from([
            ("build".into(), build.into()),
            ("execution-provider".into(), "CPU".into()),
        ]);
        Ok(info)
    }

    fn load(engine: &Engine, model: &Model) -> Result<Runnable> {
        Runnable::load(engine, model, None)
    }

    /// Nothing to do but to look: the session is complete once the file is read.
    fn prepare(loaded: &Runnable, shapes: &[Vec<usize>]) -> Result<Runnable> {
        loaded.check_shapes(shapes)?;
        Ok(loaded.clone())
    }

    fn pass(runnable: &mut Runnable, inputs: &[Tensor]) -> Result<Tensors> {
        runnable.pass(inputs)
    }

    fn inspect(engine: &Engine, model: &Model, inputs: &[Tensor]) -> Result<Arithmetic> {
        Profiled::load(engine, model)?.inspect(inputs)
    }

    fn profile<'a>(engine: &'a Engine, model: &'a Model) -> Result<Box<dyn Profiler + 'a>> {
        Ok(Box::new(Profiled::load(engine, model)?))
    }
}
