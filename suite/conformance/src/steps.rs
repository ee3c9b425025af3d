//! How far outputs are apart, for the tests of a backend.

use anyhow::{Context, Result};
use firstpass_harness::{judge::agreement::compare, subject::Subject, workspace::Workspace};
use firstpass_probe::Tensor;

/// The largest difference in each output of a quantized model of the fixtures, in quantization steps.
///
/// # Errors
/// Fails where the fixtures have no such model, and on one whose outputs have no steps.
pub fn largest_steps(model: &str, reference: &[Tensor], other: &[Tensor]) -> Result<Vec<u64>> {
    let model = Subject::find_model(&Workspace::find()?, model)?;
    let agreement = compare(&model, &[(reference, other)]);
    agreement
        .iter()
        .map(|output| {
            let steps = output.steps.as_ref();
            let steps = steps.with_context(|| format!("{} has no steps", output.output))?;
            Ok(steps.max)
        })
        .collect()
}
