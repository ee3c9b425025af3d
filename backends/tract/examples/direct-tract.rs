//! tract in a plain loop, without the trait, its messages and its counters: `firstpass overhead`
//! compares this with the probe.

use std::{process::ExitCode, time::Instant};

use firstpass_conformance::{Direct, direct};
use firstpass_probe::Trial;
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

fn main() -> ExitCode {
    direct(|trial, input| Ok(run(trial, input.shape(), input.f32s()?)?))
}

fn run(trial: &Trial, shape: &[usize], values: &[f32]) -> TractResult<Direct> {
    set_default_executor(match trial.knobs.threads() {
        1 => Executor::SingleThread,
        threads => Executor::multithread(threads),
    });
    let plan = tract_onnx::onnx()
        .model_for_path(&trial.model.path)?
        .with_outputs_by_name(trial.model.outputs.iter().map(|output| &output.name))?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let mut state = plan.spawn()?;

    let mut outputs = Vec::new();
    let mut passes_ns = Vec::new();
    for _ in 0..trial.passes.at_most {
        let began = Instant::now();
        let value = Tensor::from_shape(shape, values)?;
        let found = state.run(tvec!(value.into()))?;
        let mut values: Vec<Vec<f32>> = Vec::new();
        for tensor in &found {
            values.push(tensor.try_as_plain_ram()?.as_slice()?.to_vec());
        }
        drop(found);
        passes_ns.push(u64::try_from(began.elapsed().as_nanos())?);
        outputs = values;
    }
    Ok(Direct {
        engine: env!("TRACT_CORE_VERSION").into(),
        passes_ns,
        outputs,
    })
}
