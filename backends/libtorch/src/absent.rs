//! The backend where libtorch is not linked.

use std::convert::Infallible;

use firstpass_probe::{
    Backend, EngineInfo, Error, Format, Knob, Knobs, Model, Result, Tensor, Tensors,
};

use crate::{Libtorch, knobs};

const ABSENT: &str = "this probe was built without libtorch; `cargo firstpass setup` fetches it \
                      and `cargo firstpass report` or `cargo firstpass test` builds with it";

impl Backend for Libtorch {
    const NAME: &'static str = "libtorch";
    const FORMATS: &'static [Format] = &[Format::TORCHSCRIPT];

    type Engine = Infallible;
    type Loaded = Infallible;
    type Prepared = Infallible;

    fn knobs() -> Vec<Knob> {
        knobs::declared()
    }

    fn start(_: &Knobs) -> Result<Infallible> {
        Err(Error::unavailable(ABSENT))
    }

    fn describe(engine: &Infallible) -> Result<EngineInfo> {
        match *engine {}
    }

    fn load(engine: &Infallible, _: &Model) -> Result<Infallible> {
        match *engine {}
    }

    fn prepare(loaded: &Infallible, _: &[Vec<usize>]) -> Result<Infallible> {
        match *loaded {}
    }

    fn pass(prepared: &mut Infallible, _: &[Tensor]) -> Result<Tensors> {
        match *prepared {}
    }
}
