//! rten in a plain loop, without the trait, its messages and its counters: `firstpass overhead`
//! compares this with the probe.

use std::{error::Error, process::ExitCode, sync::Arc, time::Instant};

use firstpass_conformance::{Direct, direct};
use firstpass_probe::{Tensor, Trial};
use rten::{Model, RunOptions, ThreadPool, ValueView};

fn main() -> ExitCode {
    direct(run)
}

fn run(trial: &Trial, input: &Tensor) -> Result<Direct, Box<dyn Error>> {
    let pool = ThreadPool::with_num_threads(trial.knobs.threads());
    let options = RunOptions::default().with_thread_pool(Some(Arc::new(pool)));
    let model = Model::load_file(&trial.model.path)?;
    let source = model.node_id(&trial.model.inputs[0].name)?;
    let names = trial.model.outputs.iter().map(|output| &output.name);
    let sinks = names
        .map(|name| model.node_id(name))
        .collect::<Result<Vec<_>, _>>()?;

    let mut outputs = Vec::new();
    let mut passes_ns = Vec::new();
    for _ in 0..trial.passes.at_most {
        let began = Instant::now();
        let view = ValueView::from_shape(input.shape(), input.f32s()?)?;
        let found = model.run(vec![(source, view.into())], &sinks, Some(options.clone()))?;
        let mut values = Vec::new();
        for value in found {
            let tensor = value
                .into_tensor::<f32>()
                .ok_or("an output is not of f32")?;
            values.push(tensor.into_data());
        }
        passes_ns.push(u64::try_from(began.elapsed().as_nanos())?);
        outputs = values;
    }
    Ok(Direct {
        engine: env!("RTEN_VERSION").into(),
        passes_ns,
        outputs,
    })
}
