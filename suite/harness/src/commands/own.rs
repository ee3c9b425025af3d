//! What `check` and `init` have in common: a model of the user's own, named on the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use firstpass_harness::{
    model::{ModelDescription, Preprocess},
    own::{Found, NamedShape, Own, random_input},
    probe::{Probe, once},
    workspace::Workspace,
};
use firstpass_probe::{Format, Knobs, write_tensors};

/// Mean and deviation of ImageNet, which most models of pictures are normalised by.
const IMAGENET: Preprocess = Preprocess {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    pad: 114,
};

#[derive(Args)]
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
        let own = Own {
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
        own.describe(|model| self.outputs_of_torchscript(workspace, model))
    }

    /// Runs the model once on made-up inputs, on the first engine that reads such a file.
    fn outputs_of_torchscript(
        &self,
        workspace: &Workspace,
        model: &ModelDescription,
    ) -> Result<Vec<Found>> {
        const FORMAT: Format = Format::TorchScript;
        let file = model
            .artifact(FORMAT)
            .context("it is no TorchScript file")?;
        ensure!(
            self.trust,
            "to find the outputs of {} it has to be run, and it is a program that would be run with \
             your rights: say --trust if you know where it comes from",
            file.path.display()
        );
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let inputs = folder.path().join("inputs.safetensors");
        let mut named = Vec::new();
        for (number, input) in model.inputs.iter().enumerate() {
            named.push((
                input.name.clone(),
                random_input(&input.tensor(), number as u64)?,
            ));
        }
        let all = named.iter().map(|(name, tensor)| (name.clone(), tensor));
        write_tensors(&inputs, all).map_err(|e| anyhow::anyhow!("{e}"))?;
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
            let found = once(&probe, &file, &Knobs::default(), &inputs, &saved)
                .with_context(|| format!("{} cannot run {}", backend.name, file.path.display()))?;
            let mut found: Vec<Found> = found
                .into_iter()
                .map(|(name, tensor)| (name, tensor.shape))
                .collect();
            // Of the same length but for the number at the end.
            found.sort_by_key(|(name, _)| (name.len(), name.clone()));
            return Ok(found);
        }
        bail!(
            "no engine that reads TorchScript runs here{}{}",
            if reasons.is_empty() { "" } else { ": " },
            reasons.join("; ")
        )
    }
}
