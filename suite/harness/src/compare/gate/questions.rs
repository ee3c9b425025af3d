//! Whether each ratio keeps its limit, all of them judged as one family.

use std::collections::BTreeMap;

use anyhow::Result;
use firstpass_statistics::comparison::{Comparison, INTERVAL, normal_quantile, spent, sure};
use firstpass_trial::observation::Cell;

use super::{Check, Finding, Forecast, GateVerdict, Subject};
use crate::{
    compare::{
        changes::changes,
        limits::{Growth, Limits, Times},
    },
    studies::first_passes::judge::latency::{Figure, Latency},
};

/// How often a limit may be called broken, over all checks of a gate, or kept, of a single one, where the
/// truth lies just at the other side of it. A truth farther off is mistaken far more rarely.
const WRONG: f64 = 1.0 - INTERVAL;

/// A ratio that lies on its limit could be measured for ever.
const MOST_FORECAST: usize = 1000;

/// Whether a ratio is above its limit.
pub(super) struct Question<'a> {
    pub(super) cell: &'a Cell,
    pub(super) what: String,
    pub(super) limit: f64,
    /// With the part of its error that stays as it is, and how long a process takes, in s; or why there is
    /// none.
    pub(super) ratio: Result<(Comparison, f64, f64), &'static str>,
}

pub(super) fn questions<'a>(
    now: &'a BTreeMap<Cell, Latency>,
    before: &BTreeMap<Cell, Latency>,
    limits: &Limits,
    is_asked: impl Fn(&&Cell) -> bool,
) -> Vec<Question<'a>> {
    let mut questions = Vec::new();
    let asked = || now.iter().filter(|(cell, _)| is_asked(cell));
    if let Some(Times(limit)) = limits.first_pass {
        for (cell, latency) in asked().filter(|(cell, _)| !cell.cold_files) {
            let first = latency.first_over_steady;
            questions.push(Question {
                cell,
                what: "pass 1 / steady".into(),
                limit,
                ratio: first
                    .map(|first| (first.0, 0.0, process_seconds(latency)))
                    .ok_or("no process has both"),
            });
        }
    }
    for (figure, limit) in [
        (Figure::Steady, limits.steady),
        (Figure::ColdStart, limits.cold_start),
    ] {
        let Some(Growth(limit)) = limit else { continue };
        let changes = changes(before, now, figure);
        let comparable = |cell: &Cell| before.contains_key(cell) && concerns(figure, cell);
        for (cell, latency) in asked().filter(|(cell, _)| comparable(cell)) {
            let change = changes.iter().find(|change| change.cell == *cell);
            questions.push(Question {
                cell,
                what: format!("{figure} against the baseline"),
                limit: 1.0 + limit,
                ratio: change
                    .map(|c| (c.comparison, c.error_before, process_seconds(latency)))
                    .ok_or("one of the records does not tell it"),
            });
        }
    }
    questions
}

/// Whether a cell has this figure: with cold files a process is over before it could be steady.
fn concerns(figure: Figure, cell: &Cell) -> bool {
    figure == Figure::ColdStart || !cell.cold_files
}

impl Limits {
    /// Whether there is a limit on any figure of a cell.
    pub(super) fn concern(&self, cell: &Cell) -> bool {
        self.cold_start.is_some() || !cell.cold_files
    }
}

/// What a process of a cell takes from its spawn to its end, in s.
fn process_seconds(latency: &Latency) -> f64 {
    let whole = latency.processes.iter().map(|process| {
        let later: f64 = process.times.iter().skip(1).sum();
        (process.cold_start.unwrap_or(0.0) + later) / 1000.0
    });
    firstpass_statistics::median(whole).unwrap_or(0.0)
}

/// Each limit is tested on one side, and a gate looks again and again while it measures, so that each look
/// has a share of the level. All limits that are called broken are one family, so that a gate with many
/// cells cries wolf no more often than one with few.
pub(super) fn answers(questions: &[Question]) -> Vec<Check> {
    let p_above = |question: &Question| match &question.ratio {
        Ok((comparison, ..)) => comparison.p_above(question.limit),
        Err(_) => 1.0,
    };
    let share = |question: &Question| match &question.ratio {
        Ok((comparison, ..)) => spent(comparison.samples),
        Err(_) => 1.0,
    };
    let p: Vec<f64> = questions.iter().map(p_above).collect();
    let at_this_look: Vec<f64> = questions
        .iter()
        .zip(&p)
        .map(|(question, p)| (p / share(question)).min(1.0))
        .collect();
    let broken = sure(&at_this_look, WRONG);
    let all = questions.iter().zip(p).zip(broken);
    all.map(|((question, p), broken)| {
        let (verdict, finding) = match question.ratio {
            Err(why) => (GateVerdict::Undecided, Finding::Nothing(why.into())),
            Ok((comparison, fixed, seconds)) => {
                let verdict = match broken {
                    true => GateVerdict::Broken,
                    false if 1.0 - p <= WRONG * share(question) => GateVerdict::Kept,
                    false => GateVerdict::Undecided,
                };
                let forecast = (verdict == GateVerdict::Undecided).then(|| {
                    forecast(&comparison, question.limit, fixed, seconds, questions.len())
                });
                let finding = Finding::Ratio {
                    limit: question.limit,
                    ratio: comparison.ratio,
                    interval: comparison.interval,
                    forecast,
                };
                (verdict, finding)
            }
        };
        Check {
            subject: Subject::Cell(question.cell.clone()),
            what: question.what.clone(),
            finding,
            verdict,
        }
    })
    .collect()
}

/// What more processes would do if the ratio stayed as it is: they lessen the error but for the part
/// that the baseline has.
fn forecast(
    comparison: &Comparison,
    limit: f64,
    fixed: f64,
    process_s: f64,
    all: usize,
) -> Forecast {
    let distance = comparison.ratio.ln() - limit.ln();
    // What breaks a limit has to stand out among all.
    let wrong = if distance > 0.0 {
        WRONG / all as f64
    } else {
        WRONG
    };
    let wanted = distance.abs() / normal_quantile(1.0 - wrong * spent(comparison.samples));
    let of_processes = comparison.error().powi(2) - fixed.powi(2);
    let allowed = wanted.powi(2) - fixed.powi(2);
    if fixed > 0.0 && allowed <= 0.0 {
        return Forecast::LargerBaseline;
    }
    let now = comparison.samples as f64;
    let more = (now * of_processes / allowed - now).ceil();
    let more = (more.max(1.0) as usize).min(MOST_FORECAST);
    Forecast::Processes {
        more,
        seconds: more as f64 * process_s,
    }
}
