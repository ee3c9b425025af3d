//! What is measured: models and photographs, with their checksums.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_native::sha256_of_file;
use firstpass_probe::{Model, Tensor, read_tensors, write_tensors};
use tempfile::TempDir;

use crate::{
    manifest::Manifest,
    model::{InputSpec, ModelDescription},
    outputs::Outputs,
    own_model,
    private_copy::PrivateCopy,
    regular_file,
    sample::Sample,
    shell_word, tensor_files,
    trust::is_trusted,
    workspace::Workspace,
};

/// The SHA-256 of each input, by the file of a sample and by what a model makes of it.
type InputSums = BTreeMap<(PathBuf, String), Vec<String>>;

/// The models and photographs of one run.
#[derive(Debug, Clone)]
pub struct Workload {
    pub models: Vec<ModelDescription>,
    pub samples: Vec<Sample>,
    /// Whether programs outside the fixtures may be run: see [`Workload::admit`].
    pub trust: bool,
    /// Files of models that are others by now than those that were measured: the SHA-256 of what was, by path.
    pub replaced: BTreeMap<PathBuf, String>,
    /// What engines read in place of files outside the fixtures, by the path of the file.
    copies: Arc<Mutex<BTreeMap<PathBuf, PrivateCopy>>>,
    /// The SHA-256 of inputs that were computed, by sample and by what the model makes of it.
    sums: Arc<Mutex<InputSums>>,
    manifest: Manifest,
    fixtures: PathBuf,
}

impl Workload {
    /// All models and photographs of the fixtures.
    ///
    /// # Errors
    /// Fails where a description cannot be read.
    pub fn fixtures(workspace: &Workspace) -> Result<Self> {
        let models = Self::fixture_models(workspace)?;
        let samples = Sample::fixtures(&workspace.fixtures())?;
        Self::new(workspace, models, samples)
    }

    /// # Errors
    /// Fails where the manifest cannot be read, or a description or photograph of the fixtures is
    /// not the committed one.
    pub fn new(
        workspace: &Workspace,
        models: Vec<ModelDescription>,
        samples: Vec<Sample>,
    ) -> Result<Self> {
        let workload = Self {
            models,
            samples,
            trust: false,
            replaced: BTreeMap::new(),
            copies: Arc::default(),
            sums: Arc::default(),
            manifest: Manifest::read(&workspace.fixtures())?,
            fixtures: workspace.fixtures(),
        };
        for model in &workload.models {
            workload.verify(&model.file)?;
        }
        for sample in &workload.samples {
            workload.verify(&sample.file)?;
        }
        // Outputs are kept by name.
        let models = workload.models.iter().map(|m| m.name.as_str());
        let samples = workload.samples.iter().map(|p| p.name.as_str());
        if let Some(name) = duplicate(models).or_else(|| duplicate(samples)) {
            bail!("two models or two photographs are named {name:?}; rename one of them");
        }
        Ok(workload)
    }

    /// The models of the fixtures, by name.
    ///
    /// # Errors
    /// Fails where a `model.toml` cannot be read.
    pub fn fixture_models(workspace: &Workspace) -> Result<Vec<ModelDescription>> {
        let folder = workspace.fixtures().join("models");
        if !workspace.is_checkout() {
            return Ok(Vec::new());
        }
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        let mut models = Vec::new();
        for entry in entries {
            let path = entry?.path().join("model.toml");
            if path.is_file() {
                models.push(ModelDescription::read(&path)?);
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// A model by the name of a fixture, or by the path of a `model.toml` or of its folder, or of a model file that
    /// was described before: see [`own_model`].
    ///
    /// # Errors
    /// Fails where there is no such model; the message lists the fixtures.
    pub fn find_model(workspace: &Workspace, name: &str) -> Result<ModelDescription> {
        let path = Path::new(name);
        if path.is_dir() {
            ensure!(
                path.join("model.toml").is_file(),
                "{} is a folder without a model.toml; give the model file in it",
                path.display()
            );
            return ModelDescription::read(&path.join("model.toml"));
        }
        if own_model::is_model_file(path) {
            return own_model::read(workspace, path);
        }
        if path.is_file() {
            return ModelDescription::read(path);
        }
        let mut models = Self::fixture_models(workspace)?;
        if let Some(position) = models.iter().position(|m| m.name == name) {
            return Ok(models.swap_remove(position));
        }
        let names: Vec<String> = models.into_iter().map(|m| m.name).collect();
        bail!(
            "no model {name:?}: give the path of a model file or of a model.toml, or one of {}",
            names.join(", ")
        )
    }

    /// What these models are run on where nothing is named: at most `most` photographs of the fixtures, but made-up
    /// inputs for a model of the user's own that takes no pictures.
    ///
    /// # Errors
    /// Fails where the fixtures cannot be read, and where models take inputs of several kinds.
    pub fn usual_samples(
        workspace: &Workspace,
        models: &[ModelDescription],
        most: usize,
    ) -> Result<Vec<Sample>> {
        let without_pictures = models.iter().find(|model| model.picture().is_none());
        let made_up = without_pictures.map_or_else(Vec::new, |m| own_model::made_up(workspace, m));
        let mut samples = if made_up.is_empty() {
            Sample::fixtures(&workspace.fixtures())?
        } else {
            ensure!(
                models.len() == 1,
                "inputs are made up for one model at a time; name one with --model, or give --sample"
            );
            made_up
        };
        samples.truncate(most);
        Ok(samples)
    }

    /// Checks, before an engine reads it, that a file of a model is what it should be: a file of the
    /// fixtures the committed one, and one outside them that which its `model.toml` lists, if it does. A
    /// TorchScript file is a program: the user trusts it for this command, or has it in their own list.
    ///
    /// Returns the file to read: outside the fixtures a copy that nobody else can change, so that it is
    /// what was checked.
    ///
    /// # Errors
    /// Fails where the file is missing, another, or not trusted.
    pub fn admit(&self, model: &ModelDescription, file: &Model) -> Result<Model> {
        let path = &file.path;
        if self.is_fixture(path)? {
            self.manifest.verify(path)?;
            return Ok(file.clone());
        }
        let copy = self.copy(path)?;
        let hash = &copy.sha256;
        let listed = model
            .sha256
            .iter()
            .find(|(name, _)| &model.path(name) == path);
        if let Some((_, expected)) = listed {
            ensure!(
                hash.eq_ignore_ascii_case(expected),
                "{} has SHA-256 {hash}, but {} lists {expected}: the file was changed or damaged",
                path.display(),
                model.file.display()
            );
        }
        ensure!(
            !file.format.is_program() || self.trust || is_trusted(hash)?,
            "{} is a program that would be run with your rights: if you know where it comes from, say \
             --trust, or run `cargo firstpass trust {}` once",
            path.display(),
            shell_word::path(path)
        );
        Ok(Model {
            path: copy.path,
            ..file.clone()
        })
    }

    /// Whether what engines have read in place of files outside the fixtures is what was admitted.
    ///
    /// # Errors
    /// Names a file whose copy an engine has changed: what others gave after that is of another model.
    pub fn check_copies(&self) -> Result<()> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        for (file, copy) in copies.iter() {
            ensure!(
                copy.is_unchanged(),
                "an engine has changed the copy of {} that all engines read, at {}: nothing that was measured meanwhile is \
                 sure to be of this model. Measure again, without programs that write to their model file",
                file.display(),
                copy.path.display()
            );
        }
        Ok(())
    }

    /// The copy of a file, made the first time that it is asked for.
    fn copy(&self, path: &Path) -> Result<PrivateCopy> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = copies.get(path) {
            return Ok(copy.clone());
        }
        let copy = PrivateCopy::of(path)?;
        copies.insert(path.to_owned(), copy.clone());
        Ok(copy)
    }

    /// Checks a file of the fixtures against the manifest; any other is the user's own.
    ///
    /// # Errors
    /// Fails where the file is missing or is not the committed one.
    pub fn verify(&self, path: &Path) -> Result<()> {
        if self.is_fixture(path)? {
            self.manifest.verify(path)
        } else {
            Ok(())
        }
    }

    /// Whether the model is one of the fixtures.
    ///
    /// # Errors
    /// Fails where its description is no longer there.
    pub fn is_of_fixtures(&self, model: &ModelDescription) -> Result<bool> {
        self.is_fixture(&model.file)
    }

    fn is_fixture(&self, path: &Path) -> Result<bool> {
        let absolute = path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?;
        let fixtures = self.fixtures.canonicalize();
        Ok(fixtures.is_ok_and(|fixtures| absolute.starts_with(fixtures)))
    }

    /// The golden outputs of a model for the photographs; `None` where there is none for any. A
    /// golden output counts only for the very input that it was made from.
    ///
    /// # Errors
    /// Fails where the file is not the committed one, or was made from other inputs.
    pub fn golden(&self, model: &ModelDescription) -> Result<Option<Outputs>> {
        let Some(relative) = &model.golden else {
            return Ok(None);
        };
        let path = model.path(relative);
        self.verify(&path)?;
        regular_file::check_size(&path, tensor_files::MOST_BYTES)
            .with_context(|| format!("cannot read the tensors in {}", path.display()))?;
        let (tensors, metadata) = read_tensors(&path)?;
        let mut golden = Outputs::new();
        for sample in &self.samples {
            let Some(expected) = metadata.get(&format!("input.{}", sample.name)) else {
                continue;
            };
            let sums = self.input_sums(sample, model)?;
            if &sums.join(" ") != expected {
                if !self.is_fixture(&sample.file)? {
                    // A photograph of the user's own that happens to have the same name.
                    continue;
                }
                bail!(
                    "the golden outputs of {} for {} were made from another input; make the \
                     fixtures again (see fixtures/README.md)",
                    model.name,
                    sample.name
                );
            }
            let outputs: Option<Vec<Tensor>> = model
                .outputs
                .iter()
                .map(|o| tensors.get(&format!("{}/{}", sample.name, o.name)).cloned())
                .collect();
            let outputs = outputs
                .with_context(|| format!("{} lacks outputs for {}", path.display(), sample.name))?;
            golden.insert(sample.name.clone(), outputs);
        }
        Ok(Some(golden).filter(|golden| !golden.is_empty()))
    }

    /// The SHA-256 of each input of a model. Models that differ in their arithmetic only have the same inputs, which
    /// take time to compute.
    fn input_sums(&self, sample: &Sample, model: &ModelDescription) -> Result<Vec<String>> {
        let key = (sample.file.clone(), format!("{:?}", model.inputs));
        let known = || self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sums) = known().get(&key) {
            return Ok(sums.clone());
        }
        let inputs = sample.inputs(model)?;
        let sums: Vec<String> = inputs.iter().map(|(_, input)| input.sha256()).collect();
        known().insert(key, sums.clone());
        Ok(sums)
    }

    /// Reads every input of a model once, so that what is wrong with one is said before anything is
    /// measured.
    ///
    /// # Errors
    /// Fails on one that cannot be read or is not for this model.
    pub fn check_inputs(&self, model: &ModelDescription) -> Result<()> {
        let mut samples = self.samples.iter();
        samples.try_for_each(|sample| sample.inputs(model).map(drop))
    }

    /// SHA-256 of every file of the models, with those of weights, by path. Of what
    /// engines read it is that of what they read.
    ///
    /// # Errors
    /// Fails where a file cannot be read.
    pub fn checksums(&self) -> Result<BTreeMap<PathBuf, String>> {
        let mut sums = BTreeMap::new();
        for model in &self.models {
            for path in model.files().into_iter().filter(|p| p.is_file()) {
                let is_read = model.artifacts.values().any(|a| model.path(a) == path);
                if !is_read || self.is_fixture(&path)? {
                    let sum = sha256_of_file(&path)?;
                    sums.insert(path, sum);
                    continue;
                }
                let copy = self.copy(&path)?;
                sums.insert(path, copy.sha256);
                sums.extend(copy.weights);
            }
        }
        Ok(sums)
    }
}

/// The path relative to the workspace, without `..`, if it lies below it.
pub fn relative(workspace: &Workspace, path: &Path) -> PathBuf {
    let (Ok(path), Ok(root)) = (path.canonicalize(), workspace.root().canonicalize()) else {
        return path.into();
    };
    path.strip_prefix(&root).unwrap_or(&path).into()
}

/// Input tensors as files for probes, one for each photograph and way of preprocessing.
#[derive(Debug)]
pub struct InputFiles {
    folder: TempDir,
    written: BTreeMap<(String, String), PathBuf>,
}

impl InputFiles {
    /// # Errors
    /// Fails where no temporary folder can be made.
    pub fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir().context("cannot make a temporary folder")?,
            written: BTreeMap::new(),
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file for one photograph, written where it is not there yet.
    ///
    /// # Errors
    /// Fails on a photograph that cannot be read and on a full disk.
    pub fn file(&mut self, sample: &Sample, model: &ModelDescription) -> Result<PathBuf> {
        let key = (sample.name.clone(), fingerprint(&model.inputs)?);
        if let Some(path) = self.written.get(&key) {
            return Ok(path.clone());
        }
        let inputs = sample.inputs(model)?;
        let path = self
            .folder
            .path()
            .join(format!("input-{}.safetensors", self.written.len()));
        let named = inputs.iter().map(|(name, input)| (name.clone(), input));
        write_tensors(&path, named)?;
        self.written.insert(key, path.clone());
        Ok(path)
    }
}

fn duplicate<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

fn fingerprint(inputs: &[InputSpec]) -> Result<String> {
    Ok(serde_json::to_string(inputs)?)
}

#[cfg(test)]
mod tests;
