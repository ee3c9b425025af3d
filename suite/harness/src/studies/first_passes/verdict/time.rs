//! Whose first passes are slow, and who is fastest.

use firstpass_statistics::{
    comparison::{Comparison, Verdict},
    joint::{CellClass, Joint},
    median,
    steady::Class,
};
use firstpass_trial::model::ModelDescription;
use serde::Serialize;

use crate::studies::first_passes::{
    analysis::{Analysis, Row},
    judge::{
        comparisons::Comparisons,
        first_pass::{FirstPass, FirstPassVerdict},
        latency::{Figure, Latency},
    },
    words::{EarlyPass, is_in_doubt, missing},
};

/// What is said of the times of a model: `templates/said/time.md.j2` says it.
#[derive(Debug, Serialize)]
pub(crate) struct Time {
    title: String,
    /// Pass 1 with the fewest threads, the slowest first, by verdict.
    slow: Vec<First>,
    not_slow: Vec<First>,
    open: Vec<First>,
    unsteady: Vec<Unsteady>,
    fastest: Vec<Fastest>,
}

/// Pass 1 of an engine.
#[derive(Debug, Serialize)]
struct First {
    label: String,
    pass: EarlyPass,
}

/// A cell that has no steady state, or whose processes provably differ.
#[derive(Debug, Serialize)]
struct Unsteady {
    label: String,
    threads: usize,
    /// Processes that differ; none where all alike have no steady state.
    groups: Vec<Group>,
    /// Where the machine may be the cause: how many processes changed speed midway.
    restless: Option<usize>,
    processes: usize,
}

/// Processes of one class.
#[derive(Debug, Serialize)]
struct Group {
    processes: usize,
    /// `None` for those that may be of either class.
    class: Option<String>,
}

/// Who is first in a figure, and by how much.
#[derive(Debug, Serialize)]
struct Fastest {
    threads: usize,
    /// Whether it is the time to the first answer, and not the steady one.
    is_cold_start: bool,
    /// The fastest, and those between which and it no difference was found.
    engines: Vec<Timed>,
    /// The least difference that matters.
    resolution: f64,
    /// The first that is slower.
    nearest: Option<Against>,
    /// Those that may be as fast.
    open: Vec<Against>,
}

/// An engine with the figure in question.
#[derive(Debug, Serialize)]
struct Timed {
    label: String,
    ms: f64,
}

/// An engine against the fastest.
#[derive(Debug, Serialize)]
struct Against {
    label: String,
    ms: f64,
    ratio: f64,
    low: f64,
    high: f64,
    /// How many more processes would tell what is open.
    more: Option<usize>,
}

impl Time {
    /// `None` where nothing was timed.
    pub(super) fn of(analysis: &Analysis, model: &ModelDescription) -> Option<Self> {
        let rows = analysis.rows(model);
        let [slow, not_slow, open] = first_passes(rows);
        let time = Self {
            title: model.title.clone(),
            slow,
            not_slow,
            open,
            unsteady: unsteady(rows),
            fastest: fastest(&analysis.comparisons, rows),
        };
        let of_first = [&time.slow, &time.not_slow, &time.open];
        let is_known = of_first.iter().any(|list| !list.is_empty())
            || !time.unsteady.is_empty()
            || !time.fastest.is_empty();
        is_known.then_some(time)
    }
}

/// Whose first pass is slow, whose is not, and of whom it cannot be told yet; with the fewest threads.
fn first_passes(rows: &[Row]) -> [Vec<First>; 3] {
    let mut judged: Vec<(&str, FirstPass)> = rows
        .iter()
        .filter_map(|row| {
            let (_, latency) = row.latency.first_key_value()?;
            Some((row.label.as_str(), latency.first_over_steady?))
        })
        .collect();
    judged.sort_by(|a, b| b.1.ratio().total_cmp(&a.1.ratio()));
    let verdicts = [
        FirstPassVerdict::Slow,
        FirstPassVerdict::NotSlow,
        FirstPassVerdict::Open,
    ];
    verdicts.map(|verdict| {
        let found = judged.iter().filter(|(_, f)| f.verdict() == verdict);
        let found = found.map(|(label, first)| First {
            label: (*label).to_owned(),
            pass: first.into(),
        });
        found.collect()
    })
}

/// Which cells have no steady state, or processes that provably differ.
fn unsteady(rows: &[Row]) -> Vec<Unsteady> {
    let cells = rows.iter().flat_map(|row| {
        let latencies = row.latency.iter();
        latencies.filter_map(move |(threads, latency)| {
            let joint = latency.joint.as_ref()?;
            Some(Unsteady {
                label: row.label.clone(),
                threads: *threads,
                groups: groups(joint)?,
                restless: is_in_doubt(joint).then_some(joint.restless),
                processes: joint.processes,
            })
        })
    });
    cells.collect()
}

/// The groups of processes that differ, none where all have no steady state; `None` of a cell that has one.
fn groups(joint: &Joint) -> Option<Vec<Group>> {
    match &joint.class {
        CellClass::Mixed(groups) => {
            let in_groups: usize = groups.iter().map(|(_, n)| n).sum();
            let rest = joint.processes.saturating_sub(in_groups);
            let either = (rest > 0).then_some(Group {
                processes: rest,
                class: None,
            });
            let groups = groups.iter().map(|(class, n)| Group {
                processes: *n,
                class: Some(class.to_string()),
            });
            Some(groups.chain(either).collect())
        }
        CellClass::Of(Class::NoSteadyState) => Some(Vec::new()),
        CellClass::Of(_) => None,
    }
}

fn fastest(comparisons: &Comparisons, rows: &[Row]) -> Vec<Fastest> {
    let mut threads: Vec<usize> = rows
        .iter()
        .flat_map(|r| r.latency.keys().copied())
        .collect();
    threads.sort_unstable();
    threads.dedup();
    let figures = [Figure::ColdStart, Figure::Steady];
    let all = threads
        .into_iter()
        .flat_map(|n| figures.map(|figure| first_of(comparisons, rows, n, figure)));
    all.flatten().collect()
}

/// Who is first in a figure, and by how much; `None` where nobody can be compared.
fn first_of(
    comparisons: &Comparisons,
    rows: &[Row],
    threads: usize,
    figure: Figure,
) -> Option<Fastest> {
    let mut ranked: Vec<(&str, &Latency, f64)> = rows
        .iter()
        .filter_map(|r| {
            let latency = r.latency.get(&threads)?;
            let time = median(latency.by_round(figure).into_values())?;
            Some((r.label.as_str(), latency, time))
        })
        .collect();
    ranked.sort_by(|a, b| a.2.total_cmp(&b.2));
    // Medians and ratios within rounds may disagree: nobody is called fastest who is claimed to be slower.
    let is_slower = |(_, latency, _): &(&str, &Latency, f64)| {
        ranked.iter().any(|(_, other, _)| {
            let compared = comparisons.get(&latency.cell, &other.cell, figure);
            compared.is_some_and(|c| c.verdict == Verdict::Slower)
        })
    };
    if let Some(place) = ranked.iter().position(|row| !is_slower(row)) {
        ranked[..=place].rotate_right(1);
    }
    let ((best, of_best, time), others) = ranked.split_first()?;
    let compared: Vec<(&str, f64, Comparison)> = others
        .iter()
        .filter_map(|(label, latency, time)| {
            let comparison = comparisons.get(&latency.cell, &of_best.cell, figure)?;
            Some((*label, *time, comparison))
        })
        .collect();
    if compared.is_empty() {
        return None;
    }
    let with = |verdict| {
        compared
            .iter()
            .filter(move |(_, _, c)| c.verdict == verdict)
    };
    let against = |(label, ms, c): &(&str, f64, Comparison)| Against {
        label: (*label).to_owned(),
        ms: *ms,
        ratio: c.ratio,
        low: c.interval.0,
        high: c.interval.1,
        more: missing([c]),
    };
    let timed = |label: &str, ms: f64| Timed {
        label: label.to_owned(),
        ms,
    };
    let alike = with(Verdict::NoDifference).map(|(label, ms, _)| timed(label, *ms));
    let nearest = with(Verdict::Slower).min_by(|a, b| a.2.ratio.total_cmp(&b.2.ratio));
    Some(Fastest {
        threads,
        is_cold_start: figure == Figure::ColdStart,
        engines: [timed(best, *time)].into_iter().chain(alike).collect(),
        resolution: figure.resolution(),
        nearest: nearest.map(against),
        open: with(Verdict::Open).map(against).collect(),
    })
}

#[cfg(test)]
mod tests;
