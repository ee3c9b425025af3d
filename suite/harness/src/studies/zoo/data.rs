//! Other models than the fixtures' own: do their first passes take as long?
//!
//! The models are made on the machine that measures ([`make`]) and not committed. What was measured is
//! a record in the folder [`FOLDER`] of another, with what a report needs of the models beside it.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use firstpass_probe::{read_tensors, write_tensors};
use firstpass_trial::{
    model::ModelDescription, outputs::Outputs, regular_file, workload::Workload,
};
use serde::{Deserialize, Serialize};

use crate::record::Record;

/// The folder inside of a record.
pub const FOLDER: &str = "zoo";

/// What became of making the models, inside of [`FOLDER`].
pub(crate) const MADE: &str = "made.json";

/// Their descriptions and golden outputs, a folder each, inside of [`FOLDER`].
pub(crate) const MODELS: &str = "models";

pub(crate) const DESCRIPTION: &str = "model.toml";
const GOLDEN: &str = "golden.safetensors";

/// What came of making the models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Over the program that makes them and the photographs that it is given.
    pub sources_sha256: String,
    pub missing: Vec<Missing>,
}

/// What could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub model: String,
    pub file: MissingFile,
    pub reason: String,
}

/// Which files of a model are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingFile {
    Onnx,
    /// The whole model.
    All,
}

/// The models that were measured, and the record of that.
#[derive(Debug)]
pub struct Zoo {
    pub record: Record,
    pub made: Made,
    pub models: Vec<MeasuredModel>,
}

/// A model as it was when it was measured.
#[derive(Debug)]
pub struct MeasuredModel {
    /// Its artifacts need not be there any more.
    pub description: ModelDescription,
    /// What the framework that made it gives for the photographs.
    pub golden: Option<Outputs>,
}

/// Keeps, beside a record of the zoo, what a report needs of its models.
///
/// # Errors
/// Fails where a description or golden outputs cannot be read, or the folder cannot be written.
pub fn keep(zoo: &Path, workload: &Workload, made: &Made) -> Result<()> {
    let models = zoo.join(MODELS);
    for model in &workload.models {
        let folder = models.join(&model.name);
        let unwritable = || format!("cannot write to {}", folder.display());
        fs::create_dir_all(&folder).with_context(unwritable)?;
        fs::copy(&model.file, folder.join(DESCRIPTION)).with_context(unwritable)?;
        let Some(golden) = workload.golden(model)? else {
            continue;
        };
        let named = golden.iter().flat_map(|(sample, tensors)| {
            let outputs = model.outputs.iter().zip(tensors);
            outputs.map(move |(output, tensor)| (format!("{sample}/{}", output.name), tensor))
        });
        write_tensors(&folder.join(GOLDEN), named)?;
    }
    let names: Vec<&str> = workload.models.iter().map(|m| m.name.as_str()).collect();
    write_json(&zoo.join(MADE), &(names, made))
}

/// Reads what was measured beside a record; `None` where nothing was.
///
/// # Errors
/// Fails where it is there and cannot be read.
pub fn read(record: &Path) -> Result<Option<Zoo>> {
    let folder = record.join(FOLDER);
    if !folder.is_dir() {
        return Ok(None);
    }
    let (names, made): (Vec<String>, Made) = read_json(&folder.join(MADE))?;
    let models = names.iter().map(|name| {
        let of_model = folder.join(MODELS).join(name);
        let description = ModelDescription::read(&of_model.join(DESCRIPTION))?;
        let golden = golden(&of_model.join(GOLDEN), &description)?;
        Ok(MeasuredModel {
            description,
            golden,
        })
    });
    Ok(Some(Zoo {
        models: models.collect::<Result<_>>()?,
        record: Record::read(&folder)?,
        made,
    }))
}

/// Outputs by photograph; `None` where there is no such file.
fn golden(path: &Path, model: &ModelDescription) -> Result<Option<Outputs>> {
    if !path.is_file() {
        return Ok(None);
    }
    let (mut tensors, _) = read_tensors(path)?;
    let mut samples: Vec<String> = tensors
        .keys()
        .filter_map(|key| key.split_once('/').map(|(sample, _)| sample.to_owned()))
        .collect();
    samples.sort();
    samples.dedup();
    let outputs = samples.into_iter().map(|sample| {
        let outputs = model.outputs.iter();
        let of_photo: Option<Vec<_>> = outputs
            .map(|output| tensors.remove(&format!("{sample}/{}", output.name)))
            .collect();
        let lacks = || format!("{} lacks an output for {sample}", path.display());
        Ok((sample.clone(), of_photo.with_context(lacks)?))
    });
    Ok(Some(outputs.collect::<Result<_>>()?))
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value)?;
    fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text =
        regular_file::read_text(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not as expected", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Recorder, tests::run};
    use firstpass_trial::{sample::Sample, workspace::Workspace};

    fn workload(workspace: &Workspace) -> Result<Workload> {
        let mut models = Workload::fixture_models(workspace)?;
        models.truncate(1);
        let mut samples = Sample::fixtures(&workspace.fixtures())?;
        samples.truncate(2);
        Workload::new(workspace, models, samples)
    }

    fn made() -> Made {
        Made {
            sources_sha256: "this".into(),
            missing: vec![Missing {
                model: "m".into(),
                file: MissingFile::Onnx,
                reason: "no such operator".into(),
            }],
        }
    }

    fn measured(record: &Path) -> Result<Workload> {
        let workspace = Workspace::find()?;
        let workload = workload(&workspace)?;
        let folder = record.join(FOLDER);
        let folder = Recorder::begin(&folder, workspace.root(), &run())?.finish()?;
        keep(&folder, &workload, &made())?;
        Ok(workload)
    }

    #[test]
    fn what_was_kept_is_read_without_the_models() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(read(dir.path())?.is_none());
        let workload = measured(dir.path())?;
        let zoo = read(dir.path())?.context("it was kept")?;
        assert_eq!(zoo.made, made());
        let [model] = &zoo.models[..] else {
            panic!("one model was kept");
        };
        assert_eq!(model.description.name, workload.models[0].name);
        assert_eq!(model.golden, workload.golden(&workload.models[0])?);
        assert!(model.golden.as_ref().is_some_and(|g| g.len() == 2));
        Ok(())
    }
}
