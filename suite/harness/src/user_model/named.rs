//! Models that any command names by `--model FILE`: described before the command runs, so that it finds them as
//! it finds those of the fixtures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::ArgMatches;
use firstpass_trial::{
    model::{ModelDescription, name_of_file},
    own_model::{self, INPUTS},
    shape::NamedShape,
    workspace::Workspace,
};

use crate::{
    record::Record,
    user_model::{
        UserModel,
        arguments::{IMAGENET, asking},
        layout::make_up_all,
        to_toml,
    },
};

/// What a command was given about models.
#[derive(Default)]
struct Given {
    models: Vec<String>,
    images: Vec<PathBuf>,
    samples: Vec<PathBuf>,
    inputs: Vec<NamedShape>,
    trust: bool,
    /// The record that is compared with, whose models tell shapes that a file leaves open.
    against: Option<PathBuf>,
}

/// Describes each model that the arguments of a subcommand name by its file, and makes inputs up for it where none
/// are given.
///
/// # Errors
/// Fails on a file that cannot be read, and where shapes are open: the message says how to give them.
pub fn describe_named(workspace: &Workspace, arguments: &ArgMatches) -> Result<()> {
    let given = Given::of(arguments);
    for name in &given.models {
        let path = Path::new(name);
        if own_model::is_model_file(path) {
            given.describe(workspace, path)?;
        } else if path.exists() {
            given.make_up_for(workspace, path)?;
        }
    }
    Ok(())
}

impl Given {
    fn of(arguments: &ArgMatches) -> Self {
        fn all<T: Clone + Send + Sync + 'static>(arguments: &ArgMatches, ids: &[&str]) -> Vec<T> {
            let of = |id: &&str| arguments.try_get_many::<T>(id).ok().flatten();
            ids.iter().filter_map(of).flatten().cloned().collect()
        }
        Self {
            models: all(arguments, &["models", "model"]),
            images: all(arguments, &["images", "image"]),
            samples: all(arguments, &["samples"]),
            inputs: all(arguments, &["inputs"]),
            trust: all(arguments, &["trust"]).contains(&true),
            against: all(arguments, &["against"]).pop(),
        }
    }

    fn describe(&self, workspace: &Workspace, file: &Path) -> Result<()> {
        let name = name_of_file(file);
        let mut inputs = self.inputs.clone();
        inputs.extend(self.inputs_of_baseline(workspace, &name));
        let own = UserModel {
            files: vec![file.into()],
            inputs,
            samples: self.samples.clone(),
            preprocess: (!self.images.is_empty()).then_some(IMAGENET),
            trust: self.trust,
        };
        let mut model = asking(own.describe(workspace))?;
        let folder = own_model::folder(&own_model::described(workspace), &name, file);
        own_model::claim(&folder, file)?;
        let path = folder.join("model.toml");
        model.move_to(&path);
        fs::write(&path, to_toml(&model)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.make_up(&model, &folder)
    }

    /// The same for a model that is described already.
    fn make_up_for(&self, workspace: &Workspace, path: &Path) -> Result<()> {
        let file = if path.is_dir() {
            path.join("model.toml")
        } else {
            path.to_owned()
        };
        let model = ModelDescription::read(&file)?;
        if model.picture().is_some() {
            return Ok(());
        }
        let folder = own_model::folder(&own_model::described(workspace), &model.name, &file);
        if self.samples.is_empty() && self.images.is_empty() {
            own_model::claim(&folder, &file)?;
        }
        self.make_up(&model, &folder)
    }

    fn make_up(&self, model: &ModelDescription, folder: &Path) -> Result<()> {
        if self.samples.is_empty() && self.images.is_empty() {
            make_up_all(model, &folder.join(INPUTS))?;
        }
        Ok(())
    }

    /// The inputs of a model of this name in the baseline, but for those that were given.
    fn inputs_of_baseline(&self, workspace: &Workspace, name: &str) -> Vec<NamedShape> {
        // What is wrong with the baseline is said by the command itself.
        let baseline = self
            .against
            .as_ref()
            .and_then(|path| Record::read(path).ok());
        let models = baseline.map_or_else(Vec::new, |baseline| baseline.run.models);
        let mut models = models
            .iter()
            .filter_map(|path| ModelDescription::read(&workspace.root().join(path)).ok());
        let Some(model) = models.find(|model| model.name == name) else {
            return Vec::new();
        };
        let is_given = |name: &str| {
            self.inputs
                .iter()
                .any(|i| i.name.as_deref().is_none_or(|given| given == name))
        };
        let inputs = model.inputs.into_iter();
        let inputs = inputs.filter(|input| !is_given(&input.name));
        inputs
            .map(|input| NamedShape {
                name: Some(input.name),
                shape: input.shape,
                dtype: Some(input.dtype),
            })
            .collect()
    }
}
