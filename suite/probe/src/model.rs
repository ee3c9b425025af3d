//! One file of a model, as a backend sees it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Dtype;

/// The format of a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A scripted module as `torch.jit.script(…).save(…)` writes it. Executable content.
    #[serde(rename = "torchscript")]
    TorchScript,
    /// ONNX; a quantized model has pairs of QuantizeLinear and DequantizeLinear around float operators.
    Onnx,
    /// ONNX with QLinearConv, whose definition is in integers.
    OnnxQoperator,
}

impl Format {
    /// The key of the format in a `model.toml` and in records.
    pub fn key(self) -> &'static str {
        match self {
            Self::TorchScript => "torchscript",
            Self::Onnx => "onnx",
            Self::OnnxQoperator => "onnx-qoperator",
        }
    }
}

/// One file of a model with the names and shapes of what goes in and comes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub format: Format,
    pub path: PathBuf,
    /// In the order in which [`crate::Backend::pass`] takes them.
    pub inputs: Vec<TensorSpec>,
    /// In the order in which [`crate::Backend::pass`] returns them; none where the engine is to give all
    /// that the file returns.
    pub outputs: Vec<OutputSpec>,
}

impl Model {
    /// The name of an output, also of one that is not declared.
    pub fn output_name(&self, place: usize) -> String {
        match self.outputs.get(place) {
            Some(spec) => spec.name.clone(),
            None => format!("output-{place}"),
        }
    }

    pub fn input_shapes(&self) -> Vec<Vec<usize>> {
        self.inputs.iter().map(|spec| spec.shape.clone()).collect()
    }
}

/// An input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    pub name: String,
    pub shape: Vec<usize>,
    #[serde(default, skip_serializing_if = "Dtype::is_default")]
    pub dtype: Dtype,
}

impl TensorSpec {
    /// An input of f32.
    pub fn f32(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            dtype: Dtype::F32,
        }
    }
}

impl OutputSpec {
    /// An output whose shape is known beforehand.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            shape: Some(shape.into()),
        }
    }
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    pub name: String,
    /// `None` where it is not known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
}
