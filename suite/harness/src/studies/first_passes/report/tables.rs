//! The tables of times: one row an engine, or a pair of engines.

use firstpass_statistics::{Spread, bootstrap::Estimate};
use minijinja::Value;

use crate::{
    page::{
        numbers::{milliseconds, ratio},
        table::Table,
    },
    record::Stop,
    studies::first_passes::{
        analysis::{Analysis, Row},
        judge::{
            comparisons::Comparisons,
            first_pass::FirstPass,
            latency::{Figure, Latency, Phase, SHOWN_PASSES},
        },
        words,
    },
};

/// What was not measured.
pub(super) const NONE: &str = "–";

/// An engine, and its times with the settings that the table is about.
pub(super) type Timed<'a> = (&'a Row, &'a Latency);

/// The first passes beside the steady time: what the page shows before anything is unfolded.
pub(super) fn summary(latencies: &[Timed]) -> Table {
    let time = |estimate: Option<&Estimate>| {
        estimate.map_or_else(|| NONE.into(), |e| milliseconds(e.median))
    };
    let header = [
        "engine",
        "pass 1",
        "pass 2",
        "pass 3",
        "steady",
        "pass 1 / steady",
    ];
    Table::new(header).rows(latencies.iter().map(|(row, latency)| {
        let mut line = vec![row.label_of(latency)];
        line.extend([1, 2, 3].map(|pass| time(latency.pass.get(&pass))));
        line.push(time(latency.steady.as_ref()));
        line.push(over_steady(latency.first_over_steady.as_ref()));
        line
    }))
}

/// Every early pass that is shown, with its interval.
pub(super) fn passes(latencies: &[Timed]) -> Value {
    let mut header = vec!["engine".to_owned()];
    header.extend(SHOWN_PASSES.iter().map(|n| format!("pass {n}")));
    header.push("steady".into());
    let lines = latencies.iter().map(|(row, latency)| {
        let shown = SHOWN_PASSES.iter().map(|n| latency.pass.get(n));
        let times = shown.chain([latency.steady.as_ref()]);
        let times = times.map(|time| interval(time, milliseconds));
        [row.label_of(latency)]
            .into_iter()
            .chain(times)
            .collect::<Vec<_>>()
    });
    Table::new(header).rows(lines).page()
}

/// How passes 1 and 2 compare with the steady time, and what kind of series the passes are.
pub(super) fn warm_up(latencies: &[Timed]) -> Value {
    let header = [
        "engine",
        "pass 1 / steady",
        "pass 2 / steady",
        "class",
        "warm-up",
        "its cost",
    ];
    let lines = latencies.iter().map(|(row, latency)| {
        vec![
            row.label_of(latency),
            over_steady(latency.first_over_steady.as_ref()),
            over_steady(latency.second_over_steady.as_ref()),
            words::class(latency),
            latency
                .warm_up_passes
                .map_or_else(|| NONE.into(), |n| n.to_string()),
            interval(latency.warm_up_cost.as_ref(), milliseconds),
        ]
    });
    Table::new(header).rows(lines).page()
}

fn over_steady(pass: Option<&FirstPass>) -> String {
    pass.map_or_else(|| NONE.into(), words::with_verdict)
}

/// From the start of the process to the end of the warm-up, phase by phase.
pub(super) fn cold_start(latencies: &[Timed]) -> Value {
    let warmed = |l: &Latency| l.phases.iter().any(|(phase, _)| *phase == Phase::WarmUp);
    let warmed = latencies.iter().any(|(_, latency)| warmed(latency));
    let shown: Vec<Phase> = Phase::ALL
        .into_iter()
        .filter(|phase| warmed || *phase != Phase::WarmUp)
        .collect();
    let mut header = vec!["engine".to_owned(), "cold start".into()];
    header.extend(shown.iter().map(ToString::to_string));
    let lines = latencies.iter().map(|(row, latency)| {
        let cold_start = interval(latency.cold_start.as_ref(), milliseconds);
        let mut line = vec![row.label_of(latency), cold_start];
        line.extend(phases(latency, &shown));
        line
    });
    Table::new(header).rows(lines).page()
}

/// What passes take besides time, how much was measured, and why no more.
pub(super) fn resources(analysis: &Analysis, latencies: &[Timed]) -> Value {
    let header = [
        "engine",
        "CPU / wall, steady",
        "page faults, pass 1",
        "steady",
        "peak memory, MiB",
        "processes × passes",
        "stopped, because",
    ];
    let median = |spread: Option<&Spread>, digits: usize| {
        spread.map_or_else(|| NONE.into(), |s| format!("{:.digits$}", s.median))
    };
    let lines = latencies.iter().map(|(row, latency)| {
        vec![
            row.label_of(latency),
            median(latency.steady_cpu_ratio.as_ref(), 2),
            median(latency.first_faults.as_ref(), 0),
            median(latency.steady_faults.as_ref(), 0),
            median(latency.peak_memory_mib.as_ref(), 0),
            format!("{} × {}", latency.processes.len(), latency.passes),
            stop(analysis, latency).into(),
        ]
    });
    Table::new(header).rows(lines).page()
}

fn stop(analysis: &Analysis, latency: &Latency) -> &'static str {
    let backend = analysis.record.backends.get(&latency.cell.backend);
    let found = backend.and_then(|b| b.stops.iter().find(|(cell, _)| *cell == latency.cell));
    match found.map(|(_, reason)| *reason) {
        Some(Stop::Narrow) => "narrow enough",
        Some(Stop::Answered) => "questions answered",
        Some(Stop::Processes) => "most processes",
        Some(Stop::Budget) => "budget used up",
        Some(Stop::Failed) => "⚠ a process failed",
        None => "⚠ interrupted",
    }
}

/// The medians of these phases, in ms.
pub(super) fn phases<'a>(
    latency: &'a Latency,
    shown: &'a [Phase],
) -> impl Iterator<Item = String> + 'a {
    shown.iter().map(|phase| {
        let found = latency.phases.iter().find(|(p, _)| p == phase);
        found.map_or_else(|| NONE.into(), |(_, time)| milliseconds(*time))
    })
}

/// Each pair of engines, by ratios within rounds.
pub(super) fn pairs(comparisons: &Comparisons, latencies: &[Timed]) -> Option<Value> {
    let mut lines = Vec::new();
    for (at, (row, latency)) in latencies.iter().enumerate() {
        for (other_row, other) in &latencies[at + 1..] {
            // A tuned engine is of interest only beside its own default.
            let (first, second) = (latency.cell.is_default(), other.cell.is_default());
            let same = other.cell.default_of() == latency.cell;
            if !(first && (second || same)) {
                continue;
            }
            let ((row, latency), (other_row, other)) = if second {
                ((row, latency), (other_row, other))
            } else {
                ((other_row, other), (row, latency))
            };
            let mut line = vec![format!(
                "{} against {}",
                row.label_of(latency),
                other_row.label_of(other)
            )];
            line.extend(
                Figure::ALL
                    .into_iter()
                    .map(|figure| ratio(comparisons.get(&latency.cell, &other.cell, figure))),
            );
            lines.push(line);
        }
    }
    let mut header = vec!["ratios within rounds".to_owned()];
    header.extend(Figure::ALL.iter().map(ToString::to_string));
    (!lines.is_empty()).then(|| Table::new(header).rows(lines).page())
}

/// `46.1 (45.8–46.9)`
pub(super) fn interval(estimate: Option<&Estimate>, number: impl Fn(f64) -> String) -> String {
    match estimate {
        None => NONE.into(),
        Some(e) => match e.interval {
            Some((low, high)) => format!("{} ({}–{})", number(e.median), number(low), number(high)),
            None => number(e.median),
        },
    }
}
