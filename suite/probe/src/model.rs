//! One file of a model, as a backend sees it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    pub input: TensorSpec,
    /// In the order in which [`crate::Backend::pass`] returns them.
    pub outputs: Vec<TensorSpec>,
}

/// The name and shape of a tensor of f32 values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    pub name: String,
    pub shape: Vec<usize>,
}
