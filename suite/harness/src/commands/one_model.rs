//! What `reduce` and `blame` have in common: one model on one input, and the engines that are asked.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use firstpass_probe::Knobs;
use firstpass_trial::{engine::Backend, setup, workload::Workload, workspace::Workspace};
use tempfile::TempDir;

use crate::{
    culprit::{Found, Symptom, engines::Engines, reduce::Question},
    page::terminal::text as shown,
    studies::first_passes::arguments::{Time, on_one_sample},
    user_model::{Inputs, arguments as named, lay_out},
};

#[derive(Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    model: named::Arguments,
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    pub backends: Vec<String>,
    /// A picture to run the model on
    #[arg(long = "image", value_name = "FILE")]
    images: Option<PathBuf>,
    /// Tensors to run the model on: .npy, or .npz or .safetensors with an array for each input by name [default:
    /// made-up inputs]
    #[arg(long = "sample", value_name = "FILE", conflicts_with = "images")]
    samples: Option<PathBuf>,
    /// The outputs that the model should give: arrays by name of output
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Set a knob of the engine in question, such as exact-int8=on; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    knobs: Vec<String>,
    /// The time for all of it, such as 90s or 5m; builds are not part of it [default: 2m]
    #[arg(long, value_name = "TIME")]
    budget: Option<Time>,
}

/// The time for all that is asked of engines.
const BUDGET: Duration = Duration::from_secs(120);

/// A model on its input, with what was made up for it.
pub(super) struct Chosen {
    pub workload: Workload,
    _folder: TempDir,
}

impl Arguments {
    pub(super) fn budget(&self) -> Duration {
        self.budget.map_or(BUDGET, |Time(time)| time)
    }

    /// The file that was named.
    pub(super) fn source(&self) -> Result<&Path> {
        let first = self.model.first().context("give a model file")?;
        Ok(first)
    }

    pub(super) fn chosen(&self, workspace: &Workspace) -> Result<Chosen> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let named = [&self.images, &self.samples].map(|file| Vec::from_iter(file.clone()));
        let inputs = Inputs {
            files: named.concat(),
            golden: self.golden.clone(),
        };
        let source = self.source()?;
        let is_named = !source.exists() || self.model.described().is_some();
        let model = if is_named {
            Workload::find_model(workspace, &source.to_string_lossy())?
        } else {
            self.model
                .describe(workspace, &named[1], self.images.is_some())?
        };
        let mut workload = if is_named && inputs.golden.is_none() && model.picture().is_some() {
            on_one_sample(workspace, vec![model], &named[0], &named[1])?
        } else {
            lay_out(workspace, model, &inputs, folder.path(), self.model.trust)?
        };
        workload.samples.truncate(1);
        workload.trust = self.model.trust;
        Ok(Chosen {
            workload,
            _folder: folder,
        })
    }

    /// The settings of the engine in question.
    pub(super) fn knobs(&self) -> Result<Knobs> {
        let settings = self.knobs.iter().map(|setting| {
            let pair = setting.split_once('=');
            pair.with_context(|| format!("--set takes NAME=VALUE, not {setting:?}"))
        });
        settings.collect()
    }

    /// What is looked for in parts of the model.
    ///
    /// # Errors
    /// Fails where nothing says what a part should give.
    pub(super) fn question(&self, found: &Found, symptom: Symptom) -> Result<Question> {
        let reference = found.reference_of(&symptom);
        if reference.is_none() && matches!(symptom, Symptom::Differs(_)) {
            bail!(
                "the engine differs from the golden outputs, but parts of the model have none: neither the referee nor \
                 engines without their optimizations give these golden outputs, so that nothing says what a part \
                 should give. Where the golden outputs are those of another computation than the file defines, leave \
                 them out"
            );
        }
        Ok(Question {
            symptom,
            reference,
            knobs: self.knobs()?,
        })
    }
}

/// Sets up what is missing and starts the engines.
pub(crate) fn engines(workspace: &Workspace, backends: &[Backend]) -> Result<Engines> {
    setup::attempt(workspace, backends);
    let engines = Engines::start(workspace, backends)?;
    for (name, why) in &engines.absent {
        eprintln!("{name}: {}", shown(why));
    }
    if engines.all.is_empty() {
        let absent = engines.absent.iter();
        let names: Vec<&str> = absent.map(|(name, _)| name.as_str()).collect();
        bail!("no engine is there to ask: {}", names.join(", "));
    }
    Ok(engines)
}
