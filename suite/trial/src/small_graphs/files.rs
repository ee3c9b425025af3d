//! A case as engines are given it.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use firstpass_probe::{Format, Model, OutputSpec, Tensor, TensorSpec};

use super::{
    Case,
    case::{INPUT, OUTPUT},
};

impl Case {
    /// Writes the model file into a folder, over that of another case.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Model> {
        let path = folder.join("case.onnx");
        fs::write(&path, self.file())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Model {
            name: "case".into(),
            format: Format::ONNX,
            path,
            inputs: vec![TensorSpec::f32(INPUT, self.shape)],
            outputs: vec![OutputSpec::new(OUTPUT, self.output_shape())],
        })
    }

    /// The input.
    ///
    /// # Errors
    /// Fails where the case was read and its shape is too large.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::new(&self.shape, self.values())?)
    }
}
