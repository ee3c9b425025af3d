//! What `check` and `init` have in common: a model of the user's own, named on the command line.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use firstpass_trial::{
    model::{ModelDescription, Preprocess},
    workspace::Workspace,
};

use crate::user_model::{OpenShape, UserModel};
use firstpass_trial::shape::NamedShape;

/// Mean and deviation of ImageNet, which most models of pictures are normalised by.
const IMAGENET: Preprocess = Preprocess {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    pad: 114,
};

#[derive(Args)]
#[group(skip)]
pub struct Arguments {
    /// An ONNX file, a TorchScript file, or one of each
    #[arg(value_name = "FILE", required_unless_present = "torchscript")]
    pub files: Vec<PathBuf>,
    /// A TorchScript file; the same as naming it without this option
    #[arg(long, value_name = "FILE")]
    pub torchscript: Option<PathBuf>,
    /// The shape of an input where the file leaves it open, such as image=1x3x224x224:f32 (name and
    /// type may be left out); for a TorchScript file alone all inputs, in the order of forward()
    #[arg(long = "input", value_name = "NAME=SHAPE:TYPE")]
    pub inputs: Vec<NamedShape>,
    /// Run TorchScript files outside the fixtures, which are programs: I know where they come from
    #[arg(long)]
    pub trust: bool,
    /// Of the pictures, by channel, in units of 255 [default: those of ImageNet]
    #[arg(long, value_delimiter = ',', num_args = 3, value_name = "R,G,B")]
    pub mean: Option<Vec<f32>>,
    /// Likewise, what the difference from the mean is divided by
    #[arg(long, value_delimiter = ',', num_args = 3, value_name = "R,G,B")]
    pub std: Option<Vec<f32>>,
}

/// The command that was given, with what it lacks.
fn again(open: &OpenShape) -> String {
    let given = std::env::args_os().skip(1);
    let given = given.map(|word| word.to_string_lossy().into_owned());
    let words = given.chain(open.options()).map(|word| quoted(&word));
    let words: Vec<String> = words.collect();
    format!("cargo firstpass {}", words.join(" "))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-+./=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

impl Arguments {
    /// The description that already lies in the one file named, if it is one.
    pub fn described(&self) -> Option<&Path> {
        match &self.files[..] {
            [file] if file.is_dir() || file.extension().is_some_and(|e| e == "toml") => Some(file),
            _ => None,
        }
    }

    /// Describes the model; `samples` are files of tensors, and with `pictures` its input is made of
    /// pictures.
    pub fn describe(
        &self,
        workspace: &Workspace,
        samples: &[PathBuf],
        pictures: bool,
    ) -> Result<ModelDescription> {
        let given = |values: &Option<Vec<f32>>, default: [f32; 3]| match values.as_deref() {
            Some(&[r, g, b]) => [r, g, b],
            _ => default,
        };
        let preprocess = Preprocess {
            mean: given(&self.mean, IMAGENET.mean),
            std: given(&self.std, IMAGENET.std),
            pad: IMAGENET.pad,
        };
        ensure!(
            preprocess.std.iter().all(|std| *std != 0.0),
            "--std must not be 0: pictures are divided by it"
        );
        let pictures = pictures || self.mean.is_some() || self.std.is_some();
        let own = UserModel {
            files: self
                .files
                .iter()
                .chain(&self.torchscript)
                .cloned()
                .collect(),
            inputs: self.inputs.clone(),
            samples: samples.to_vec(),
            preprocess: pictures.then_some(preprocess),
            trust: self.trust,
        };
        own.describe(workspace)
            .map_err(|error| match error.downcast::<OpenShape>() {
                Ok(open) => anyhow!("{}; give it, for example:\n  {}", open.what, again(&open)),
                Err(error) => error,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, shell) in [
            ("image=1x3x224x224", "image=1x3x224x224"),
            ("modèle.onnx", "modèle.onnx"),
            ("my model.onnx", "'my model.onnx'"),
            ("a'b;$c", r"'a'\''b;$c'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), shell);
        }
    }
}
