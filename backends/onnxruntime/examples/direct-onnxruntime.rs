//! ONNX Runtime through ort in a plain loop, without the trait, its messages and its counters:
//! `firstpass overhead` compares this with the probe.
//!
//! The library is the one that `ORT_DYLIB_PATH` names.

use std::{env, error, ffi::CStr, process::ExitCode, time::Instant};

use firstpass_conformance::{Direct, direct};
use firstpass_probe::{Error, Tensor, Trial};
use libloading::Library;
use ort::{
    logging::LogLevel,
    session::{Session, builder::GraphOptimizationLevel},
    sys::OrtApiBase,
    value::TensorRef,
};

fn main() -> ExitCode {
    direct(run)
}

fn run(trial: &Trial, input: &Tensor) -> Result<Direct, Box<dyn error::Error>> {
    let environment = ort::init().with_telemetry(false).build()?;
    environment.set_log_level(LogLevel::Error);
    let mut session = Session::builder(&environment)?
        .with_intra_threads(trial.knobs.threads())?
        .with_inter_threads(1)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_memory_pattern(true)?
        .commit_from_file(&trial.model.path)?;

    let mut outputs = Vec::new();
    let mut passes_ns = Vec::new();
    for _ in 0..trial.passes.at_most {
        let began = Instant::now();
        let view = TensorRef::from_array_view((input.shape(), input.f32s()?))?;
        let found = session.run(ort::inputs![trial.model.inputs[0].name.as_str() => view])?;
        let mut values = Vec::new();
        for output in &trial.model.outputs {
            let value = found
                .get(&output.name)
                .ok_or_else(|| Error::engine(format!("there is no output {:?}", output.name)))?;
            let (_, data) = value.try_extract_tensor::<f32>()?;
            values.push(data.to_vec());
        }
        drop(found);
        passes_ns.push(u64::try_from(began.elapsed().as_nanos())?);
        outputs = values;
    }
    Ok(Direct {
        engine: version()?,
        passes_ns,
        outputs,
    })
}

/// The version of the library, which ort does not hand on.
fn version() -> Result<String, Box<dyn error::Error>> {
    let unknown = || Error::engine("the library does not say its version");
    let path = env::var_os("ORT_DYLIB_PATH").ok_or_else(unknown)?;
    // SAFETY: ort has loaded this library before, so that none of its initialisers runs.
    let library = unsafe { Library::new(path) }?;
    // SAFETY: this is the signature that ONNX Runtime has given the symbol since its first release.
    let base =
        unsafe { library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(c"OrtGetApiBase") };
    // SAFETY: the function takes nothing and returns a pointer to a constant of the library, or null.
    let base = unsafe { base?().as_ref() }.ok_or_else(unknown)?;
    // SAFETY: the string is a constant of the library, which ort keeps loaded.
    let text = unsafe {
        (base.GetVersionString)()
            .as_ref()
            .map(|text| CStr::from_ptr(text))
    };
    Ok(text.ok_or_else(unknown)?.to_string_lossy().into_owned())
}
