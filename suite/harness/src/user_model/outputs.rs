//! The outputs of a model whose file does not tell them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use firstpass_probe::{Format, Knobs, OUTPUT_ORDER, read_tensors, write_tensors};
use firstpass_trial::{
    model::ModelDescription,
    process::{Probe, once},
    sample::Sample,
    workload::Workload,
    workspace::Workspace,
};

use crate::user_model::{Found, layout::made_up_file};

/// Runs the model once, on the first sample or else on made-up inputs, on the first engine that reads such
/// a file.
pub(crate) fn outputs_of_torchscript(
    workspace: &Workspace,
    model: &ModelDescription,
    samples: &[PathBuf],
    trust: bool,
) -> Result<Vec<Found>> {
    const FORMAT: Format = Format::TORCHSCRIPT;
    let file = model
        .artifact(FORMAT)
        .context("it is no TorchScript file")?;
    let mut workload = Workload::new(workspace, Vec::new(), Vec::new())?;
    workload.trust = trust;
    let shown = file.path.clone();
    let file = workload.admit(model, &file).with_context(|| {
        format!(
            "to find the outputs of {} it has to be run",
            shown.display()
        )
    })?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let inputs = folder.path().join("inputs.safetensors");
    write_inputs(model, samples, &inputs)?;
    let mut reasons = Vec::new();
    for backend in workspace.engines()? {
        eprintln!(
            "{}: building the probe, to see what the model returns",
            backend.name
        );
        let probe = match Probe::build(workspace, &backend) {
            Ok(probe) => probe,
            Err(error) => {
                reasons.push(format!("{}: {error:#}", backend.name));
                continue;
            }
        };
        match probe.describe() {
            Ok(description) if description.formats.contains(&FORMAT) => {}
            Ok(_) => continue,
            Err(outcome) => {
                reasons.push(format!("{}: {outcome}", backend.name));
                continue;
            }
        }
        let saved = folder.path().join("outputs.safetensors");
        let outputs = once(&probe, &file, &Knobs::default(), &inputs, &saved)
            .with_context(|| format!("{} cannot run {}", backend.name, shown.display()))?;
        let mut outputs: Vec<Found> = outputs
            .into_iter()
            .map(|(name, tensor)| (name, tensor.into_parts().0))
            .collect();
        // In the order in which the module returns them. Names that Firstpass gave are of the same length but
        // for the number at the end.
        let (_, metadata) = read_tensors(&saved)?;
        let order: Vec<String> = match metadata.get(OUTPUT_ORDER) {
            Some(order) => serde_json::from_str(order)?,
            None => Vec::new(),
        };
        outputs.sort_by_key(|(name, _)| {
            let place = order.iter().position(|known| known == name);
            (place, name.len(), name.clone())
        });
        return Ok(outputs);
    }
    bail!(
        "no engine that reads TorchScript runs here{}{}",
        if reasons.is_empty() { "" } else { ": " },
        reasons.join("; ")
    )
}

/// Writes what the model is run on: made-up inputs may be none that it can run on.
fn write_inputs(model: &ModelDescription, samples: &[PathBuf], path: &Path) -> Result<()> {
    let Some(sample) = samples.first() else {
        return made_up_file(model, 0, path);
    };
    let inputs = Sample::from_file(sample).inputs(model)?;
    let named = inputs.iter().map(|(name, tensor)| (name.clone(), tensor));
    Ok(write_tensors(path, named)?)
}

#[cfg(test)]
mod tests {
    use firstpass_probe::Tensor;
    use firstpass_trial::model::Precision;

    use super::*;

    #[test]
    fn it_is_run_on_the_sample_where_there_is_one() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut model = ModelDescription::for_tests(Precision::Fp32);
        for input in &mut model.inputs {
            input.preprocess = None;
        }
        let tensors: Vec<(String, Tensor)> = model
            .inputs
            .iter()
            .map(|input| {
                let length = input.shape.iter().product();
                let tensor = Tensor::new(&input.shape, vec![0.125_f32; length])?;
                Ok((input.name.clone(), tensor))
            })
            .collect::<Result<_>>()?;
        let sample = folder.path().join("mine.safetensors");
        let named = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
        write_tensors(&sample, named)?;

        let path = folder.path().join("inputs.safetensors");
        write_inputs(&model, std::slice::from_ref(&sample), &path)?;
        let written = read_tensors(&path)?.0;
        assert!(!written.is_empty());
        assert!(
            tensors
                .iter()
                .all(|(name, tensor)| written.get(name) == Some(tensor))
        );

        write_inputs(&model, &[], &path)?;
        let made_up = read_tensors(&path)?.0;
        assert!(
            tensors
                .iter()
                .all(|(name, tensor)| made_up.get(name) != Some(tensor))
        );
        Ok(())
    }
}
