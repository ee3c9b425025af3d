//! Does measuring disturb? The same passes in three ways, in fresh processes, interleaved: by the
//! probe, by the engine called directly in a plain loop, and by the engine's Python package.
//!
//! What is compared is found by file names alone: a backend's `examples/direct-<backend>.rs` and
//! its `python/direct.py`. Each takes the very [`firstpass_probe::Request`] that the probe takes
//! and prints one [`Answer`].

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use firstpass_probe::Format;
use firstpass_trial::machine::Machine;
use serde::{Deserialize, Serialize};

use crate::record::{code::Code, sidecar::Sidecar};

/// Raised when the meaning of these files changes.
pub const VERSION: u32 = 1;

/// Where it is kept.
pub const SIDECAR: Sidecar = Sidecar {
    name: "overhead",
    version: VERSION,
};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OverheadSettings {
    /// Processes of each variant, at least.
    pub rounds: usize,
    /// The time for all rounds, in s. What those above leave of it goes to the engines whose figures are
    /// not precise yet, whatever these say.
    #[serde(default)]
    pub budget_s: f64,
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
    pub settings: OverheadSettings,
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
    let kept = SIDECAR.read(record)?;
    Ok(kept.map(|(run, processes)| Overhead { run, processes }))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn run() -> OverheadRun {
        OverheadRun {
            version: VERSION,
            date: "2026-01-01T00:00:00Z".into(),
            machine: Machine::observe(),
            code: Code::default(),
            settings: OverheadSettings {
                rounds: 1,
                budget_s: 0.0,
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
            format: Some(Format::ONNX),
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
        let mut recorder = SIDECAR.begin(dir.path(), dir.path(), &run())?;
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
}
