//! Engines that run a model and have no judged times: what is known of their speed all the same, and what would
//! give the rest.

use std::time::Duration;

use firstpass_probe::THREADS;
use firstpass_trial::observation::{Cell, Observation, Purpose};

use crate::{
    record::{Record, Stop},
    studies::first_passes::{
        analysis::{Analysis, Row},
        judge::latency::{LEAST_PASSES, ms},
    },
};

/// Why a cell has no verdict about its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Untimed {
    pub threads: usize,
    pub why: Why,
    pub look: Look,
}

/// What was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The budget ended first, and this one would do.
    Budget(Duration),
    /// Its processes were told to do so few passes.
    Passes(usize),
}

/// A first look: the process whose outputs were compared, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Look {
    pub first_pass: Option<f64>,
    pub second_pass: Option<f64>,
    pub cold_start: Option<f64>,
}

impl Untimed {
    /// What to give, as a user writes it.
    pub fn remedy(&self) -> String {
        match self.why {
            Why::Budget(enough) => format!("--budget {}", in_words(enough)),
            Why::Passes(_) => format!("--passes {LEAST_PASSES}"),
        }
    }
}

/// Every number of threads with which a row that runs has no judged times.
pub fn untimed(analysis: &Analysis, row: &Row) -> Vec<Untimed> {
    let record = &analysis.record;
    let settings = &record.run.settings;
    let is_timed = settings.processes > 0 && !settings.agreement_only.contains(&row.cell.model);
    if !is_timed || row.outputs.is_none() {
        return Vec::new();
    }
    let look = look(record, &row.cell);
    let threads = settings.threads.iter();
    threads
        .filter_map(|&threads| {
            let cell = Cell {
                knobs: row.cell.knobs.clone().with(THREADS, threads),
                ..row.cell.clone()
            };
            let why = match row.latency.get(&threads) {
                Some(latency) if latency.has_enough_passes => return None,
                Some(latency) => Why::Passes(latency.passes),
                None if stopped_by_budget(record, &cell) => Why::Budget(enough(record)),
                None => return None,
            };
            Some(Untimed { threads, why, look })
        })
        .collect()
}

fn stopped_by_budget(record: &Record, cell: &Cell) -> bool {
    let backend = record.backends.get(&cell.backend);
    let mut stops = backend.iter().flat_map(|backend| &backend.stops);
    stops.any(|(of, reason)| of == cell && *reason == Stop::Budget)
}

/// The process that compared outputs, of the fewest threads.
fn first_look<'a>(record: &'a Record, cell: &Cell) -> Option<&'a Observation> {
    record.observations().find(|o| {
        let of = &o.cell;
        o.purpose == Purpose::Agreement
            && o.process.completed()
            && of.is_default()
            && (&of.backend, &of.model, of.format) == (&cell.backend, &cell.model, cell.format)
    })
}

fn look(record: &Record, cell: &Cell) -> Look {
    let Some(observation) = first_look(record, cell) else {
        return Look::default();
    };
    // Passes over another input come after all over the first.
    let passes = observation.process.passes.iter().filter(|p| p.input == 0);
    let mut times = passes.map(|pass| ms(pass.span.wall_ns));
    Look {
        first_pass: times.next(),
        second_pass: times.next(),
        cold_start: observation.process.cold_start_ns().map(ms),
    }
}

/// A budget that would have been enough for every cell that the budget was too short for.
fn enough(record: &Record) -> Duration {
    let settings = &record.run.settings;
    let processes = settings.least_processes.max(1) as f64;
    let stops = record.backends.values().flat_map(|backend| &backend.stops);
    let missing = stops.filter(|(cell, reason)| {
        let is_of_cell = |o: &Observation| o.purpose == Purpose::Latency && o.cell == *cell;
        *reason == Stop::Budget && !record.observations().any(is_of_cell)
    });
    let missing_s: f64 = missing
        .filter_map(|(cell, _)| {
            let process = &first_look(record, cell)?.process;
            let pass_ns = process.passes.iter().map(|pass| pass.span.wall_ns).min()?;
            let later_ms = ms(pass_ns) * (LEAST_PASSES - 1) as f64;
            Some(processes * (ms(process.cold_start_ns()?) + later_ms) / 1000.0)
        })
        .sum();
    // A cell may have twice its even share, and what is measured goes on until the budget is used up.
    // Comparing outputs may have taken more than the budget, as on a busy machine: it would again.
    let spent_s = record.run.duration_s.unwrap_or(0.0);
    let needed_s = settings.budget_s.max(spent_s) + 2.0 * missing_s;
    let asked_s = settings.asked_budget_s.unwrap_or(settings.budget_s);
    let share = asked_s / settings.budget_s.max(1e-3);
    Duration::from_secs_f64((needed_s * share).clamp(1.0, 1e6))
}

/// Rounded up, as one writes it: `40s`, `3m`.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds <= 90.0 {
        format!("{:.0}s", 10.0 * (seconds / 10.0).ceil())
    } else {
        format!("{:.0}m", (seconds / 60.0).ceil())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_rounded_up_as_people_write_it() {
        for (seconds, words) in [
            (1.0, "10s"),
            (51.0, "60s"),
            (90.0, "90s"),
            (91.0, "2m"),
            (200.0, "4m"),
        ] {
            assert_eq!(in_words(Duration::from_secs_f64(seconds)), words);
        }
    }
}
