//! What was observed of one probe process. All judging is a function of observations.

use std::{collections::BTreeMap, fmt};

use firstpass_probe::{Error, ErrorKind, Format, Knobs, Pass, Span, THREADS};
use serde::{Deserialize, Serialize};

use crate::{
    page_cache::Eviction,
    patience::{LEAST_TIMEOUT, TIMEOUT},
    system_counters::SystemCounters,
};

/// What is compared with what: a row of the report is one cell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    pub backend: String,
    pub model: String,
    pub format: Format,
    pub knobs: Knobs,
    /// Whether model and library files were taken out of the page cache before each process.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cold_files: bool,
    /// Which of several equal entries it is, from 0: an A/A run has two of each.
    #[serde(default, skip_serializing_if = "is_default")]
    pub entry: usize,
}

impl Cell {
    pub fn threads(&self) -> usize {
        self.knobs.threads()
    }

    /// Whether the engine runs as its users find it.
    pub fn is_default(&self) -> bool {
        self.knobs.settings().next().is_none()
    }

    /// The same cell with the engine as its users find it.
    #[must_use]
    pub fn default_of(&self) -> Self {
        Self {
            knobs: Knobs::default().with(THREADS, self.threads()),
            ..self.clone()
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a process was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A few passes over every photograph, with the outputs kept.
    Agreement,
    /// Many passes over one photograph, timed.
    Latency,
    /// One pass over every photograph, with the outputs kept, of what stands in for golden outputs: the referee,
    /// or an engine without its optimizations.
    Reference,
}

/// One probe process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Observation {
    #[serde(flatten)]
    pub cell: Cell,
    pub purpose: Purpose,
    /// Processes of one round were interleaved; ratios are taken within a round.
    pub round: usize,
    /// The photographs, by the number that a [`Pass`] gives.
    pub images: Vec<String>,
    /// What the rest of the machine did meanwhile.
    #[serde(rename = "surroundings")]
    pub system_counters: SystemCounters,
    /// What became of the files that were to be evicted, for a cell with cold files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction: Option<Eviction>,
    #[serde(flatten)]
    pub process: Process,
}

impl Observation {
    /// One that was written as JSON; what else is said there is not read.
    ///
    /// # Errors
    /// Fails on what is none.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

/// What a probe process said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub outcome: Outcome,
    /// On the monotonic clock, just before the spawn.
    pub spawned_ns: u64,
    /// When `main` began; what lies before is process start and dynamic linking.
    pub main_ns: Option<u64>,
    pub started: Option<Span>,
    pub loaded: Option<Span>,
    pub prepared: Option<Span>,
    /// Each time that it was prepared for inputs of other shapes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepared_again: Vec<Span>,
    /// The pass on zeros before the first real one, where a knob asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmed_up: Option<Span>,
    pub passes: Vec<Pass>,
    pub peak_memory_kib: Option<u64>,
    /// The reference work after the last pass; see [`Span::reference_ns`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reference_ns: Option<u64>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

/// How a probe process ended. Every outcome is a row of the report, never a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Completed,
    /// A step failed and the probe said so.
    Failed(Error),
    /// The process ended without a last word.
    Crashed {
        /// `signal 9 (SIGKILL)` or `exit code 3`.
        how: String,
        after: Stage,
    },
    TimedOut {
        seconds: u64,
        after: Stage,
    },
    /// Its standard output held something that is not a message.
    Garbled {
        line: String,
        after: Stage,
    },
    /// The process could not be started.
    NotStarted(String),
}

/// The last thing that a probe said before it fell silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Spawn,
    Hello,
    Started,
    Loaded,
    Prepared,
    /// So many passes were done.
    Passes(usize),
}

impl Process {
    pub fn new(spawned_ns: u64) -> Self {
        Self {
            outcome: Outcome::Completed,
            spawned_ns,
            main_ns: None,
            started: None,
            loaded: None,
            prepared: None,
            prepared_again: Vec::new(),
            warmed_up: None,
            passes: Vec::new(),
            peak_memory_kib: None,
            last_reference_ns: None,
            stderr: String::new(),
        }
    }

    pub fn completed(&self) -> bool {
        self.outcome == Outcome::Completed
    }

    pub fn stage(&self) -> Stage {
        if !self.passes.is_empty() {
            Stage::Passes(self.passes.len())
        } else if self.prepared.is_some() {
            Stage::Prepared
        } else if self.loaded.is_some() {
            Stage::Loaded
        } else if self.started.is_some() {
            Stage::Started
        } else if self.main_ns.is_some() {
            Stage::Hello
        } else {
            Stage::Spawn
        }
    }

    /// From the spawn to the first outputs, in ns: what a user pays before the first answer.
    /// Reading the input tensor, which is ours, is not part of it.
    pub fn cold_start_ns(&self) -> Option<u64> {
        let spans = [
            self.started?,
            self.loaded?,
            self.prepared?,
            self.passes.first()?.span,
        ];
        let warm_up = self.warmed_up.map_or(0, |span| span.wall_ns);
        let all = spans.iter().map(|span| span.wall_ns);
        let all = all.chain([warm_up, self.process_start_ns()?]);
        // A record is a file, and may hold any number.
        Some(all.fold(0, u64::saturating_add))
    }

    /// The digest of the first outputs for each photograph: slow engines pass over it only once.
    pub fn first_digests(&self) -> BTreeMap<usize, &str> {
        let mut digests = BTreeMap::new();
        for pass in &self.passes {
            digests.entry(pass.input).or_insert(pass.digest.as_str());
        }
        digests
    }

    /// Whether another process gave the same bits for every photograph that both have seen; `None`
    /// where there is none.
    pub fn same_bits(&self, other: &Self) -> Option<bool> {
        let (own, others) = (self.first_digests(), other.first_digests());
        let common = own
            .iter()
            .filter_map(|(input, digest)| Some((digest, others.get(input)?)));
        let same: Vec<bool> = common.map(|(a, b)| a == b).collect();
        (!same.is_empty()).then(|| same.into_iter().all(|same| same))
    }

    /// From the spawn to `main`, in ns.
    pub fn process_start_ns(&self) -> Option<u64> {
        Some(self.main_ns?.saturating_sub(self.spawned_ns))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Failed(error) if error.kind == ErrorKind::Unavailable => {
                write!(f, "unavailable: {}", error.chain.join(": "))
            }
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Crashed { how, after } => write!(f, "crashed with {how} {after}"),
            Self::TimedOut { seconds, after } => {
                write!(f, "killed after {seconds} s without an end, {after}")?;
                let most = TIMEOUT.as_secs();
                if (LEAST_TIMEOUT.as_secs()..most).contains(seconds) {
                    write!(f, " (a longer --budget gives it up to {most} s)")?;
                }
                Ok(())
            }
            Self::Garbled { line, after } => {
                write!(
                    f,
                    "printed something that is not a message {after}: {line:?}"
                )
            }
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn => f.write_str("before main"),
            Self::Hello => f.write_str("while the engine started"),
            Self::Started => f.write_str("while the model was loaded"),
            Self::Loaded => f.write_str("while the model was prepared"),
            Self::Prepared => f.write_str("in pass 1"),
            Self::Passes(n) => write!(f, "after pass {n}"),
        }
    }
}
