//! OpenVINO, through the crate `openvino`, as a Firstpass backend, on its CPU plugin.

mod model;
mod profile;
mod settings;
mod values;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use firstpass_probe::{
    Arithmetic, Backend, EngineInfo, EngineResult, Error, Format, Knob, Knobs, Model, Profiler,
    Result, Tensor, Tensors,
};
use openvino::{Core, DeviceType, PropertyKey, SetupError};

pub use model::{Loaded, Runnable};
use profile::Profiled;
use settings::Settings;

/// OpenVINO, loaded when the probe starts.
pub struct OpenVino;

/// The loaded library with the CPU plugin under its settings.
pub struct Engine {
    core: Rc<RefCell<Core>>,
    settings: Settings,
}

impl Backend for OpenVino {
    const NAME: &'static str = "openvino";
    const FORMATS: &'static [Format] = &[Format::ONNX];

    type Engine = Engine;
    type Loaded = Loaded;
    type Prepared = Runnable;

    fn knobs() -> Vec<Knob> {
        settings::knobs()
    }

    fn start(knobs: &Knobs) -> Result<Engine> {
        let settings = Settings::of(knobs)?;
        let mut core = Core::new().map_err(unavailable)?;
        for (key, value) in settings.properties() {
            core.set_property(&DeviceType::CPU, &key, &value)
                .engine()
                .map_err(|error| error.context(format!("{}={value}", key.as_ref())))?;
        }
        Ok(Engine {
            core: Rc::new(RefCell::new(core)),
            settings,
        })
    }

    fn describe(engine: &Engine) -> Result<EngineInfo> {
        let core = engine.core.borrow();
        let property = |key: PropertyKey| core.get_property(&DeviceType::CPU, &key).engine();
        let mut info = EngineInfo::new(openvino::version().build_number, env!("BINDING"));
        let library = openvino_sys::library::find();
        info.library = library.map(|path| path.display().to_string());
        info.details = BTreeMap::from([
            ("device".into(), property(PropertyKey::DeviceFullName)?),
            (
                "capabilities".into(),
                property(PropertyKey::DeviceCapabilities)?,
            ),
            // What floats are computed in: bf16 where the processor has it, unless told otherwise.
            (
                "inference-precision".into(),
                property(settings::PRECISION.into())?,
            ),
        ]);
        Ok(info)
    }

    fn load(engine: &Engine, model: &Model) -> Result<Loaded> {
        Loaded::read(engine, model)
    }

    fn prepare(loaded: &Loaded, shapes: &[Vec<usize>]) -> Result<Runnable> {
        loaded.prepare(shapes)
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

fn unavailable(error: SetupError) -> Error {
    Error::unavailable(format!(
        "{error}; `cargo firstpass setup` fetches OpenVINO, or set OPENVINO_INSTALL_DIR to the folder of OpenVINO \
         2025.1 or newer that holds runtime/lib"
    ))
}
