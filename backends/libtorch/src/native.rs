//! The backend where libtorch is linked.

mod activations;
mod engine;
mod module;
mod prepared;
pub mod settings;
mod shim;
mod trace;

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, Error, Format, Knob, Knobs, Model, Profile, Recording, Result,
    Tensor, Tensors,
};
use tch::TchError;

use crate::{Libtorch, knobs};
use engine::Engine;
use module::{Module, Runnable};

impl Backend for Libtorch {
    const NAME: &'static str = "libtorch";
    const FORMATS: &'static [Format] = &[Format::TorchScript];

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

    fn prepare(loaded: &Module, shape: &[usize]) -> Result<Runnable> {
        loaded.prepare(shape)
    }

    fn pass(runnable: &mut Runnable, input: &Tensor) -> Result<Tensors> {
        runnable.pass(input)
    }

    fn inspect(engine: &Engine, model: &Model, input: &Tensor) -> Result<Arithmetic> {
        trace::inspect(
            &mut Module::load(engine, model)?.prepare(&input.shape)?,
            input,
        )
    }

    fn profile(engine: &Engine, model: &Model, input: &Tensor, passes: usize) -> Result<Profile> {
        trace::profile(engine, model, input, passes)
    }

    fn activations(engine: &Engine, model: &Model, input: &Tensor) -> Result<Recording> {
        activations::record(
            &mut Module::load(engine, model)?.prepare(&input.shape)?,
            input,
        )
    }
}

fn torch_error(error: TchError) -> Error {
    match error {
        TchError::Torch(text) => Error::engine(message(&text)),
        other => other.into(),
    }
}

/// What libtorch says without its C++ stack trace, which says nothing to the reader of a report.
fn message(text: &str) -> &str {
    text.split_once("\nException raised from ")
        .map_or(text, |(message, _trace)| message)
        .trim()
}
