//! Making the models, by the Python program of the fixtures.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use firstpass_probe::write_tensors;
use firstpass_trial::{
    model::{InputSpec, ModelDescription, Precision},
    sample::Sample,
    workspace::{Workspace, read_toml},
};

use crate::{
    python,
    record::code::folder_sha256,
    studies::zoo::{
        Made, Missing, MissingFile,
        data::{DESCRIPTION, MADE, MODELS, read_json, write_json},
    },
};

/// Over all that the models are made from: the program, and the photographs that it is given.
///
/// # Errors
/// Fails where a source cannot be read.
pub fn sources_sha256(workspace: &Workspace) -> Result<String> {
    folder_sha256(workspace, &program(workspace), "images")
}

fn program(workspace: &Workspace) -> PathBuf {
    workspace.fixtures().join("zoo")
}

/// The models, by name, and what could not be made of them. They lie in `.native/zoo`, and are made
/// only where they are not there or the program has changed.
///
/// # Errors
/// Fails where the packages cannot be installed or the program ends early; what it says itself is
/// passed on to the terminal.
pub fn make(workspace: &Workspace) -> Result<(Vec<ModelDescription>, Made)> {
    let folder = workspace.native().join("zoo");
    let models = folder.join(MODELS);
    let stamp = folder.join(MADE);
    let sources_sha256 = sources_sha256(workspace)?;
    if let Ok(made) = read_json::<Made>(&stamp)
        && made.sources_sha256 == sources_sha256
        && let Ok(found) = descriptions(&models)
        && !found.is_empty()
    {
        return Ok((found, made));
    }
    let program = program(workspace);
    let requirements = program.join("requirements.txt");
    let environment = workspace.native().join("python-zoo");
    let python = python::set_up(&python::interpreter(), &environment, &requirements)?;
    for old in [&models, &stamp] {
        remove(old)?;
    }
    let inputs = write_inputs(workspace, &program, &folder)?;
    eprintln!("making the models in {}", models.display());
    let status = Command::new(&python)
        .arg(&program)
        .arg("--inputs")
        .arg(&inputs)
        .arg("--out")
        .arg(&models)
        // The sources are hashed as they were committed.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONWARNINGS", "ignore")
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", python.display()))?;
    ensure!(
        status.success(),
        "{} ended with {status}; what it wrote is above",
        program.display()
    );
    let missing: Vec<Missing> = read_json(&models.join("missing.json"))?;
    let made = Made {
        sources_sha256,
        missing,
    };
    // A model that failed is tried again the next time.
    if made.missing.iter().all(|m| m.file != MissingFile::All) {
        write_json(&stamp, &made)?;
    }
    Ok((descriptions(&models)?, made))
}

/// The photographs as each kind of input, for the program: one file a kind.
fn write_inputs(workspace: &Workspace, program: &Path, folder: &Path) -> Result<PathBuf> {
    let kinds: BTreeMap<String, InputSpec> = read_toml(&program.join("inputs.toml"))?;
    let samples = Sample::fixtures(&workspace.fixtures())?;
    let inputs = folder.join("inputs");
    fs::create_dir_all(&inputs).with_context(|| format!("cannot write {}", inputs.display()))?;
    for (kind, input) in kinds {
        let model = taking(input);
        let mut tensors = Vec::new();
        for sample in &samples {
            let of_photo = sample.inputs(&model)?.into_iter();
            tensors.extend(of_photo.map(|(_, tensor)| (sample.name.clone(), tensor)));
        }
        let named = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
        let path = inputs.join(format!("{kind}.safetensors"));
        write_tensors(&path, named)?;
    }
    Ok(inputs)
}

/// A model that is nothing yet but what it takes.
fn taking(input: InputSpec) -> ModelDescription {
    ModelDescription {
        name: String::new(),
        title: String::new(),
        description: String::new(),
        precision: Precision::Int8,
        latency_on_request: false,
        explain: false,
        golden: None,
        golden_from: String::new(),
        artifacts: BTreeMap::new(),
        inputs: vec![input],
        outputs: Vec::new(),
        detection: None,
        classification: None,
        sha256: BTreeMap::new(),
        file: PathBuf::new(),
    }
}

fn descriptions(models: &Path) -> Result<Vec<ModelDescription>> {
    let entries =
        fs::read_dir(models).with_context(|| format!("cannot list {}", models.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path().join(DESCRIPTION);
        if path.is_file() {
            found.push(ModelDescription::read(&path)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}
