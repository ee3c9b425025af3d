//! candle as published in a plain loop, without the trait, its messages and its counters: `firstpass
//! overhead` compares this with the probe.

use std::{collections::HashMap, error::Error, process::ExitCode, time::Instant};

use candle_core::{Device, Tensor};
use firstpass_conformance::{Direct, direct};
use firstpass_probe::Trial;

fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { firstpass_candle_onnx::divide_as_requested() };
    direct(run)
}

fn run(trial: &Trial, input: &firstpass_probe::Tensor) -> Result<Direct, Box<dyn Error>> {
    let model = candle_onnx::read_file(&trial.model.path)?;
    let name = &trial.model.inputs[0].name;

    let mut outputs = Vec::new();
    let mut passes_ns = Vec::new();
    for _ in 0..trial.passes.at_most {
        let began = Instant::now();
        let tensor = Tensor::from_slice(input.f32s()?, input.shape(), &Device::Cpu)?;
        let found = candle_onnx::simple_eval(&model, HashMap::from([(name.clone(), tensor)]))?;
        let mut values = Vec::new();
        for output in &trial.model.outputs {
            let value = found.get(&output.name).ok_or("an output is missing")?;
            values.push(value.flatten_all()?.to_vec1()?);
        }
        passes_ns.push(u64::try_from(began.elapsed().as_nanos())?);
        outputs = values;
    }
    Ok(Direct {
        engine: env!("CANDLE_CORE_VERSION").into(),
        passes_ns,
        outputs,
    })
}
