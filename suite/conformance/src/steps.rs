//! How far outputs are apart, for the tests of a backend.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use firstpass_probe::{Backend, Knobs, Session, Tensor};
use firstpass_trial::{
    agreement::{Agreement, compare},
    workload::Workload,
    workspace::Workspace,
};

/// The largest difference in each output of a quantized model of the fixtures, in quantization steps.
///
/// # Errors
/// Fails where the fixtures have no such model, and on one whose outputs have no steps.
pub fn largest_steps(model: &str, reference: &[Tensor], other: &[Tensor]) -> Result<Vec<u64>> {
    let model = Workload::find_model(&Workspace::find()?, model)?;
    steps(&compare(&model, &[(reference, other)]))
}

/// By photograph of the fixtures, so many at most: the largest difference in each output of a quantized model from the
/// golden one, in quantization steps.
///
/// # Errors
/// Fails where the fixtures have no such model, and where the backend does not run it.
pub fn largest_steps_from_golden<B: Backend>(
    model: &str,
    knobs: &Knobs,
    most_samples: usize,
) -> Result<BTreeMap<String, Vec<u64>>> {
    let workload = Workload::fixtures(&Workspace::find()?)?;
    let model = workload.models.iter().find(|m| m.name == model);
    let model = model.context("the fixtures have no such model")?;
    let golden = workload.golden(model)?;
    let golden = golden.context("the model has no golden outputs")?;
    let file = B::FORMATS.iter().find_map(|format| model.artifact(*format));
    let file = file.context("the backend reads no file of the model")?;
    let failed = |error: firstpass_probe::Error| anyhow!("{error}");
    let mut session = Session::<B>::open(&file, knobs).map_err(failed)?;
    let mut found = BTreeMap::new();
    for sample in workload.samples.iter().take(most_samples) {
        let Some(expected) = golden.get(&sample.name) else {
            continue;
        };
        let inputs = sample.inputs(model)?.into_iter().map(|(_, input)| input);
        let outputs = session.pass(&inputs.collect::<Vec<_>>()).map_err(failed)?;
        let agreement = compare(model, &[(expected, &outputs)]);
        found.insert(sample.name.clone(), steps(&agreement)?);
    }
    Ok(found)
}

fn steps(agreement: &[Agreement]) -> Result<Vec<u64>> {
    let steps = agreement.iter().map(|output| {
        let steps = output.steps.as_ref();
        let steps = steps.with_context(|| format!("{} has no steps", output.output))?;
        Ok(steps.max)
    });
    steps.collect()
}
