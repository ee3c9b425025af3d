//! Records on disk: a folder with `run.json`, one JSON-lines file per backend, and the outputs.
//!
//! Each line is written and flushed as soon as it is known, so that an interruption loses nothing
//! that was measured. While a run goes on its folder ends in `.partial`.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_probe::{Arithmetic, Description, Knobs, Tensor, read_tensors, write_tensors};
use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    cure, explain,
    machine::Machine,
    observation::{Cell, Observation},
    overhead,
    placement::Placement,
    zoo,
};

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
    pub settings: Settings,
    /// The `model.toml` of each model, and each photograph; relative to the workspace if below it.
    pub models: Vec<PathBuf>,
    pub photos: Vec<PathBuf>,
    /// SHA-256 of each model file, by its path.
    pub files: BTreeMap<PathBuf, String>,
    /// `None` until the run has come to its end.
    pub duration_s: Option<f64>,
}

/// How much was measured, and when it was to be enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
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
    #[serde(default)]
    pub placement: Placement,
    /// Whether every cell was measured with cold files as well.
    #[serde(default)]
    pub cold_files: bool,
    /// So many equal entries of each cell were measured: 2 in an A/A run.
    pub entries: usize,
    /// Settings that were measured beside the defaults, by backend.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variants: BTreeMap<String, Vec<Knobs>>,
    /// Whether only the format was measured that the engine's users would choose.
    #[serde(default)]
    pub first_format_only: bool,
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
    /// It had the most processes that a cell gets.
    Processes,
    /// The time was used up, or its share of it.
    Budget,
    /// A process of it did not complete.
    Failed,
}

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

/// Outputs by photograph, in the order of the model's outputs.
pub type Outputs = BTreeMap<String, Vec<Tensor>>;

/// A record that is being written.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    files: BTreeMap<String, File>,
    run: Run,
    /// Left out of every line: where a user keeps a checkout is nobody's business.
    root: String,
}

/// A record that was read.
#[derive(Debug)]
pub struct Record {
    pub folder: PathBuf,
    pub run: Run,
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

impl Recorder {
    /// Begins a record in `folder` of what is measured in the workspace `root`. The folder's name
    /// ends in `.partial` until [`Recorder::finish`]; what an interrupted run left there is moved
    /// aside, not lost.
    ///
    /// # Errors
    /// Fails where the folder cannot be written.
    pub fn begin(folder: &Path, root: &Path, run: Run) -> Result<Self> {
        let partial = partial(folder);
        if partial.exists() {
            let mut number = 1;
            let aside = loop {
                let aside = folder.with_extension(format!("interrupted-{number}"));
                if !aside.exists() {
                    break aside;
                }
                number += 1;
            };
            std::fs::rename(&partial, &aside)
                .with_context(|| format!("cannot move {} aside", partial.display()))?;
        }
        std::fs::create_dir_all(partial.join("outputs")).with_context(|| {
            format!(
                "cannot write records to {}; give a writable folder with --out",
                partial.display()
            )
        })?;
        let recorder = Self {
            folder: partial,
            files: BTreeMap::new(),
            run,
            root: format!("{}{}", root.display(), std::path::MAIN_SEPARATOR),
        };
        recorder.write_run()?;
        Ok(recorder)
    }

    /// Where it is written now.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends one line and flushes it.
    ///
    /// # Errors
    /// Fails where the file cannot be written, for example on a full disk; earlier lines stay.
    pub fn write(&mut self, backend: &str, line: &Line) -> Result<()> {
        let path = self.folder.join(format!("{backend}.jsonl"));
        let context = || format!("cannot write to {}; what it holds is kept", path.display());
        if !self.files.contains_key(backend) {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            self.files
                .insert(backend.into(), file.with_context(context)?);
        }
        let json = serde_json::to_string(line)?.replace(&self.root, "") + "\n";
        match self.files.get_mut(backend) {
            Some(file) => file.write_all(json.as_bytes()).with_context(context),
            None => Ok(()),
        }
    }

    /// Keeps the outputs of one cell.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn write_outputs(&self, cell: &Cell, names: &[String], outputs: &Outputs) -> Result<()> {
        let named = outputs.iter().flat_map(|(image, tensors)| {
            names
                .iter()
                .zip(tensors)
                .map(move |(name, tensor)| (format!("{image}/{name}"), tensor))
        });
        Ok(write_tensors(&self.folder.join(outputs_file(cell)), named)?)
    }

    /// Ends the record and gives it its name; an older record of that name is replaced. What was
    /// measured beside that is taken over where the code is the same.
    ///
    /// # Errors
    /// Fails where the folder cannot be renamed.
    pub fn finish(mut self, duration_s: f64) -> Result<PathBuf> {
        self.run.duration_s = Some(duration_s);
        self.write_run()?;
        let folder = self.folder.with_extension("");
        if folder.exists() {
            for beside in [overhead::BESIDE, explain::BESIDE] {
                beside.take_over(&folder, &self.folder, &self.run.code)?;
            }
            cure::take_over(&folder, &self.folder, &self.run.code)?;
            zoo::take_over(&folder, &self.folder, &self.run.code)?;
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot replace {}", folder.display()))?;
        }
        std::fs::rename(&self.folder, &folder)
            .with_context(|| format!("cannot rename {}", self.folder.display()))?;
        Ok(folder)
    }

    fn write_run(&self) -> Result<()> {
        let path = self.folder.join("run.json");
        let json = serde_json::to_string_pretty(&self.run)?;
        std::fs::write(&path, json + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Record {
    /// # Errors
    /// Fails where `run.json` or a line is malformed; a last line that was cut off by an
    /// interruption is left out.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("run.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("{} is not a record: cannot read run.json", folder.display())
        })?;
        let run: Run = serde_json::from_str(&text)
            .with_context(|| format!("{} is not as expected", path.display()))?;
        anyhow::ensure!(
            run.version == VERSION,
            "{} has version {}, this firstpass reads {VERSION}; measure again",
            path.display(),
            run.version
        );
        let mut backends = BTreeMap::new();
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "jsonl")
                && let Some(name) = path.file_stem().and_then(|n| n.to_str())
            {
                backends.insert(name.to_owned(), BackendRecord::read(&path)?);
            }
        }
        Ok(Self {
            folder: folder.into(),
            run,
            backends,
        })
    }

    /// The outputs that a cell gave for each photograph; `None` where it gave none.
    ///
    /// # Errors
    /// Fails where the file is there and cannot be read.
    pub fn outputs(&self, cell: &Cell, names: &[String]) -> Result<Option<Outputs>> {
        let path = self.folder.join(outputs_file(cell));
        if !path.is_file() {
            return Ok(None);
        }
        let (mut tensors, _) = read_tensors(&path)?;
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

    /// Every observation of every backend.
    pub fn observations(&self) -> impl Iterator<Item = &Observation> {
        self.backends.values().flat_map(|b| &b.observations)
    }
}

impl BackendRecord {
    fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let lines: Vec<String> = BufReader::new(file)
            .lines()
            .collect::<Result<_, _>>()
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut record = Self::default();
        for (number, text) in lines.iter().enumerate() {
            match serde_json::from_str(text) {
                Ok(Line::Description(description)) => record.description = Some(description),
                Ok(Line::Unavailable { reason }) => record.unavailable = Some(reason),
                Ok(Line::Arithmetic { cell, arithmetic }) => {
                    record.arithmetic.push((cell, Ok(arithmetic)));
                }
                Ok(Line::NoArithmetic { cell, reason }) => {
                    record.arithmetic.push((cell, Err(reason)));
                }
                Ok(Line::Observation(observation)) => record.observations.push(*observation),
                Ok(Line::Stop { cell, reason }) => record.stops.push((cell, reason)),
                // Cut off by an interruption in the middle of a write.
                Err(_) if number + 1 == lines.len() => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("{}, line {}", path.display(), number + 1));
                }
            }
        }
        Ok(record)
    }
}

fn partial(folder: &Path) -> PathBuf {
    folder.with_extension("partial")
}

fn outputs_file(cell: &Cell) -> PathBuf {
    let knobs = cell.knobs.iter_except_threads();
    let setting: String = knobs
        .map(|(name, value)| format!("-{name}={value}"))
        .collect();
    Path::new("outputs").join(format!(
        "{}-{}-{}{setting}.safetensors",
        cell.backend,
        cell.model,
        cell.format.key()
    ))
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
            backends,
        }
    }

    pub(crate) fn run() -> Run {
        Run {
            version: VERSION,
            date: "2026-01-01T00:00:00Z".into(),
            machine: Machine::observe(),
            code: Code {
                commit: None,
                measured_sha256: String::new(),
            },
            settings: Settings {
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
                placement: Placement::default(),
                cold_files: false,
                entries: 1,
                variants: BTreeMap::new(),
                first_format_only: false,
            },
            models: Vec::new(),
            photos: Vec::new(),
            files: BTreeMap::new(),
            duration_s: None,
        }
    }

    fn unavailable() -> Line {
        Line::Unavailable {
            reason: "not here".into(),
        }
    }

    #[test]
    fn what_was_written_can_be_read() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join("2026-01-01-cpu");
        let mut recorder = Recorder::begin(&folder, dir.path(), run())?;
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
        recorder.write_outputs(&cell, &["y".into()], &outputs)?;
        let record = Record::read(&recorder.finish(1.0)?)?;
        assert_eq!(
            record.backends["x"].unavailable.as_deref(),
            Some("not here")
        );
        assert_eq!(record.outputs(&cell, &["y".into()])?, Some(outputs));
        Ok(())
    }

    #[test]
    fn an_interrupted_run_is_kept_and_readable() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join("2026-01-01-cpu");
        let mut recorder = Recorder::begin(&folder, dir.path(), run())?;
        recorder.write("x", &unavailable())?;
        let partial = recorder.folder().to_owned();
        drop(recorder);
        let mut file = OpenOptions::new()
            .append(true)
            .open(partial.join("x.jsonl"))?;
        file.write_all(b"{\"record\":\"unavai")?;
        assert!(Record::read(&partial)?.backends["x"].unavailable.is_some());

        Recorder::begin(&folder, dir.path(), run())?;
        let aside = folder.with_extension("interrupted-1");
        assert!(Record::read(&aside)?.backends["x"].unavailable.is_some());
        Ok(())
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("file");
        std::fs::write(&file, b"")?;
        let error =
            Recorder::begin(&file.join("record"), dir.path(), run()).expect_err("must fail");
        assert!(format!("{error:#}").contains("--out"), "{error:#}");
        Ok(())
    }
}
