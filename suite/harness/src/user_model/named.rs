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
        layout::{make_up_all, put, unfinished},
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
        let model = asking(own.describe(workspace))?;
        let all = own_model::described(workspace);
        let folder = own_model::claimed(&all, &name, file)?;
        let place = self.lay_out(model, &folder, true)?;
        workspace.own_models().insert(file, place);
        Ok(())
    }

    /// The same for a model that is described already.
    fn make_up_for(&self, workspace: &Workspace, path: &Path) -> Result<()> {
        let file = if path.is_dir() {
            // The command itself says what is wrong with a folder of another kind.
            if !path.join("model.toml").is_file() {
                return Ok(());
            }
            path.join("model.toml")
        } else {
            path.to_owned()
        };
        let model = ModelDescription::read(&file)?;
        if model.picture().is_some() || !self.samples.is_empty() || !self.images.is_empty() {
            return Ok(());
        }
        let all = own_model::described(workspace);
        let folder = own_model::claimed(&all, &model.name, &file)?;
        let place = self.lay_out(model, &folder, false)?;
        workspace.own_models().insert(&file, place);
        Ok(())
    }

    /// Puts the description, where it is `described` here, and made-up inputs into the folder of a model; returns where
    /// they are. Records read them again: what an earlier command has put there stays as it is.
    fn lay_out(
        &self,
        mut model: ModelDescription,
        folder: &Path,
        described: bool,
    ) -> Result<PathBuf> {
        let new = unfinished(folder)?;
        if described {
            let path = new.path().join("model.toml");
            model.move_to(&path);
            fs::write(&path, to_toml(&model)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.samples.is_empty() && self.images.is_empty() {
            make_up_all(&model, &new.path().join(INPUTS))?;
        }
        put(new.path(), folder)
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

#[cfg(test)]
mod tests {
    use clap::{Args, Command};
    use firstpass_onnx::{
        GraphProto,
        write::{encode, f32_value, node},
    };
    use firstpass_trial::workload::Workload;

    use super::*;
    use crate::studies::first_passes::arguments::Arguments;

    fn prepared(workspace: &Workspace, words: &[&str]) -> Result<()> {
        let command = Arguments::augment_args(Command::new("any"));
        let words = ["any"].iter().chain(words);
        describe_named(workspace, &command.try_get_matches_from(words)?)
    }

    /// A model whose length is open, where it says so.
    fn written(folder: &Path, length: Option<usize>) -> Result<String> {
        fs::create_dir_all(folder)?;
        let shape = length.map(|length| [1, length]);
        let shape = shape.as_ref().map(|shape| &shape[..]);
        let graph = GraphProto {
            node: vec![node("Relu", &["x"], "y")],
            input: vec![f32_value("x", shape)],
            output: vec![f32_value("y", shape)],
            ..GraphProto::default()
        };
        let path = folder.join("modèle à moi.onnx");
        fs::write(&path, encode(graph, 13))?;
        Ok(path.to_string_lossy().into_owned())
    }

    #[test]
    fn a_model_file_is_found_after_it_was_described() -> Result<()> {
        let root = tempfile::tempdir()?;
        let workspace = Workspace::at(root.path().join("checkout"));
        let file = written(&root.path().join("a"), Some(7))?;
        assert!(Workload::find_model(&workspace, &file).is_err());
        prepared(&workspace, &["--model", &file])?;
        let model = Workload::find_model(&workspace, &file)?;
        assert_eq!(
            (model.name.as_str(), &model.inputs[0].shape),
            ("modèle à moi", &vec![1, 7])
        );
        let models = [model];
        let samples = Workload::usual_samples(&workspace, &models, 9)?;
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].inputs(&models[0])?[0].1.shape(), [1, 7]);
        // Another of the same name is another model.
        let other = written(&root.path().join("b"), Some(5))?;
        prepared(&workspace, &["--model", &other])?;
        assert_eq!(
            Workload::find_model(&workspace, &other)?.inputs[0].shape,
            [1, 5]
        );
        assert_eq!(
            Workload::find_model(&workspace, &file)?.inputs[0].shape,
            [1, 7]
        );
        Ok(())
    }

    #[test]
    fn what_a_file_leaves_open_is_asked_for_or_given() -> Result<()> {
        let root = tempfile::tempdir()?;
        let workspace = Workspace::at(root.path().join("checkout"));
        let file = written(root.path(), None)?;
        let error = prepared(&workspace, &["--model", &file]).expect_err("it is open");
        assert!(
            error.to_string().contains("--input x=1x3x224x224"),
            "{error}"
        );
        prepared(&workspace, &["--model", &file, "--input", "x=2x4"])?;
        assert_eq!(
            Workload::find_model(&workspace, &file)?.inputs[0].shape,
            [2, 4]
        );
        let sample = root.path().join("x.npz");
        let tensor = firstpass_probe::Tensor::new(&[3, 3], vec![0.5_f32; 9])?;
        firstpass_trial::tensor_files::write_npz(&sample, &[("x".to_owned(), tensor)].into())?;
        prepared(
            &workspace,
            &["--model", &file, "--sample", &sample.to_string_lossy()],
        )?;
        assert_eq!(
            Workload::find_model(&workspace, &file)?.inputs[0].shape,
            [3, 3]
        );
        Ok(())
    }

    /// Records read descriptions and inputs again, and another command may be at work.
    #[test]
    fn what_another_command_has_described_stays_as_it_is() -> Result<()> {
        let root = tempfile::tempdir()?;
        let command = || Workspace::at(root.path().join("checkout"));
        let file = written(&root.path().join("a"), None)?;
        let described = |workspace: &Workspace, shape: &str| -> Result<ModelDescription> {
            prepared(workspace, &["--model", &file, "--input", shape])?;
            Workload::find_model(workspace, &file)
        };
        let (one, other) = (command(), command());
        let first = described(&one, "x=2x4")?;
        let text = fs::read(&first.file)?;
        let made_up = own_model::made_up(&one, &first);
        let second = described(&other, "x=3x5")?;
        assert_ne!(first.file, second.file);
        assert_eq!(fs::read(&first.file)?, text);
        assert_eq!(Workload::find_model(&one, &file)?.inputs[0].shape, [2, 4]);
        for (model, samples) in [
            (&first, made_up),
            (&second, own_model::made_up(&other, &second)),
        ] {
            assert_eq!(samples.len(), 2);
            for sample in samples {
                let inputs = sample.inputs(model)?;
                assert_eq!(inputs[0].1.shape(), model.inputs[0].shape);
            }
        }
        // The same again is the same.
        assert_eq!(described(&command(), "x=2x4")?.file, first.file);
        Ok(())
    }

    #[test]
    fn what_is_measured_of_a_model_has_a_folder_of_its_own() -> Result<()> {
        let root = tempfile::tempdir()?;
        let workspace = Workspace::at(root.path().join("checkout"));
        let mut places = Vec::new();
        let mut models = Vec::new();
        for of in ["a", "b"] {
            let file = written(&root.path().join(of), Some(7))?;
            prepared(&workspace, &["--model", &file])?;
            let model = Workload::find_model(&workspace, &file)?;
            places.push(own_model::place(&workspace, std::slice::from_ref(&model))?);
            models.push(model);
        }
        places.push(own_model::place(&workspace, &models)?);
        let quick = workspace.reports().join("quick");
        for place in places.iter().flatten() {
            assert!(place.starts_with(&quick) && *place != quick, "{place:?}");
        }
        places.dedup();
        assert_eq!(places.iter().flatten().count(), 3);
        assert_eq!(own_model::place(&workspace, &[])?, None);
        let fixture = Workspace::find()?;
        let models = Workload::fixture_models(&fixture)?;
        assert_eq!(own_model::place(&fixture, &models[..1])?, None);
        Ok(())
    }

    /// What `init` writes is taken as it is.
    #[test]
    fn inputs_are_made_up_for_a_description_too() -> Result<()> {
        let root = tempfile::tempdir()?;
        let workspace = Workspace::at(root.path().join("checkout"));
        let file = written(root.path(), Some(7))?;
        let own = UserModel {
            files: vec![file.into()],
            ..UserModel::default()
        };
        let mut model = own.describe(&workspace)?;
        let path = root.path().join("model.toml");
        model.move_to(&path);
        fs::write(&path, to_toml(&model)?)?;
        for name in [&path, root.path()] {
            let name = name.to_string_lossy();
            prepared(&workspace, &["--model", &name])?;
            let models = [Workload::find_model(&workspace, &name)?];
            let samples = Workload::usual_samples(&workspace, &models, 1)?;
            assert_eq!(samples[0].inputs(&models[0])?[0].1.shape(), [1, 7]);
        }
        Ok(())
    }
}
