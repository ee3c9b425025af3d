//! A model as its `model.toml` describes it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use firstpass_probe::{Format, Model, TensorSpec};
use serde::{Deserialize, Serialize};

use crate::{detection::DetectionSpec, workspace::read_toml};

/// What a `model.toml` says; paths in it are relative to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelDescription {
    pub name: String,
    pub title: String,
    pub description: String,
    pub precision: Precision,
    /// Outputs of the reference run, as written by the fixture generator.
    pub golden: Option<PathBuf>,
    pub artifacts: BTreeMap<Format, PathBuf>,
    pub input: InputSpec,
    pub outputs: Vec<OutputSpec>,
    /// How boxes are read from the outputs, for a detector.
    pub detection: Option<DetectionSpec>,
    /// The `model.toml` itself.
    #[serde(skip)]
    pub file: PathBuf,
}

/// In what the model was meant to be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    Fp32,
    Int8,
}

/// The one input: an RGB image as NCHW floats.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    pub name: String,
    /// `[1, 3, height, width]`
    pub shape: Vec<usize>,
    pub preprocess: Preprocess,
}

/// `x = (pixel / 255 − mean) / std` per channel, in f32 and in this order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// The grey value of the border that letterboxing adds.
    pub pad: u8,
}

/// One output, in the order of the model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    pub name: String,
    pub shape: Vec<usize>,
    /// What was applied after the last quantized tensor.
    #[serde(default)]
    pub activation: Activation,
    /// The quantization scale of consecutive runs of elements; empty for a float model.
    #[serde(default)]
    pub steps: Vec<StepSpec>,
}

/// A float function between the last quantized tensor and the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    #[default]
    None,
    Sigmoid,
}

/// So many elements share one quantization scale.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    pub elements: usize,
    pub scale: f64,
}

impl ModelDescription {
    /// # Errors
    /// Fails on a file that is unreadable, malformed or inconsistent; the message names it.
    pub fn read(path: &Path) -> Result<Self> {
        let mut model: Self = read_toml(path)?;
        model.file = path.into();
        model
            .check()
            .with_context(|| format!("{} is inconsistent", path.display()))?;
        Ok(model)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.artifacts.is_empty(), "it names no artifact");
        ensure!(!self.outputs.is_empty(), "it names no output");
        ensure!(
            matches!(self.input.shape[..], [1, 3, h, w] if h > 0 && w > 0),
            "the input shape must be [1, 3, height, width], not {:?}",
            self.input.shape
        );
        for output in &self.outputs {
            let elements: usize = output.shape.iter().product();
            let stepped: usize = output.steps.iter().map(|s| s.elements).sum();
            ensure!(
                output.steps.is_empty() || stepped == elements,
                "the steps of output {:?} cover {stepped} of its {elements} elements",
                output.name
            );
            ensure!(
                output
                    .steps
                    .iter()
                    .all(|s| s.scale > 0.0 && s.scale.is_finite()),
                "every scale of output {:?} must be positive",
                output.name
            );
        }
        if let Some(detection) = &self.detection {
            detection.check(self)?;
        }
        Ok(())
    }

    /// A path that is relative to the `model.toml`.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(relative)
    }

    /// Height and width of the input in pixels.
    pub fn image_size(&self) -> (usize, usize) {
        (self.input.shape[2], self.input.shape[3])
    }

    /// The artifact in `format`, as a backend sees it; `None` where there is none.
    pub fn artifact(&self, format: Format) -> Option<Model> {
        let path = self.artifacts.get(&format)?;
        Some(Model {
            name: self.name.clone(),
            format,
            path: self.path(path),
            input: TensorSpec {
                name: self.input.name.clone(),
                shape: self.input.shape.clone(),
            },
            outputs: self
                .outputs
                .iter()
                .map(|o| TensorSpec {
                    name: o.name.clone(),
                    shape: o.shape.clone(),
                })
                .collect(),
        })
    }

    /// Every file that belongs to the model.
    pub fn files(&self) -> Vec<PathBuf> {
        let paths = self.artifacts.values().chain(&self.golden);
        paths.map(|p| self.path(p)).collect()
    }
}
