//! Does measuring disturb? The same passes in three ways, in fresh processes, interleaved: by the
//! probe, by the engine called directly in a plain loop, and by the engine's Python package.
//!
//! What is compared is found by file names alone: a backend's `examples/direct-<backend>.rs` and
//! its `python/direct.py`. Each takes the very [`firstpass_probe::Request`] that the probe takes
//! and prints one [`Answer`].

mod measure;
mod program;
mod python;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::{Format, Request, Trial};
use serde::{Deserialize, Serialize};

use crate::machine::{Code, Machine};

pub use measure::measure;

/// Raised when the meaning of these files changes.
pub const VERSION: u32 = 1;

/// The folder inside of a record.
const FOLDER: &str = "overhead";

/// Its name as long as the measuring goes on.
const PARTIAL: &str = "overhead.partial";

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Processes of each variant.
    pub rounds: usize,
    /// Passes of each process.
    pub passes: usize,
    pub threads: usize,
    /// Whether the Python packages were wanted.
    pub python: bool,
}

/// `run.json`: what the measuring was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OverheadRun {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub machine: Machine,
    pub code: Code,
    #[serde(flatten)]
    pub settings: Settings,
    /// What one reading of the probe's clock takes, in ns: every timed span holds one.
    pub clock_read_ns: f64,
}

/// In which way a process ran the passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Through the trait, timed by the probe, as in every report.
    Probe,
    /// The engine called in a plain loop, from Rust.
    Direct,
    /// The engine's Python package, in a plain loop.
    Python,
}

/// What an example or a script prints as its last line: one process, one plain loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The engine's version, as it says itself.
    pub engine: String,
    /// The wall time of each pass, in ns.
    pub passes_ns: Vec<u64>,
    /// SHA-256 over the little-endian f32 values of all outputs of the last pass, in hexadecimal.
    pub outputs_sha256: String,
}

impl Answer {
    /// The answer as it is printed.
    ///
    /// # Errors
    /// Fails where a value cannot be written as JSON.
    pub fn to_line(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// Reads the request in the argument of an example.
///
/// # Errors
/// Fails on what is no request to run passes.
pub fn request(argument: &str) -> Result<Trial> {
    match serde_json::from_str(argument) {
        Ok(Request::Trial(trial)) => Ok(trial),
        Ok(_) => bail!("only a trial can be run, not another request"),
        Err(error) => {
            Err(error).context("the only argument must be a request for a trial, as JSON")
        }
    }
}

/// One process, as one line of a backend's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverheadProcess {
    pub variant: Variant,
    /// Processes of one round ran one after the other; ratios are taken within a round.
    pub round: usize,
    /// `None` where the backend failed before a model could be chosen for it; so is `format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    pub threads: usize,
    /// The engine's version, as it says itself; `None` where the process failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// One-minute load average of the machine just before the process was started.
    pub load_average: f64,
    /// The wall time of each pass, in ns.
    pub passes_ns: Vec<u64>,
    /// Of the probe only: from the end of each timed pass to the start of the next, in ns. That is
    /// what measuring costs outside of what it times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps_ns: Vec<u64>,
    /// SHA-256 over the little-endian f32 values of all outputs of the last pass, in hexadecimal: the
    /// same for two variants means that they computed the same bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_sha256: Option<String>,
    /// Why there is nothing; `None` where all went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Overhead {
    pub run: OverheadRun,
    /// By backend, in the order in which they ran.
    pub processes: BTreeMap<String, Vec<OverheadProcess>>,
}

/// Reads what was measured beside a record; `None` where nothing was.
///
/// # Errors
/// Fails where a file is there and cannot be read, or is of another version.
pub fn read(record: &Path) -> Result<Option<Overhead>> {
    let folder = record.join(FOLDER);
    if !folder.is_dir() {
        return Ok(None);
    }
    let path = folder.join("run.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let run: OverheadRun = serde_json::from_str(&text)
        .with_context(|| format!("{} is not as expected", path.display()))?;
    ensure!(
        run.version == VERSION,
        "{} has version {}, this firstpass reads {VERSION}; run `cargo firstpass overhead` again",
        path.display(),
        run.version
    );
    let mut processes = BTreeMap::new();
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "jsonl")
            && let Some(name) = path.file_stem().and_then(|n| n.to_str())
        {
            processes.insert(name.to_owned(), read_processes(&path)?);
        }
    }
    Ok(Some(Overhead { run, processes }))
}

/// Moves what was measured beside an older record to a newer one that was made by the same code.
///
/// # Errors
/// Fails where the folder is there and cannot be read or moved.
pub fn take_over(older: &Path, newer: &Path, code: &Code) -> Result<()> {
    let same_code = |overhead: Overhead| overhead.run.code.measured_sha256 == code.measured_sha256;
    // One that cannot be read any more is of other code.
    if read(older).ok().flatten().is_some_and(same_code) {
        fs::rename(older.join(FOLDER), newer.join(FOLDER))
            .with_context(|| format!("cannot move {}", older.join(FOLDER).display()))?;
    }
    Ok(())
}

fn read_processes(path: &Path) -> Result<Vec<OverheadProcess>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let lines = BufReader::new(file).lines().enumerate();
    let processes = lines.map(|(number, line)| {
        line.map_err(anyhow::Error::from)
            .and_then(|text| Ok(serde_json::from_str(&text)?))
            .with_context(|| format!("{}, line {}", path.display(), number + 1))
    });
    processes.collect()
}

/// What is being written.
#[derive(Debug)]
struct Recorder {
    record: PathBuf,
    files: BTreeMap<String, File>,
    /// Left out of every line: where a user keeps a checkout is nobody's business.
    root: String,
}

impl Recorder {
    /// Begins in the folder of a record. Earlier measurements of that record stay in their place
    /// until [`Recorder::finish`]; only what an interrupted run left is removed.
    ///
    /// # Errors
    /// Fails where the folder cannot be written.
    fn begin(record: &Path, root: &Path, run: &OverheadRun) -> Result<Self> {
        let folder = record.join(PARTIAL);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let write = || -> Result<()> {
            fs::create_dir(&folder)?;
            let json = serde_json::to_string_pretty(run)?;
            Ok(fs::write(folder.join("run.json"), json + "\n")?)
        };
        write().with_context(|| {
            format!(
                "cannot write to {}; give the folder of a record that can be written with --record",
                folder.display()
            )
        })?;
        Ok(Self {
            record: record.into(),
            files: BTreeMap::new(),
            root: format!("{}{}", root.display(), std::path::MAIN_SEPARATOR),
        })
    }

    /// Where it is written now.
    fn folder(&self) -> PathBuf {
        self.record.join(PARTIAL)
    }

    /// Appends one line.
    ///
    /// # Errors
    /// Fails where the file cannot be written, for example on a full disk; earlier lines stay.
    fn write(&mut self, backend: &str, process: &OverheadProcess) -> Result<()> {
        let path = self.folder().join(format!("{backend}.jsonl"));
        let context = || format!("cannot write to {}; what it holds is kept", path.display());
        if !self.files.contains_key(backend) {
            let file = File::create(&path).with_context(context)?;
            self.files.insert(backend.into(), file);
        }
        let json = serde_json::to_string(process)?.replace(&self.root, "") + "\n";
        match self.files.get_mut(backend) {
            Some(file) => file.write_all(json.as_bytes()).with_context(context),
            None => Ok(()),
        }
    }

    /// Puts what was written in the place of earlier measurements; returns that place.
    ///
    /// # Errors
    /// Fails where the folder cannot be renamed.
    fn finish(self) -> Result<PathBuf> {
        let folder = self.record.join(FOLDER);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot replace {}", folder.display()))?;
        }
        fs::rename(self.folder(), &folder)
            .with_context(|| format!("cannot rename {}", self.folder().display()))?;
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> OverheadRun {
        OverheadRun {
            version: VERSION,
            date: "2026-01-01T00:00:00Z".into(),
            machine: Machine::observe(),
            code: Code {
                commit: None,
                measured_sha256: String::new(),
            },
            settings: Settings {
                rounds: 1,
                passes: 2,
                threads: 1,
                python: true,
            },
            clock_read_ns: 20.0,
        }
    }

    fn process(variant: Variant) -> OverheadProcess {
        OverheadProcess {
            variant,
            round: 0,
            model: Some("m".into()),
            format: Some(Format::Onnx),
            threads: 1,
            engine: Some("1.2".into()),
            load_average: 0.5,
            passes_ns: vec![3, 2],
            gaps_ns: Vec::new(),
            outputs_sha256: Some("0123456789abcdef".into()),
            failure: None,
        }
    }

    #[test]
    fn what_was_written_can_be_read() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(read(dir.path())?.is_none());
        let mut recorder = Recorder::begin(dir.path(), dir.path(), &run())?;
        let mut probe = process(Variant::Probe);
        probe.gaps_ns = vec![1];
        let mut failed = process(Variant::Python);
        failed.passes_ns.clear();
        failed.failure = Some(format!("no {}/module", dir.path().display()));
        recorder.write("x", &probe)?;
        recorder.write("x", &failed)?;
        recorder.finish()?;

        let read = read(dir.path())?.context("nothing there")?;
        assert_eq!(read.run.settings, run().settings);
        failed.failure = Some("no module".into());
        assert_eq!(read.processes["x"], [probe, failed]);
        Ok(())
    }

    #[test]
    fn earlier_measurements_stay_until_the_new_ones_are_complete() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let measured = |round| -> Result<Recorder> {
            let mut recorder = Recorder::begin(dir.path(), Path::new("/nowhere"), &run())?;
            let process = process(Variant::Direct);
            recorder.write("x", &OverheadProcess { round, ..process })?;
            Ok(recorder)
        };
        let round = || -> Result<usize> {
            let overhead = read(dir.path())?.context("nothing there")?;
            Ok(overhead.processes["x"][0].round)
        };
        measured(1)?.finish()?;
        drop(measured(2)?);
        assert_eq!(round()?, 1);
        measured(3)?.finish()?;
        assert_eq!(round()?, 3);
        assert!(!dir.path().join(PARTIAL).exists());
        Ok(())
    }

    #[test]
    fn the_same_code_takes_over_what_was_measured() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (older, newer) = (dir.path().join("older"), dir.path().join("newer"));
        fs::create_dir_all(&older)?;
        fs::create_dir_all(&newer)?;
        Recorder::begin(&older, dir.path(), &run())?.finish()?;
        let other = Code {
            commit: None,
            measured_sha256: "other".into(),
        };
        take_over(&older, &newer, &other)?;
        assert!(read(&newer)?.is_none());
        take_over(&older, &newer, &run().code)?;
        assert!(read(&newer)?.is_some() && read(&older)?.is_none());
        Ok(())
    }

    #[test]
    fn a_malformed_line_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let recorder = Recorder::begin(dir.path(), dir.path(), &run())?;
        fs::write(recorder.folder().join("x.jsonl"), "{\"variant\":\"pro")?;
        recorder.finish()?;
        let error = read(dir.path()).expect_err("must fail");
        assert!(format!("{error:#}").contains("line 1"), "{error:#}");
        Ok(())
    }
}
