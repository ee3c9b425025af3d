//! The backend where candle-onnx is not linked.

use std::convert::Infallible;

use firstpass_probe::{
    Backend, EngineInfo, Error, Format, Knob, Knobs, Model, Result, Tensor, Tensors,
};

use crate::{CandleOnnx, knobs};

const ABSENT: &str = "this probe was built without candle-onnx, whose build needs protoc; `cargo firstpass setup` \
                      fetches it and `cargo firstpass report` or `cargo firstpass test` builds with it";

impl Backend for CandleOnnx {
    const NAME: &'static str = "candle-onnx";
    const FORMATS: &'static [Format] = &[Format::ONNX];

    type Engine = Infallible;
    type Loaded = Infallible;
    type Prepared = Infallible;

    fn knobs() -> Vec<Knob> {
        knobs()
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
