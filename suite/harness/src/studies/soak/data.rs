//! What is kept of a soak: every process, a line each, and what became of the batch.

use std::{collections::BTreeMap, fmt};

use firstpass_probe::Knobs;
use firstpass_trial::{machine::Machine, observation::Process};
use serde::{Deserialize, Serialize};

use crate::record::{code::Code, sidecar::Sidecar};

/// Raised when the meaning of these files changes.
pub const VERSION: u32 = 1;

/// Where it is kept.
pub const SIDECAR: Sidecar = Sidecar {
    name: "soak",
    version: VERSION,
};

/// What the measuring was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SoakRun {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub machine: Machine,
    pub code: Code,
    pub model: String,
    #[serde(flatten)]
    pub settings: SoakSettings,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SoakSettings {
    /// Of all engines together, in s.
    pub budget_s: f64,
    pub threads: usize,
}

/// What a process was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// A few passes, to see how fast it is.
    Look,
    /// Thousands of passes, each with the memory after it.
    Memory,
    /// Passes after pauses.
    Pauses,
    /// A session alone in its process.
    Alone,
    /// The same with a second one beside it.
    Beside,
    /// Ordinary and denormal inputs in turns.
    Denormals,
    /// The same while the engine takes denormal numbers as 0.
    DenormalsAsZero,
    /// Single passes, and batches of them.
    Batch,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look => "its first passes",
            Self::Memory => "memory",
            Self::Pauses => "pauses",
            Self::Alone => "a session alone",
            Self::Beside => "two sessions",
            Self::Denormals => "denormal inputs",
            Self::DenormalsAsZero => "denormal inputs, taken as 0",
            Self::Batch => "a batch",
        })
    }
}

/// One line of what is kept of an engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum Line {
    Process(Box<SoakProcess>),
    Batch(Batch),
}

/// One process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SoakProcess {
    pub question: Question,
    /// Processes of one round were interleaved.
    pub round: usize,
    pub knobs: Knobs,
    /// As it was asked for: see `pauses` of a trial.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pauses: BTreeMap<usize, u64>,
    #[serde(flatten)]
    pub process: Process,
}

/// A batch compared with single passes on the same inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Inputs in it.
    pub size: usize,
    /// Values of all outputs that belong to one input each.
    pub values: usize,
    /// Values with other bits than in the single pass.
    pub other_than_single: usize,
    /// The largest difference of these.
    pub most: f64,
    /// Values of the first input of two batches that share only this input.
    pub shared: usize,
    /// Of these, those with other bits.
    pub by_neighbours: usize,
    /// Outputs whose first axis is not that of the batch: they cannot be compared.
    pub without_batch: Vec<String>,
    /// Operators of the file that take one scale for a whole batch, such as `2 DynamicQuantizeLinear`, where values
    /// depend on their neighbours.
    #[serde(default)]
    pub scaled_by_batch: Vec<String>,
}
