//! Records on disk: a folder with `run.json`, one JSON-lines file per backend, and the outputs.
//!
//! What each study measured beside the record lies in a folder of it: a [`sidecar`].

pub mod code;
pub mod lines;
mod outside;
pub mod places;
mod recorder;
pub mod sidecar;
mod stale;
pub mod typed;

pub use outside::check_outside_records;
pub use recorder::{RUN, Recorder, begin_measuring};
pub use stale::Stale;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_native::sha256_of_file;
use firstpass_probe::{
    Arithmetic, Description, Knobs, Tensor, file_name, read_tensors, write_tensors,
};
use firstpass_trial::{
    affinity::Affinity,
    machine::Machine,
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

use crate::record::{code::Code, places::Places};

/// Raised when the meaning of a record changes. `reports/records/README.md` describes the format.
pub const VERSION: u32 = 3;

/// `run.json`: what the run was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub machine: Machine,
    pub code: Code,
    pub settings: RunSettings,
    /// The `model.toml` of each model, and each photograph; relative to the workspace if below it, and else
    /// as [`Places`] has named it.
    pub models: Vec<PathBuf>,
    #[serde(rename = "photos")]
    pub samples: Vec<PathBuf>,
    /// SHA-256 of each model file, by its path.
    pub files: BTreeMap<PathBuf, String>,
    /// Where engines come from that are not those of the checkout, by name: other versions, libraries and
    /// programs of the user's own, with their SHA-256.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engines: BTreeMap<String, String>,
    /// Engines whose processes ran on an emulated processor, with its name. They have no times.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processors: BTreeMap<String, String>,
    /// `None` until the run has come to its end.
    pub duration_s: Option<f64>,
}

/// How much was measured, and when it was to be enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSettings {
    /// No cell gets more processes.
    pub processes: usize,
    /// No cell gets fewer, unless the budget is used up.
    pub least_processes: usize,
    /// No process does more passes, nor fewer than ten.
    pub passes: usize,
    /// Passes over each photograph when agreement is observed; 0 where it is not.
    pub agreement_passes: usize,
    /// Whether the engines were not asked what they ran: some take as long as for slow first passes.
    #[serde(default)]
    pub skip_arithmetic: bool,
    pub threads: Vec<usize>,
    /// The time for all measuring, in s; builds are not part of it.
    pub budget_s: f64,
    /// A process does no further pass after this once it has done ten, in ms.
    pub process_budget_ms: u64,
    /// A cell is measured no further once its intervals are this narrow.
    pub target: Target,
    #[serde(default, rename = "placement")]
    pub affinity: Affinity,
    /// Whether every cell was measured with cold files as well.
    #[serde(default)]
    pub cold_files: bool,
    /// How many equal entries of each cell were measured: 2 in an A/A run.
    pub entries: usize,
    /// Settings that were measured beside the defaults, by backend.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variants: BTreeMap<String, Vec<Knobs>>,
    /// Whether only the format was measured that the engine's users would choose.
    #[serde(default)]
    pub first_format_only: bool,
    /// Models of which only the outputs were observed: their times are measured on request.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agreement_only: BTreeSet<String>,
    /// Whether, for models without golden outputs, the referee was asked, and each engine without its
    /// optimizations.
    #[serde(default)]
    pub seek_reference: bool,
    /// The time that the user gave where this run had a share of it only, in s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_budget_s: Option<f64>,
    /// The words of the command that measured a model of the user's own, but for its time: what asks for a longer
    /// run. Empty where another command does. It stands beside the record: see [`typed`].
    #[serde(skip)]
    pub command: Vec<String>,
}

/// Half widths of 95 % intervals, as shares of their figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Of the steady time.
    pub steady: f64,
    /// Of the time of the first pass.
    pub first_pass: f64,
}

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

impl Run {
    /// What a record says of itself, without its measurements.
    ///
    /// # Errors
    /// Fails where it is no record, or one of another version.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("run.json");
        let text = regular_file::read_text(&path).with_context(|| {
            format!("{} is not a record: cannot read run.json", folder.display())
        })?;
        let run: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not as expected", path.display()))?;
        anyhow::ensure!(
            run.version == VERSION,
            "{} has version {}, this firstpass reads {VERSION}; measure again",
            path.display(),
            run.version
        );
        Ok(run)
    }
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
pub(crate) mod tests {
    use super::*;
    use firstpass_probe::Format;

    /// A record of these observations that is nowhere on a disk.
    pub(crate) fn record(observations: Vec<Observation>) -> Record {
        let mut backends: BTreeMap<String, BackendRecord> = BTreeMap::new();
        for observation in observations {
            let backend = backends
                .entry(observation.cell.backend.clone())
                .or_default();
            backend.observations.push(observation);
        }
        Record {
            folder: PathBuf::new(),
            run: run(),
            places: Places::default(),
            backends,
        }
    }

    pub(crate) fn run() -> Run {
        Run {
            version: VERSION,
            date: "2026-01-01T00:00:00Z".into(),
            machine: Machine::observe(),
            code: Code::default(),
            settings: RunSettings {
                processes: 1,
                least_processes: 1,
                passes: 10,
                agreement_passes: 1,
                skip_arithmetic: false,
                threads: vec![1],
                budget_s: 1.0,
                process_budget_ms: 1,
                target: Target {
                    steady: 0.03,
                    first_pass: 0.1,
                },
                affinity: Affinity::default(),
                cold_files: false,
                entries: 1,
                variants: BTreeMap::new(),
                first_format_only: false,
                agreement_only: BTreeSet::new(),
                seek_reference: false,
                asked_budget_s: None,
                command: Vec::new(),
            },
            models: Vec::new(),
            samples: Vec::new(),
            files: BTreeMap::new(),
            engines: BTreeMap::new(),
            processors: BTreeMap::new(),
            duration_s: Some(1.0),
        }
    }

    fn unavailable() -> Line {
        Line::Unavailable {
            reason: "not here".into(),
        }
    }

    fn begin(folder: &Path) -> Result<Recorder> {
        Recorder::begin(folder, folder, &run())
    }

    #[test]
    fn what_was_written_can_be_read() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut recorder = begin(&dir.path().join("2026-01-01-cpu"))?;
        recorder.write("x", &unavailable())?;
        let cell = Cell {
            backend: "x".into(),
            model: "m".into(),
            format: Format::ONNX,
            knobs: Knobs::default(),
            cold_files: false,
            entry: 0,
        };
        let tensor = Tensor::new(&[2], vec![1.0, 2.0])?;
        let outputs = Outputs::from([("photo".to_string(), vec![tensor])]);
        write_outputs(recorder.folder(), &cell, &["y".into()], &outputs)?;
        let record = Record::read(&recorder.finish()?)?;
        assert_eq!(
            record.backends["x"].unavailable.as_deref(),
            Some("not here")
        );
        assert_eq!(record.outputs(&cell, &["y".into()])?, Some(outputs));
        Ok(())
    }

    #[test]
    fn an_interrupted_run_is_readable_without_the_line_that_was_cut_off() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut recorder = begin(&dir.path().join("2026-01-01-cpu"))?;
        recorder.write("x", &unavailable())?;
        let partial = recorder.folder().to_owned();
        drop(recorder);
        let path = lines::plain(&partial, "x");
        let written = std::fs::read_to_string(&path)?;
        std::fs::write(&path, written + "{\"record\":\"unavai")?;
        assert!(Record::read(&partial)?.backends["x"].unavailable.is_some());
        Ok(())
    }
}
