//! OpenVINO through its crate in a plain loop, without the trait, its messages and its counters:
//! `firstpass overhead` compares this with the probe.

use std::{error::Error, process::ExitCode, time::Instant};

use firstpass_conformance::{Direct, direct};
use firstpass_probe::{Tensor, Trial};
use openvino::{Core, DeviceType, RwPropertyKey};

fn main() -> ExitCode {
    direct(run)
}

fn run(trial: &Trial, input: &Tensor) -> Result<Direct, Box<dyn Error>> {
    let mut core = Core::new()?;
    let threads = trial.knobs.threads().to_string();
    core.set_property(
        &DeviceType::CPU,
        &RwPropertyKey::InferenceNumThreads,
        &threads,
    )?;
    let path = trial.model.path.to_str().ok_or("the path is not UTF-8")?;
    let model = core.read_model_from_file(path, "")?;
    let mut compiled = core.compile_model(&model, DeviceType::CPU)?;
    let mut request = compiled.create_infer_request()?;

    let mut outputs = Vec::new();
    let mut passes_ns = Vec::new();
    for _ in 0..trial.passes.at_most {
        let began = Instant::now();
        let mut tensor = request.get_tensor(&trial.model.inputs[0].name)?;
        tensor.get_data_mut()?.copy_from_slice(input.f32s()?);
        request.infer()?;
        let mut values = Vec::new();
        for output in &trial.model.outputs {
            values.push(request.get_tensor(&output.name)?.get_data()?.to_vec());
        }
        passes_ns.push(u64::try_from(began.elapsed().as_nanos())?);
        outputs = values;
    }
    Ok(Direct {
        engine: openvino::version().build_number,
        passes_ns,
        outputs,
    })
}
