//! The outputs of a model whose file does not tell them.

use anyhow::{Context, Result, bail};
use firstpass_probe::{Format, Knobs, OUTPUT_ORDER, read_tensors};
use firstpass_trial::{
    model::ModelDescription,
    process::{Probe, once},
    workload::Workload,
    workspace::Workspace,
};

use crate::user_model::{Found, layout::made_up_file};

/// Runs the model once on made-up inputs, on the first engine that reads such a file.
pub(crate) fn outputs_of_torchscript(
    workspace: &Workspace,
    model: &ModelDescription,
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
    made_up_file(model, 0, &inputs)?;
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
