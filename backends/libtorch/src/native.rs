//! The backend where libtorch is linked.

mod activations;
mod arguments;
mod engine;
mod module;
mod outputs;
mod prepared;
pub mod settings;
mod shim;
mod trace;

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, Error, Format, Knob, Knobs, Model, Profiler, Recording,
    Result, Tensor, Tensors,
};
use tch::TchError;

use crate::{Libtorch, knobs};
use engine::Engine;
use module::{Module, Runnable};

impl Backend for Libtorch {
    const NAME: &'static str = "libtorch";
    const FORMATS: &'static [Format] = &[Format::TORCHSCRIPT];

    type Engine = Engine;
    type Loaded = Module;
    type Prepared = Runnable;

    fn knobs() -> Vec<Knob> {
        knobs::declared()
    }

    fn start(knobs: &Knobs) -> Result<Engine> {
        Engine::start(knobs)
    }

    fn describe(_: &Engine) -> Result<EngineInfo> {
        engine::describe()
    }

    fn load(engine: &Engine, model: &Model) -> Result<Module> {
        Module::load(engine, model)
    }

    fn prepare(loaded: &Module, shapes: &[Vec<usize>]) -> Result<Runnable> {
        loaded.prepare(shapes)
    }

    fn pass(runnable: &mut Runnable, inputs: &[Tensor]) -> Result<Tensors> {
        runnable.pass(inputs)
    }

    fn output_names(runnable: &Runnable) -> Vec<String> {
        runnable.output_names()
    }

    fn inspect(engine: &Engine, model: &Model, inputs: &[Tensor]) -> Result<Arithmetic> {
        let mut runnable = Module::load(engine, model)?.prepare(&model.input_shapes())?;
        trace::inspect(&mut runnable, inputs)
    }

    fn profile<'a>(engine: &'a Engine, model: &'a Model) -> Result<Box<dyn Profiler + 'a>> {
        Ok(Box::new(trace::Profiled::load(engine, model)?))
    }

    fn activations(engine: &Engine, model: &Model, inputs: &[Tensor]) -> Result<Recording> {
        let mut runnable = Module::load(engine, model)?.prepare(&model.input_shapes())?;
        activations::record(&mut runnable, inputs)
    }
}

fn torch_error(error: TchError) -> Error {
    match error {
        TchError::Torch(text) => Error::engine(message(&text)),
        other => Error::caused_by(&other),
    }
}

/// What libtorch says without its C++ stack trace, which says nothing to the reader of a report.
fn message(text: &str) -> &str {
    text.split_once("\nException raised from ")
        .map_or(text, |(message, _trace)| message)
        .trim()
}
