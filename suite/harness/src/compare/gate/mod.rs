//! Whether a record keeps within limits: a regression, none, or not to be told yet.

mod presence;
mod questions;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Result, ensure};
use firstpass_trial::observation::Cell;

use presence::{failed_cells, missing_engines, refused_cells, stop, was_asked};
use questions::{answers, questions};

use crate::{
    compare::{
        changes::latencies, changes_report::cell_name, limits::Limits, selection::Selection,
    },
    record::{Record, Stop},
    studies::first_passes::judge::{
        headlines::{Answer, Asked},
        latency::Latency,
    },
};

/// What is said of one limit on one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GateVerdict {
    /// The figure is below its limit.
    Kept,
    /// It may lie on either side.
    Undecided,
    /// The figure is above its limit, or what was to run did not.
    Broken,
}

impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Undecided => "undecided",
            Self::Broken => "broken",
        })
    }
}

/// What a check is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// All that was measured.
    Record,
    /// All of an engine.
    Engine(String),
    Cell(Cell),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => f.write_str("the record"),
            Self::Engine(name) => f.write_str(name),
            Self::Cell(cell) => f.write_str(&cell_name(cell)),
        }
    }
}

/// What a check saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// A ratio that must not be above a limit.
    Ratio {
        limit: f64,
        ratio: f64,
        interval: (f64, f64),
        /// What would decide it, where it is undecided.
        forecast: Option<Forecast>,
    },
    /// Why there is no ratio.
    Nothing(String),
}

/// What it would take to decide a check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Forecast {
    /// About so many more processes, which take about so many seconds.
    Processes { more: usize, seconds: f64 },
    /// The baseline has too few processes, however many the later record gets.
    LargerBaseline,
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processes { more, seconds } => write!(
                f,
                "about {more} more process{} would tell ({:.0} s)",
                if *more == 1 { "" } else { "es" },
                seconds.ceil()
            ),
            Self::LargerBaseline => f.write_str(
                "no number of processes would tell: the baseline has too few, measure it longer",
            ),
        }
    }
}

/// One limit on one cell, or that it should have run.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub subject: Subject,
    /// `pass 1 / steady`, `steady against the baseline`.
    pub what: String,
    pub finding: Finding,
    pub verdict: GateVerdict,
}

/// All checks of a gate.
#[derive(Debug, Default)]
pub struct Judged {
    pub checks: Vec<Check>,
    /// Cells of the baseline that the record was not asked to measure.
    pub not_asked: Vec<Cell>,
    /// Cells that their engines declare that they refuse.
    pub refused: Vec<Cell>,
}

/// Checks what is selected of a record; against a baseline, what that has must be there.
///
/// # Errors
/// Fails where there is nothing to check: that is no verdict.
pub fn judge(
    record: &Record,
    baseline: Option<&Record>,
    limits: &Limits,
    selection: &Selection,
) -> Result<Judged> {
    let now = latencies(record);
    let before = baseline.map(latencies).unwrap_or_default();
    let mut judged = Judged::default();
    let missing = missing_engines(record, &before, selection);
    let mut failed = failed_cells(record, selection);
    // What ran in the baseline has to run.
    let refused: Vec<&Cell> = refused_cells(record, selection)
        .into_iter()
        .filter(|cell| !before.contains_key(*cell))
        .collect();
    failed.retain(|cell, _| !refused.contains(cell));
    judged.refused = refused.iter().map(|cell| (*cell).clone()).collect();
    judged.checks.extend(missing.iter().map(|(engine, reason)| {
        did_not_run(
            Subject::Engine((*engine).into()),
            reason.clone(),
            GateVerdict::Broken,
        )
    }));
    judged.checks.extend(failed.iter().map(|(cell, reason)| {
        did_not_run(
            Subject::Cell((*cell).clone()),
            reason.clone(),
            GateVerdict::Broken,
        )
    }));
    let expected: BTreeSet<&Cell> = record.cells().into_iter().chain(before.keys()).collect();
    for cell in expected {
        let is_judged = now.contains_key(cell)
            || failed.contains_key(cell)
            || refused.contains(&cell)
            || missing.contains_key(cell.backend.as_str());
        if is_judged || !selection.has(cell) || !limits.concern(cell) {
            continue;
        }
        let stop = stop(record, cell);
        if stop.is_none() && !was_asked(record, cell) {
            judged.not_asked.push(cell.clone());
            continue;
        }
        let (verdict, reason) = match stop {
            Some(Stop::Budget) => (GateVerdict::Undecided, "no time was left for it"),
            _ => (GateVerdict::Broken, "nothing: it did not run"),
        };
        judged.checks.push(did_not_run(
            Subject::Cell(cell.clone()),
            reason.into(),
            verdict,
        ));
    }
    let whole = |cell: &&Cell| selection.has(cell) && !failed.contains_key(*cell);
    let questions = questions(&now, &before, limits, whole);
    judged.checks.extend(answers(&questions));
    ensure!(
        !judged.checks.is_empty(),
        "nothing to judge: no cell of {} answers to what was asked for; there is: {}",
        record.folder.display(),
        names(record.cells())
    );
    if record.run.duration_s.is_none() {
        judged.checks.push(Check {
            subject: Subject::Record,
            what: "is whole".into(),
            finding: Finding::Nothing("it was interrupted: what it lacks is not known".into()),
            verdict: GateVerdict::Undecided,
        });
    }
    Ok(judged)
}

/// The worst of all checks.
pub fn overall(checks: &[Check]) -> GateVerdict {
    let worst = checks.iter().map(|c| c.verdict).max();
    worst.unwrap_or(GateVerdict::Undecided)
}

/// What a gate asks while it measures by itself: whether limits are kept, of what was measured so far. What a
/// larger baseline alone would tell is not asked.
pub fn ask(latencies: &[Latency], before: &BTreeMap<Cell, Latency>, limits: &Limits) -> Asked {
    let now: BTreeMap<Cell, Latency> = latencies
        .iter()
        .map(|latency| (latency.cell.clone(), latency.clone()))
        .collect();
    let checks = answers(&questions(&now, before, limits, |_| true));
    let open = checks.iter().filter_map(|check| {
        let (Subject::Cell(cell), Finding::Ratio { forecast, .. }) =
            (&check.subject, &check.finding)
        else {
            return None;
        };
        let Forecast::Processes { more, .. } = (*forecast)? else {
            return None;
        };
        Some(Answer::Open {
            cells: BTreeSet::from([cell.clone()]),
            rounds: Some(now.get(cell)?.processes.len() + more),
        })
    });
    Asked {
        open: open.collect(),
        all: checks.len(),
    }
}

fn names(cells: BTreeSet<&Cell>) -> String {
    let names: Vec<String> = cells.into_iter().map(cell_name).collect();
    if names.is_empty() {
        "no cell at all".into()
    } else {
        names.join("; ")
    }
}

fn did_not_run(subject: Subject, reason: String, verdict: GateVerdict) -> Check {
    Check {
        subject,
        what: "runs".into(),
        finding: Finding::Nothing(reason),
        verdict,
    }
}
