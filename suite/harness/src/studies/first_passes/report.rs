//! The part of the report about time: first passes, steady state, phases, noise.

use std::{collections::BTreeMap, path::PathBuf};

use firstpass_statistics::{Spread, bootstrap::Estimate, steady::DELTA};
use firstpass_trial::observation::{Observation, Purpose};

use crate::{
    page::{
        markdown,
        numbers::{counted, milliseconds, ratio},
        table::Table,
    },
    record::Stop,
    studies::first_passes::{
        analysis::{Analysis, Row},
        error_rates,
        judge::{
            comparisons::Comparisons,
            disturbance,
            first_pass::FirstPass,
            flipping::flipping,
            latency::{self, Figure, Latency, Phase, SHOWN_PASSES},
        },
        plots::{Plot, plot},
        words,
    },
};

pub(crate) fn sections(analysis: &Analysis, files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    let mut sections = vec![introduction(analysis)];
    for model in analysis.models() {
        for &threads in &analysis.record.run.settings.threads {
            let latencies: Vec<(&Row, &Latency)> = analysis
                .rows(model)
                .iter()
                .flat_map(|row| row.timed().map(move |(n, latency)| (n, row, latency)))
                .filter(|(n, _, _)| *n == threads)
                .map(|(_, row, latency)| (row, latency))
                .collect();
            if latencies.is_empty() {
                continue;
            }
            sections.push(format!(
                "## {}, {}",
                markdown::text(&model.title),
                counted(threads, "thread")
            ));
            sections.push(pass_table(&latencies));
            sections.push(warm_up_table(analysis, &latencies));
            sections.push(phase_table(&latencies));
            sections.extend(pair_table(&analysis.comparisons, &latencies));
            sections.extend(flips(analysis, &latencies));
        }
        sections.extend(cold_files(analysis, analysis.rows(model)));
        for shown in [Plot::FirstPassDistribution, Plot::Phases] {
            sections.extend(plot(shown, model, files));
        }
    }
    sections
}

/// Whether the machine was quiet, and how far the judging can be trusted on its noise.
/// The answer in a sentence, and the sections.
pub(crate) fn trust(analysis: &Analysis) -> (String, Vec<String>) {
    let mut sections = vec![noise_section(analysis)];
    let summary = disturbance::summarise(
        analysis.record.observations(),
        analysis.record.run.machine.cores,
    );
    let mut answer = format!(
        "{} of {} were disturbed.",
        summary.disturbed,
        counted(summary.processes, "process")
    );
    let latencies = analysis.rows.values().flatten();
    let noise = latency::noise(latencies.flat_map(|row| row.latency.values()));
    if let Some(noise) = noise {
        let (kept, all, text) = error_rates::markdown(&noise);
        answer += &format!(
            " On the noise of this run the judging is as right as it promises in {kept} of {all} kinds of \
             series whose truth is known."
        );
        sections.push(format!("## How often does the judging err?\n\n{text}"));
    }
    (answer, sections)
}

fn introduction(analysis: &Analysis) -> String {
    let settings = &analysis.record.run.settings;
    format!(
        "Fresh processes of up to {} passes each, all engines \
         interleaved in shuffled rounds. Times are medians over processes with 95 % intervals (bootstrap \
         over processes, then passes), in ms; *pass 1 / steady* is a geometric mean with the interval of \
         a t-test whose variance borrows from the whole run. The processes of a cell are judged together: \
         *steady* is the mean of the passes from where their common course becomes steady, with all later \
         passes within {:.0} % of it. A cell is *flat*, a *warm-up*, a *slowdown* (an earlier level was \
         faster) or has *no steady state*; behind it stands how many processes bear that out, where not \
         all do. It is *mixed* only where processes provably differ. *Warm-up cost* is what the passes \
         before the steady state took beyond it. *Cold start* runs from the spawn of the process to its \
         first outputs. After a few processes of every cell rounds went where a question was open, until \
         all were answered or the budget of {:.0} s was used up.",
        settings.passes,
        100.0 * DELTA,
        settings.budget_s,
    )
}

fn pass_table(latencies: &[(&Row, &Latency)]) -> String {
    let mut header = vec!["engine".to_owned()];
    header.extend(SHOWN_PASSES.iter().map(|n| format!("pass {n}")));
    header.extend(["steady", "pass 1 / steady", "pass 2 / steady"].map(String::from));
    let over_steady =
        |pass: Option<&FirstPass>| pass.map_or_else(|| "–".into(), words::with_verdict);
    let lines = latencies.iter().map(|(row, latency)| {
        let mut line = vec![row.label_of(latency)];
        line.extend(
            SHOWN_PASSES
                .iter()
                .map(|n| interval(latency.pass.get(n), milliseconds)),
        );
        line.extend([
            interval(latency.steady.as_ref(), milliseconds),
            over_steady(latency.first_over_steady.as_ref()),
            over_steady(latency.second_over_steady.as_ref()),
        ]);
        line
    });
    Table::new(header).rows(lines).markdown()
}

fn warm_up_table(analysis: &Analysis, latencies: &[(&Row, &Latency)]) -> String {
    let header = [
        "engine",
        "class",
        "warm-up passes",
        "warm-up cost",
        "cold start",
        "processes × passes",
        "stopped, because",
    ];
    let lines = latencies.iter().map(|(row, latency)| {
        vec![
            row.label_of(latency),
            words::class(latency),
            latency
                .warm_up_passes
                .map_or_else(|| "–".into(), |n| n.to_string()),
            interval(latency.warm_up_cost.as_ref(), milliseconds),
            interval(latency.cold_start.as_ref(), milliseconds),
            format!("{} × {}", latency.processes.len(), latency.passes),
            stop(analysis, latency),
        ]
    });
    Table::new(header).rows(lines).markdown()
}

fn stop(analysis: &Analysis, latency: &Latency) -> String {
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
    .into()
}

fn phase_table(latencies: &[(&Row, &Latency)]) -> String {
    let mut header = vec!["engine".to_owned()];
    let warmed = |l: &Latency| l.phases.iter().any(|(phase, _)| *phase == Phase::WarmUp);
    let warmed = latencies.iter().any(|(_, latency)| warmed(latency));
    let shown: Vec<Phase> = Phase::ALL
        .into_iter()
        .filter(|phase| warmed || *phase != Phase::WarmUp)
        .collect();
    header.extend(shown.iter().map(ToString::to_string));
    header.extend(
        [
            "CPU / wall, steady",
            "page faults, pass 1",
            "page faults, steady",
            "peak memory, MiB",
        ]
        .map(String::from),
    );
    let lines = latencies.iter().map(|(row, latency)| {
        let mut line = vec![row.label_of(latency)];
        line.extend(phases(latency, &shown));
        let median = |spread: Option<&Spread>, digits: usize| {
            spread.map_or_else(|| "–".into(), |s| format!("{:.digits$}", s.median))
        };
        line.extend([
            median(latency.steady_cpu_ratio.as_ref(), 2),
            median(latency.first_faults.as_ref(), 0),
            median(latency.steady_faults.as_ref(), 0),
            median(latency.peak_memory_mib.as_ref(), 0),
        ]);
        line
    });
    Table::new(header).rows(lines).markdown()
}

fn phases<'a>(latency: &'a Latency, shown: &'a [Phase]) -> impl Iterator<Item = String> + 'a {
    shown.iter().map(|phase| {
        let found = latency.phases.iter().find(|(p, _)| p == phase);
        found.map_or_else(|| "–".into(), |(_, time)| milliseconds(*time))
    })
}

/// Each pair of engines, by ratios within rounds.
fn pair_table(comparisons: &Comparisons, latencies: &[(&Row, &Latency)]) -> Option<String> {
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
    (!lines.is_empty()).then(|| Table::new(header).rows(lines).markdown())
}

fn flips(analysis: &Analysis, latencies: &[(&Row, &Latency)]) -> Option<String> {
    let lines: Vec<String> = latencies
        .iter()
        .filter_map(|(row, latency)| {
            let of_cell = |o: &&Observation| {
                o.cell == latency.cell && o.purpose == Purpose::Latency && o.process.completed()
            };
            let observations: Vec<&Observation> =
                analysis.record.observations().filter(of_cell).collect();
            Some(format!(
                "- **{}** flips: {}.",
                row.label_of(latency),
                flipping(&observations)?
            ))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// What a process with cold files goes through: it is over before its warm-up is.
const COLD_PHASES: [Phase; 5] = [
    Phase::ProcessStart,
    Phase::EngineStart,
    Phase::Load,
    Phase::Prepare,
    Phase::Pass1,
];

fn cold_files(analysis: &Analysis, rows: &[Row]) -> Option<String> {
    let mut lines = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    for row in rows {
        let Some(cold) = &row.cold else { continue };
        let warm = row.latency.get(&cold.cell.threads());
        let evictions: Vec<_> = analysis
            .record
            .observations()
            .filter(|o| o.cell == cold.cell)
            .filter_map(|o| o.eviction.as_ref())
            .collect();
        let files = evictions.first().map_or(0, |e| e.files);
        let bytes = evictions.first().map_or(0, |e| e.bytes);
        let resident = evictions.iter().map(|e| e.resident_bytes).max().flatten();
        let unknown = evictions.iter().any(|e| e.resident_bytes.is_none());
        for reason in evictions.iter().flat_map(|e| &e.reasons) {
            let note = format!("- {}: {}", row.label, markdown::text(reason));
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        for (files_are, latency) in [("warm", warm), ("cold", Some(cold))] {
            let Some(latency) = latency else { continue };
            let mut line = vec![row.label.clone(), files_are.into()];
            // A process with cold files is over before its warm-up is.
            line.extend(phases(latency, &COLD_PHASES));
            line.push(interval(latency.cold_start.as_ref(), milliseconds));
            line.push(match (files_are, resident) {
                ("warm", _) => "–".into(),
                (_, Some(left)) if !unknown => format!(
                    "{files} files, {:.1} MiB; {:.1} MiB stayed",
                    mib(bytes),
                    mib(left)
                ),
                _ => format!(
                    "{files} files, {:.1} MiB; ⚠ unknown how much stayed",
                    mib(bytes)
                ),
            });
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return None;
    }
    let mut header = vec!["engine".to_owned(), "files".into()];
    header.extend(COLD_PHASES.iter().map(ToString::to_string));
    header.extend(["cold start", "taken out of the page cache"].map(String::from));
    let mut parts = vec![
        "*Cold files*: the model, the engine's library and the probe were taken out of the page \
         cache before each process, as after a deployment or a long pause."
            .to_owned(),
        Table::new(header).rows(lines).markdown(),
    ];
    if !notes.is_empty() {
        parts.push(notes.join("\n"));
    }
    Some(parts.join("\n\n"))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn disturbances(analysis: &Analysis) -> disturbance::Summary {
    let record = &analysis.record;
    disturbance::summarise(record.observations(), record.run.machine.cores)
}

/// Whether the machine was quiet, said before anybody asks.
pub(crate) fn disturbed(analysis: &Analysis) -> Option<String> {
    let summary = disturbances(analysis);
    if !summary.is_disturbed() {
        return None;
    }
    Some(format!(
        "⚠ **This run was disturbed**: {} of {} processes, see [noise](trust.md#noise). Ratios within rounds \
         hold; times are those of a busy machine.",
        summary.disturbed, summary.processes
    ))
}

fn noise_section(analysis: &Analysis) -> String {
    let summary = disturbances(analysis);
    let cells = analysis.rows.iter().flat_map(|(model, rows)| {
        let of = move |row: &Row, threads: usize| {
            format!(
                "{} on {}, {threads} thread(s)",
                row.label,
                markdown::text(model)
            )
        };
        rows.iter().flat_map(move |row| {
            let latencies = row.latency.iter();
            latencies
                .filter(|(_, l)| l.too_few_undisturbed)
                .map(move |(n, _)| of(row, *n))
        })
    });
    let too_few: Vec<String> = cells.collect();
    let mut parts = vec![
        "## Noise".to_owned(),
        format!(
            "Beside each pass its CPU time, page faults and context switches are recorded, and for \
             each process what the rest of the machine did. {} of {} processes were disturbed; \
             none of them is left out. Before each pass a fixed piece of work is timed as well: on a \
             shared machine another tenant can slow a core without showing in any counter. {:.0} % \
             of the passes had a core that was slower by a fifth or more just before or after them; \
             these are in the record and in the plots, but in no figure{}.",
            summary.disturbed,
            summary.processes,
            100.0 * summary.slowed_share(),
            if too_few.is_empty() {
                String::new()
            } else {
                format!(
                    ", except those of {}, which have too few others",
                    too_few.join(", ")
                )
            }
        ),
    ];
    if !summary.kinds.is_empty() {
        let lines = summary
            .kinds
            .iter()
            .map(|(count, worst)| vec![count.to_string(), worst.to_string()]);
        parts.push(
            Table::new(["processes", "disturbed by, in the strongest case"])
                .rows(lines)
                .markdown(),
        );
    }
    if let Some(steal) = Spread::of(analysis.record.observations().filter_map(|o| {
        let s = &o.system_counters;
        Some(100.0 * s.steal_ms? / s.wall_ms.max(1.0))
    })) {
        parts.push(format!(
            "Time that the hypervisor took, per process: {:.1} % of a CPU (median), {:.1} % at most.",
            steal.median, steal.high
        ));
    }
    parts.join("\n\n")
}

/// `46.1 (45.8–46.9)`
pub(crate) fn interval(estimate: Option<&Estimate>, number: impl Fn(f64) -> String) -> String {
    match estimate {
        None => "–".into(),
        Some(e) => match e.interval {
            Some((low, high)) => format!("{} ({}–{})", number(e.median), number(low), number(high)),
            None => number(e.median),
        },
    }
}
