//! What is kept of series in which the shape of the inputs changes: every process, a line each.

use anyhow::{Context, Result, ensure};
use firstpass_probe::{Model, TensorSpec};
use firstpass_trial::machine::Machine;
use serde::{Deserialize, Serialize};

use crate::{
    record::{code::Code, sidecar::Sidecar},
    studies::first_passes::judge::latency::Latency,
};
use firstpass_trial::shape::read_shape;

/// Raised when the meaning of these files changes.
pub const VERSION: u32 = 1;

/// Where it is kept.
pub const SIDECAR: Sidecar = Sidecar {
    name: "shapes",
    version: VERSION,
};

/// What the measuring was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShapesRun {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub machine: Machine,
    pub code: Code,
    #[serde(flatten)]
    pub settings: ShapesSettings,
    pub shapes: Vec<String>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapesSettings {
    /// Processes of each engine.
    pub rounds: usize,
    /// Passes on each shape.
    pub passes: usize,
    pub threads: usize,
}

/// A shape as it is named on the command line: of the first input, or the lengths of its last axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub text: String,
    lengths: Vec<usize>,
}

impl std::str::FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self {
            text: text.into(),
            lengths: read_shape(text)
                .with_context(|| format!("{text:?} is no shape, such as 480x640"))?,
        })
    }
}

impl Shape {
    /// The inputs of a model with the last axes of each, as far as it has that many, of these lengths.
    pub(crate) fn of(&self, model: &Model) -> Result<Vec<TensorSpec>> {
        let mut inputs = model.inputs.clone();
        let mut fits = false;
        for input in &mut inputs {
            // Tensors of few axes, such as a threshold, have nothing to do with the size of a picture.
            if let Some(from) = input.shape.len().checked_sub(self.lengths.len())
                && input.shape.len() > 2
            {
                input.shape[from..].copy_from_slice(&self.lengths);
                fits = true;
            }
        }
        ensure!(
            fits,
            "no input of {} has the axes for {}",
            model.name,
            self.text
        );
        Ok(inputs)
    }
}

/// What was found of one engine on one model.
#[derive(Debug)]
pub struct Found {
    pub backend: String,
    pub model: String,
    /// For each shape, in order; `None` where no process came so far.
    pub latencies: Vec<Option<Latency>>,
    /// Why a process did not complete, in the engine's words.
    pub failure: Option<String>,
}

#[cfg(test)]
mod tests {
    use firstpass_probe::Format;

    use super::*;

    #[test]
    fn a_shape_is_that_of_the_last_axes() -> Result<()> {
        let model = Model {
            name: "m".into(),
            format: Format::ONNX,
            path: "m.onnx".into(),
            inputs: vec![
                TensorSpec::f32("image", [1, 3, 480, 640]),
                TensorSpec::f32("threshold", [1]),
            ],
            outputs: Vec::new(),
        };
        let of = |text: &str| -> Result<Vec<usize>> {
            let inputs = text.parse::<Shape>()?.of(&model)?;
            assert_eq!(inputs[1].shape, [1]);
            Ok(inputs[0].shape.clone())
        };
        assert_eq!(of("240x320")?, [1, 3, 240, 320]);
        assert_eq!(of("2x3x8x9")?, [2, 3, 8, 9]);
        assert!(of("1x1x1x1x1").is_err());
        assert!("240,320".parse::<Shape>().is_err());
        Ok(())
    }
}
