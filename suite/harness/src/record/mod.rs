//! Records on disk: a folder with `run.json`, one JSON-lines file per backend, and the outputs.
//!
//! What each study measured beside the record lies in a folder of it: a [`sidecar`].

pub mod code;
pub mod lines;
mod outside;
pub mod places;
mod recorder;
mod run;
pub mod sidecar;
mod stale;
pub mod typed;

pub use outside::check_outside_records;
pub use recorder::{RUN, Recorder, begin_measuring};
pub use run::{Run, RunSettings, Target, VERSION};
pub use stale::Stale;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_native::sha256_of_file;
use firstpass_probe::{Arithmetic, Description, Tensor, file_name, read_tensors, write_tensors};
use firstpass_trial::{
    model::ModelDescription,
    observation::{Cell, Observation, Purpose},
    outputs::Outputs,
    private_copy::PrivateCopy,
    regular_file,
    sample::Sample,
    tensor_files,
    workload::Workload,
    workspace::Workspace,
};
use serde::{Deserialize, Serialize};

use crate::record::places::Places;

/// Why a cell was measured no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Its intervals are as narrow as they were to be.
    Narrow,
    /// Every question that it belongs to was answered.
    Answered,
    /// It had the most processes that a cell gets.
    Processes,
    /// The time was used up, or its share of it.
    Budget,
    /// A process of it did not complete.
    Failed,
}

/// How a line begins that is an observation.
const OBSERVATION: &str = "{\"record\":\"observation\",";

/// One line of a backend's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Line {
    /// What the engine said of itself.
    Description(Description),
    /// Why there is nothing of this backend.
    Unavailable { reason: String },
    /// Which operators the engine runs for a model.
    Arithmetic {
        #[serde(flatten)]
        cell: Cell,
        arithmetic: Arithmetic,
    },
    /// Why the engine did not say so.
    NoArithmetic {
        #[serde(flatten)]
        cell: Cell,
        reason: String,
    },
    /// One probe process.
    Observation(Box<Observation>),
    /// Why a cell was measured no further.
    Stop {
        #[serde(flatten)]
        cell: Cell,
        reason: Stop,
    },
}

/// A record that was read.
#[derive(Debug)]
pub struct Record {
    pub folder: PathBuf,
    pub run: Run,
    pub places: Places,
    pub backends: BTreeMap<String, BackendRecord>,
}

/// All lines of one backend.
#[derive(Debug, Default)]
pub struct BackendRecord {
    pub description: Option<Description>,
    pub unavailable: Option<String>,
    pub arithmetic: Vec<(Cell, Result<Arithmetic, String>)>,
    pub observations: Vec<Observation>,
    pub stops: Vec<(Cell, Stop)>,
}

/// Keeps the outputs of one cell in the folder of a record.
///
/// # Errors
/// Fails where the file cannot be written.
pub fn write_outputs(
    folder: &Path,
    cell: &Cell,
    names: &[String],
    outputs: &Outputs,
) -> Result<()> {
    let named = outputs.iter().flat_map(|(image, tensors)| {
        names
            .iter()
            .zip(tensors)
            .map(move |(name, tensor)| (format!("{image}/{name}"), tensor))
    });
    let path = folder.join(outputs_file(cell));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot write to {}", parent.display()))?;
    }
    write_tensors(&path, named).map_err(|e| anyhow::anyhow!("{e}"))?;
    lines::compress(&path)
}

impl Record {
    /// # Errors
    /// Fails where `run.json` or a line is malformed; a last line that was cut off by an
    /// interruption is left out.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut run = Run::read(folder)?;
        run.settings.command = typed::read(folder)?;
        let files = lines::files(folder)?.into_iter();
        let backends = files.map(|(name, path)| {
            let read = BackendRecord::read(&path)?;
            read.check(&name)
                .with_context(|| format!("{} is not as expected", path.display()))?;
            Ok((name, read))
        });
        let backends = backends.collect::<Result<_>>()?;
        Ok(Self {
            folder: folder.into(),
            run,
            places: Places::read(folder)?,
            backends,
        })
    }

    /// The outputs that a cell gave for each photograph; `None` where it gave none.
    ///
    /// # Errors
    /// Fails where the file is there and cannot be read.
    pub fn outputs(&self, cell: &Cell, names: &[String]) -> Result<Option<Outputs>> {
        let path = self.folder.join(outputs_file(cell));
        let read = |path: &Path| {
            regular_file::check_size(path, tensor_files::MOST_BYTES)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Ok(read_tensors(path).map_err(|e| anyhow::anyhow!("{e}"))?.0)
        };
        let Some(mut tensors) = lines::with_plain(&path, read)? else {
            return Ok(None);
        };
        let mut images: Vec<String> = tensors
            .keys()
            .filter_map(|key| key.split_once('/').map(|(image, _)| image.to_owned()))
            .collect();
        images.sort();
        images.dedup();
        let mut outputs = Outputs::new();
        for image in images {
            let of_image: Option<Vec<Tensor>> = names
                .iter()
                .map(|name| tensors.remove(&format!("{image}/{name}")))
                .collect();
            outputs.insert(
                image.clone(),
                of_image.with_context(|| format!("{} lacks outputs of {image}", path.display()))?,
            );
        }
        Ok(Some(outputs))
    }

    /// The models and photographs of a record, read again from where they lie. In place of a model file that is
    /// another by now stands the copy that engines read, as long as it is kept.
    ///
    /// # Errors
    /// Fails where one of them cannot be read or is not what was measured.
    pub fn workload(&self, workspace: &Workspace) -> Result<Workload> {
        let mut replaced = BTreeMap::new();
        let models = self.run.models.iter().map(|path| {
            let mut model = ModelDescription::read(&self.place(workspace, path)?)?;
            for file in model.files() {
                let sum = |file: &Path| self.run.files.get(&self.places.find(workspace, file));
                let Some(expected) = sum(&file) else { continue };
                let found = sha256_of_file(&file);
                if found.as_ref().is_ok_and(|found| found == expected) {
                    continue;
                }
                let copy = PrivateCopy::find(&file, expected, |weights| sum(weights).cloned());
                let copy = copy.filter(|copy| model.read_instead(&file, copy));
                if copy.is_none() {
                    found.with_context(|| format!("cannot read {}", file.display()))?;
                    bail!(
                        "{} has changed since {} was measured; measure again",
                        file.display(),
                        self.folder.display()
                    );
                }
                replaced.insert(file, expected.clone());
            }
            Ok(model)
        });
        let models = models.collect::<Result<Vec<_>>>()?;
        let fixtures = Sample::fixtures(&workspace.fixtures())?;
        let samples = self.run.samples.iter().map(|path| {
            let path = self.place(workspace, path)?;
            let known = fixtures.iter().find(|p| p.file == path);
            Ok(known.cloned().unwrap_or_else(|| Sample::from_file(&path)))
        });
        let samples = samples.collect::<Result<_>>()?;
        let mut workload = Workload::new(workspace, models, samples)?;
        workload.replaced = replaced;
        Ok(workload)
    }

    /// Where a file lies that the record names.
    ///
    /// # Errors
    /// Fails where it is not there: it may lie on another machine only.
    pub fn place(&self, workspace: &Workspace, name: &Path) -> Result<PathBuf> {
        let path = self.places.place(workspace, name);
        ensure!(
            path.exists(),
            "{} of the record {} is not on this machine ({}); measure again",
            name.display(),
            self.folder.display(),
            path.display()
        );
        Ok(path)
    }

    /// Every cell that the run measured, tried to, or had no time for.
    pub fn cells(&self) -> BTreeSet<&Cell> {
        let stopped = self.backends.values().flat_map(|b| &b.stops);
        let observed = self.observations().map(|o| &o.cell);
        observed.chain(stopped.map(|(cell, _)| cell)).collect()
    }

    /// Every observation of every backend that was measured.
    pub fn observations(&self) -> impl Iterator<Item = &Observation> {
        let all = self.backends.values().flat_map(|b| &b.observations);
        all.filter(|o| o.purpose != Purpose::Reference)
    }

    /// Every observation of what stands in for golden outputs: nothing is measured by it, and that it fails is
    /// no engine's fault.
    pub fn stand_ins(&self) -> impl Iterator<Item = &Observation> {
        let all = self.backends.values().flat_map(|b| &b.observations);
        all.filter(|o| o.purpose == Purpose::Reference)
    }
}

impl BackendRecord {
    /// Whether nothing was recorded of the engine, not even that it did not start.
    pub fn is_empty(&self) -> bool {
        let Self {
            description,
            unavailable,
            arithmetic,
            observations,
            stops,
        } = self;
        description.is_none()
            && unavailable.is_none()
            && arithmetic.is_empty()
            && observations.is_empty()
            && stops.is_empty()
    }

    /// Whether all of it is of the engine of this name: what two files say of one engine would count twice.
    fn check(&self, name: &str) -> Result<()> {
        let observed = self.observations.iter().map(|o| &o.cell);
        let arithmetic = self.arithmetic.iter().map(|(cell, _)| cell);
        let stopped = self.stops.iter().map(|(cell, _)| cell);
        let mut cells = observed.chain(arithmetic).chain(stopped);
        if let Some(other) = cells.find(|cell| cell.backend != name) {
            bail!(
                "it has lines of the engine {:?}, and is named after {name:?}",
                other.backend
            );
        }
        Ok(())
    }

    fn read(path: &Path) -> Result<Self> {
        let lines = lines::read_text(path)?;
        let mut record = Self::default();
        let mut seen = HashSet::new();
        for (number, text) in lines.iter().enumerate() {
            // Nearly all lines, read at once.
            let line = match text.starts_with(OBSERVATION) {
                true => Observation::from_json(text).map(|o| Line::Observation(Box::new(o))),
                false => serde_json::from_str(text),
            };
            match line {
                Ok(Line::Description(description)) => record.description = Some(description),
                Ok(Line::Unavailable { reason }) => record.unavailable = Some(reason),
                Ok(Line::Arithmetic { cell, arithmetic }) => {
                    record.arithmetic.push((cell, Ok(arithmetic)));
                }
                Ok(Line::NoArithmetic { cell, reason }) => {
                    record.arithmetic.push((cell, Err(reason)));
                }
                Ok(Line::Observation(observation)) => {
                    // No two processes take the same times; one that counts twice makes intervals too narrow.
                    ensure!(
                        observation.process.passes.is_empty() || seen.insert(text.as_str()),
                        "{}, line {}: this process is there already, in an earlier line; the file was joined with another",
                        path.display(),
                        number + 1
                    );
                    record.observations.push(*observation);
                }
                Ok(Line::Stop { cell, reason }) => record.stops.push((cell, reason)),
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("{}, line {}", path.display(), number + 1));
                }
            }
        }
        Ok(record)
    }
}

fn outputs_file(cell: &Cell) -> PathBuf {
    let knobs = cell.knobs.settings();
    let setting: String = knobs
        .map(|(name, value)| format!("-{name}={value}"))
        .collect();
    let name = format!(
        "{}-{}-{}{setting}",
        cell.backend,
        cell.model,
        cell.format.key()
    );
    Path::new("outputs").join(format!("{}.safetensors", file_name(&name)))
}

#[cfg(test)]
pub(crate) mod tests;
