//! The trait that abstracts an inference engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Format, Knob, Knobs, Model, Profiler, Recording, Result, Tensor, Tensors};

/// One inference engine, in the steps that its user pays for one after the other.
///
/// Each step borrows the result of the one before, so that a pass before `prepare` does not
/// compile, and one loaded model can be prepared for several shapes. Work stays in the step where an ordinary user of that engine would pay for
/// it; the README of each backend says what that is. A backend holds no timers but those of its
/// profile, no retries and nothing that is particular to one model.
pub trait Backend: 'static {
    /// The name of the backend's folder, as it appears in records and reports.
    const NAME: &'static str;

    /// The model formats that this engine reads; the first is the one its users would choose.
    const FORMATS: &'static [Format];

    /// The started engine: library loaded, threads set.
    type Engine;
    /// A parsed model, not yet specialised to an input shape.
    type Loaded;
    /// A model that is ready to run and owns the buffers that it reuses.
    type Prepared;

    /// The knobs that [`Backend::start`] honours. Every backend has [`crate::THREADS`]; those of the
    /// process, such as [`crate::ALLOCATOR`], are added by the probe.
    fn knobs() -> Vec<Knob>;

    /// Starts the engine under `knobs`, which were checked against [`Backend::knobs`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unavailable`] where the engine's library is missing or of a wrong version.
    fn start(knobs: &Knobs) -> Result<Self::Engine>;

    /// What the running engine says of itself; an answer proves that it runs.
    fn describe(engine: &Self::Engine) -> Result<EngineInfo>;

    /// Reads the model file.
    ///
    /// # Errors
    /// Fails on a file that the engine cannot read or whose operators it does not know.
    fn load(engine: &Self::Engine, model: &Model) -> Result<Self::Loaded>;

    /// Makes the model ready to run on inputs of these shapes, in the order of [`Model::inputs`].
    fn prepare(loaded: &Self::Loaded, shapes: &[Vec<usize>]) -> Result<Self::Prepared>;

    /// Runs the model once on `inputs`, which are in number, types and shapes as [`Model::inputs`]
    /// and [`Backend::prepare`] have them, and returns the outputs in the order of
    /// [`Model::outputs`], readable on the host.
    fn pass(prepared: &mut Self::Prepared, inputs: &[Tensor]) -> Result<Tensors>;

    /// The names of the outputs of the last pass, in its order, where the engine knows names that the model
    /// does not declare; else none.
    fn output_names(_prepared: &Self::Prepared) -> Vec<String> {
        Vec::new()
    }

    /// Which operators the engine runs for this model, as it says itself: from its own trace of
    /// one pass or from its optimized graph. Runs in a process of its own, which is not timed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] by default.
    fn inspect(_engine: &Self::Engine, _model: &Model, _inputs: &[Tensor]) -> Result<Arithmetic> {
        Err(Error::unsupported("it does not say which operators it ran"))
    }

    /// The model, loaded and prepared but not yet run, with the engine's own hooks that tell where a pass
    /// spends its time; [`crate::profile`] runs the passes. Runs in a process of its own, because hooks
    /// cost time; how much is measured by the harness.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] by default; else as [`Backend::load`] and [`Backend::prepare`].
    fn profile<'a>(_engine: &'a Self::Engine, _model: &'a Model) -> Result<Box<dyn Profiler + 'a>> {
        Err(Error::unsupported(
            "it has no hooks that tell what operators take",
        ))
    }

    /// The quantized activations that the engine computes in one pass on `inputs`, from its own hook,
    /// with the outputs of that pass. Runs in a process of its own, which is not timed.
    ///
    /// To be provided by engines that have such a hook and read no file in which activations can be
    /// marked as further outputs.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] by default.
    fn activations(
        _engine: &Self::Engine,
        _model: &Model,
        _inputs: &[Tensor],
    ) -> Result<Recording> {
        Err(Error::unsupported(
            "it gives no activations of its own; mark them as outputs of the model file",
        ))
    }
}

/// What a running engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EngineInfo {
    /// The engine's version, asked of the library that was loaded.
    pub version: String,
    /// The Rust crate that binds it, with its version.
    pub binding: String,
    /// Where its library was found; `None` for an engine that is compiled into the probe.
    pub library: Option<String>,
    /// What else matters for its speed: instruction sets, quantized engine, build settings.
    pub details: BTreeMap<String, String>,
}

impl EngineInfo {
    /// An engine that is compiled into the probe and tells no details.
    pub fn new(version: impl Into<String>, binding: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            binding: binding.into(),
            library: None,
            details: BTreeMap::new(),
        }
    }
}

/// Which multiplications ran on integers and which on floats: convolutions and products of matrices
/// (Conv, Gemm, MatMul and what an engine makes of them), all alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Arithmetic {
    /// Those that accumulated integers.
    pub integer: usize,
    /// Those that accumulated floats; in an int8 model these ran on dequantized values.
    pub float: usize,
    /// Every operator of the executed graph with its number of calls, by the engine's own names.
    pub operators: BTreeMap<String, usize>,
    /// Where the engine says so, in words.
    pub source: String,
    /// Of a referee: the knobs that ask for the rules by which it computed this file. With them it computes
    /// each part of the file as it does the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Knobs>,
}

impl Arithmetic {
    /// No operator yet, from a source that is named in words.
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            ..Self::default()
        }
    }
}
