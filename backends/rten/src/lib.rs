//! rten as a Firstpass backend: an engine in Rust, compiled into the probe.

mod declared;
mod log;
mod model;
mod settings;
mod values;

use std::collections::BTreeMap;

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, Format, Knob, Knobs, Model, Profiler, Result, Tensor, Tensors,
};

pub use model::Runnable;
pub use settings::Settings;

/// rten.
pub struct Rten;

impl Backend for Rten {
    const NAME: &'static str = "rten";
    const FORMATS: &'static [Format] = &[Format::ONNX];

    type Engine = Settings;
    type Loaded = Runnable;
    type Prepared = Runnable;

    fn knobs() -> Vec<Knob> {
        settings::knobs()
    }

    fn start(knobs: &Knobs) -> Result<Settings> {
        Ok(Settings::of(knobs))
    }

    fn describe(_: &Settings) -> Result<EngineInfo> {
        let version = env!("RTEN_VERSION");
        let mut info = EngineInfo::new(version, format!("rten {version}"));
        // rten chooses its kernels when it runs, and does not say which.
        info.details = BTreeMap::from([
            ("architecture".into(), std::env::consts::ARCH.into()),
            (
                "compiled-with-debug-assertions".into(),
                if cfg!(debug_assertions) { "yes" } else { "no" }.into(),
            ),
        ]);
        Ok(info)
    }

    fn load(settings: &Settings, model: &Model) -> Result<Runnable> {
        Runnable::load(settings, model)
    }

    /// Nothing to do but to look: rten plans a pass when it runs, for the shapes that it is given.
    fn prepare(loaded: &Runnable, shapes: &[Vec<usize>]) -> Result<Runnable> {
        loaded.check_shapes(shapes)?;
        Ok(loaded.clone())
    }

    fn pass(runnable: &mut Runnable, inputs: &[Tensor]) -> Result<Tensors> {
        runnable.pass(inputs)
    }

    fn inspect(settings: &Settings, model: &Model, inputs: &[Tensor]) -> Result<Arithmetic> {
        log::inspect(Runnable::load(settings, model)?, inputs)
    }

    fn profile<'a>(settings: &'a Settings, model: &'a Model) -> Result<Box<dyn Profiler + 'a>> {
        let runnable = Runnable::load(settings, model)?;
        Ok(Box::new(log::Profiled::new(runnable)))
    }
}
