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

use crate::{
    page::numbers::list,
    user_model::{Found, layout::made_up_file},
};

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
            .with_context(|| {
                let given = given(model);
                format!(
                    "{} cannot run {} with {given}. A TorchScript file does not tell its inputs: give an --input for each \
                     argument of forward(), in its order and with its type, such as `--input 1x512 --input scalar:i64`, or \
                     a --sample that it runs on",
                    backend.name,
                    shown.display()
                )
            })?;
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

/// What the model is given, as `--input` takes it.
fn given(model: &ModelDescription) -> String {
    let inputs = model.inputs.iter().map(|input| {
        let lengths: Vec<String> = input.shape.iter().map(ToString::to_string).collect();
        let shape = match lengths.is_empty() {
            true => "scalar".into(),
            false => lengths.join("x"),
        };
        format!("{}={shape}:{}", input.name, input.dtype.key())
    });
    list(&inputs.collect::<Vec<_>>())
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
    use firstpass_probe::{Dtype, Tensor};
    use firstpass_trial::model::{InputSpec, Precision};

    use super::*;

    #[test]
    fn what_was_given_is_said_as_it_can_be_typed() {
        let mut model = ModelDescription::for_tests(Precision::Fp32);
        let input = |name: &str, shape: &[usize], dtype| InputSpec {
            name: name.into(),
            shape: shape.to_vec(),
            dtype,
            preprocess: None,
        };
        model.inputs = vec![
            input("x", &[1, 512], Dtype::F32),
            input("sr", &[], Dtype::I64),
        ];
        assert_eq!(given(&model), "x=1x512:f32 and sr=scalar:i64");
        model.inputs.truncate(1);
        assert_eq!(given(&model), "x=1x512:f32");
    }

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
