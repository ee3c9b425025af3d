//! What a model gives for each input.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, anyhow};
use firstpass_probe::{Tensor, read_tensors};

/// Outputs by photograph, in the order of the model's outputs.
pub type Outputs = BTreeMap<String, Vec<Tensor>>;

/// Renames the outputs of a trial from the numbers to the names of its photographs.
///
/// # Errors
/// Fails where the file lacks an output.
pub fn read_outputs(file: &Path, images: &[String], names: &[String]) -> Result<Outputs> {
    let (mut tensors, _) = read_tensors(file).map_err(|e| anyhow!("{e}"))?;
    let mut outputs = Outputs::new();
    for (number, image) in images.iter().enumerate() {
        let of_image: Option<Vec<_>> = names
            .iter()
            .map(|name| tensors.remove(&format!("{number}/{name}")))
            .collect();
        let of_image = of_image.ok_or_else(|| anyhow!("the probe gave no outputs for {image}"))?;
        outputs.insert(image.clone(), of_image);
    }
    Ok(outputs)
}
