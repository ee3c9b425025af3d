//! `run.json`: what a run was, without its measurements.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_probe::Knobs;
use firstpass_trial::{affinity::Affinity, machine::Machine, regular_file};
use serde::{Deserialize, Serialize};

use crate::record::code::Code;

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
    /// as `places` has named it.
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
    /// run. Empty where another command does. It stands beside the record: see `typed`.
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
