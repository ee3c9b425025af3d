//! What `check` and `init` have in common: a model of the user's own, named on the command line.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use firstpass_trial::{
    model::{ModelDescription, Preprocess},
    workspace::Workspace,
};

use crate::{
    page::shell::{self, Given},
    user_model::{OpenShape, UserModel},
};
use firstpass_trial::shape::NamedShape;

/// Mean and deviation of ImageNet, which most models of pictures are normalised by.
pub(super) const IMAGENET: Preprocess = Preprocess {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    pad: 114,
};

/// A number for each channel of a picture, such as `0.5,0.5,0.5`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channels([f32; 3]);

impl FromStr for Channels {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || format!("{text:?} is not one number for each of R,G,B, such as 0.5,0.5,0.5");
        let numbers = text.split(',').map(|number| number.trim().parse());
        let numbers: Vec<f32> = numbers.collect::<Result<_, _>>().with_context(wrong)?;
        match numbers[..] {
            [r, g, b] if [r, g, b].into_iter().all(f32::is_finite) => Ok(Self([r, g, b])),
            _ => Err(anyhow!(wrong())),
        }
    }
}

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
    /// The mean of each channel of the pictures, in units of 255 [default: those of ImageNet]
    #[arg(long, value_name = "R,G,B", allow_hyphen_values = true)]
    pub mean: Option<Channels>,
    /// The standard deviation of each channel, in units of 255 [default: those of ImageNet]
    #[arg(long, value_name = "R,G,B", allow_hyphen_values = true)]
    pub std: Option<Channels>,
}

/// Where shapes are open, asks for them with a whole command to copy.
pub(super) fn asking<T>(described: Result<T>) -> Result<T> {
    described.map_err(|error| match error.downcast::<OpenShape>() {
        Ok(open) => anyhow!("{}; give it, for example:\n  {}", open.what, again(&open)),
        Err(error) => error,
    })
}

/// The command that was given, with what it lacks.
fn again(open: &OpenShape) -> String {
    let given = Given::now().words().into_iter();
    shell::command(given.chain(open.options()))
}

impl Arguments {
    /// The first model file that was named.
    pub fn first(&self) -> Option<&PathBuf> {
        self.files.first().or(self.torchscript.as_ref())
    }

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
        let given = |values: Option<Channels>, default: [f32; 3]| values.map_or(default, |c| c.0);
        let preprocess = Preprocess {
            mean: given(self.mean, IMAGENET.mean),
            std: given(self.std, IMAGENET.std),
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
        asking(own.describe(workspace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_three_numbers() -> Result<()> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let line = ["check", "m.onnx", "--mean", "0,0,0", "--std", "1, 0.5,2"];
        let Line { arguments } = <Line as clap::Parser>::try_parse_from(line)?;
        assert_eq!(arguments.mean, Some(Channels([0.0; 3])));
        assert_eq!(arguments.std, Some(Channels([1.0, 0.5, 2.0])));
        assert_eq!("-1,0,1".parse::<Channels>()?, Channels([-1.0, 0.0, 1.0]));
        for wrong in ["", "0", "0,0", "0,0,0,0", "a,b,c", "0,0,nan", "0;0;0"] {
            let error = wrong.parse::<Channels>().expect_err(wrong);
            assert!(format!("{error:#}").contains("R,G,B"), "{error:#}");
        }
        Ok(())
    }
}
