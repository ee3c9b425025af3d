//! Other models than the fixtures' own: do their first passes take as long?
//!
//! The models are made on the machine that measures ([`make`]) and not committed. What was measured is
//! a record in the folder [`FOLDER`] of another, with what a report needs of the models beside it.

mod make;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_probe::{read_tensors, write_tensors};
use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    model::ModelDescription,
    record::{Outputs, Record},
    subject::Subject,
};

pub use make::{make, sources_sha256};

/// The folder inside of a record.
pub const FOLDER: &str = "zoo";

/// What became of making the models, inside of [`FOLDER`].
const MADE: &str = "made.json";

/// Their descriptions and golden outputs, a folder each, inside of [`FOLDER`].
const MODELS: &str = "models";

const DESCRIPTION: &str = "model.toml";
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
    pub models: Vec<Measured>,
}

/// A model as it was when it was measured.
#[derive(Debug)]
pub struct Measured {
    /// Its artifacts need not be there any more.
    pub description: ModelDescription,
    /// What the framework that made it gives for the photographs.
    pub golden: Option<Outputs>,
}

/// Keeps, beside a record of the zoo, what a report needs of its models.
///
/// # Errors
/// Fails where a description or golden outputs cannot be read, or the folder cannot be written.
pub fn keep(zoo: &Path, subject: &Subject, made: &Made) -> Result<()> {
    let models = zoo.join(MODELS);
    for model in &subject.models {
        let folder = models.join(&model.name);
        let unwritable = || format!("cannot write to {}", folder.display());
        fs::create_dir_all(&folder).with_context(unwritable)?;
        fs::copy(&model.file, folder.join(DESCRIPTION)).with_context(unwritable)?;
        let Some(golden) = subject.golden(model)? else {
            continue;
        };
        let named = golden.iter().flat_map(|(photo, tensors)| {
            let outputs = model.outputs.iter().zip(tensors);
            outputs.map(move |(output, tensor)| (format!("{photo}/{}", output.name), tensor))
        });
        write_tensors(&folder.join(GOLDEN), named)?;
    }
    let names: Vec<&str> = subject.models.iter().map(|m| m.name.as_str()).collect();
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
        Ok(Measured {
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
    let mut photos: Vec<String> = tensors
        .keys()
        .filter_map(|key| key.split_once('/').map(|(photo, _)| photo.to_owned()))
        .collect();
    photos.sort();
    photos.dedup();
    let outputs = photos.into_iter().map(|photo| {
        let outputs = model.outputs.iter();
        let of_photo: Option<Vec<_>> = outputs
            .map(|output| tensors.remove(&format!("{photo}/{}", output.name)))
            .collect();
        let lacks = || format!("{} lacks an output for {photo}", path.display());
        Ok((photo.clone(), of_photo.with_context(lacks)?))
    });
    Ok(Some(outputs.collect::<Result<_>>()?))
}

/// Moves what was measured beside an older record to a newer one that was made by the same code.
///
/// # Errors
/// Fails where the folder is there and cannot be moved.
pub fn take_over(older: &Path, newer: &Path, code: &Code) -> Result<()> {
    let (from, to): (PathBuf, PathBuf) = (older.join(FOLDER), newer.join(FOLDER));
    // One that cannot be read any more is of other code.
    let made_by = Record::read(&from).map(|record| record.run.code.measured_sha256);
    if made_by.is_ok_and(|made_by| made_by == code.measured_sha256) {
        fs::rename(&from, &to).with_context(|| format!("cannot move {}", from.display()))?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value)?;
    fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not as expected", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        photo::Photo,
        record::{Recorder, tests::run},
        workspace::Workspace,
    };

    fn subject(workspace: &Workspace) -> Result<Subject> {
        let mut models = Subject::fixture_models(workspace)?;
        models.truncate(1);
        let mut photos = Photo::fixtures(&workspace.fixtures())?;
        photos.truncate(2);
        Subject::new(workspace, models, photos)
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

    fn measured(record: &Path) -> Result<Subject> {
        let workspace = Workspace::find()?;
        let subject = subject(&workspace)?;
        let folder = record.join(FOLDER);
        let folder = Recorder::begin(&folder, workspace.root(), run())?.finish(1.0)?;
        keep(&folder, &subject, &made())?;
        Ok(subject)
    }

    #[test]
    fn what_was_kept_is_read_without_the_models() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(read(dir.path())?.is_none());
        let subject = measured(dir.path())?;
        let zoo = read(dir.path())?.context("it was kept")?;
        assert_eq!(zoo.made, made());
        let [model] = &zoo.models[..] else {
            panic!("one model was kept");
        };
        assert_eq!(model.description.name, subject.models[0].name);
        assert_eq!(model.golden, subject.golden(&subject.models[0])?);
        assert!(model.golden.as_ref().is_some_and(|g| g.len() == 2));
        Ok(())
    }

    #[test]
    fn the_same_code_takes_over_what_was_measured() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (older, newer) = (dir.path().join("older"), dir.path().join("newer"));
        fs::create_dir_all(&older)?;
        fs::create_dir_all(&newer)?;
        measured(&older)?;
        let mut code = run().code;
        let same = code.measured_sha256.clone();
        code.measured_sha256 = "another".into();
        take_over(&older, &newer, &code)?;
        assert!(read(&newer)?.is_none());
        code.measured_sha256 = same;
        take_over(&older, &newer, &code)?;
        assert!(read(&newer)?.is_some() && read(&older)?.is_none());
        Ok(())
    }
}
