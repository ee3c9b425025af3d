//! Rounds over all cells, in a new order each time, until every cell is known well enough or the
//! time is used up.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use firstpass_probe::{PassPlan, Trial};
use firstpass_statistics::bootstrap::Estimate;
use rand::seq::SliceRandom;

use super::{Budget, Job, agreement::Took, label, progress};
use crate::{
    judge::latency::{Figure, Latency, summarise},
    observation::{Cell, Observation, Purpose},
    record::{Line, Recorder, Settings, Stop},
    subject::{InputFiles, Subject},
};

/// No process does fewer passes: fewer show no steady state.
pub const LEAST_PASSES: usize = 10;

/// So many passes of a process with cold files: what is cold is over after the first.
const COLD_PASSES: usize = 3;

/// A slow cell may use so many times its even share of the time.
const GREATEST_SHARE: f64 = 3.0;

/// Even then it gets so many processes, unless the time is used up.
const FEWEST_PROCESSES: usize = 2;

/// What is known of a cell while it is measured.
#[derive(Default)]
struct Progress {
    processes: usize,
    spent: Duration,
    /// How long its next process will take.
    expected: Duration,
    stop: Option<Stop>,
}

/// Measures until every cell has a reason to stop, which is recorded.
pub(super) fn observe(
    jobs: &[Job],
    subject: &Subject,
    settings: &Settings,
    budget: &Budget,
    took: &Took,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    let Some(photo) = subject.photos.first() else {
        return Ok(());
    };
    let even_share = budget.left().div_f64(jobs.len().max(1) as f64);
    let plan = PassPlan {
        at_least: LEAST_PASSES.min(settings.passes),
        at_most: settings.passes,
        budget_ms: process_budget_ms(settings, even_share),
    };
    let mut progress_of: BTreeMap<&Cell, Progress> = BTreeMap::new();
    for job in jobs {
        let cell = &job.cell;
        let key = (cell.backend.clone(), cell.model.clone(), cell.format);
        let expected = took.get(&key).copied().unwrap_or_default();
        let progress = Progress {
            expected,
            ..Progress::default()
        };
        progress_of.insert(cell, progress);
    }
    let mut observations: Vec<Observation> = Vec::new();
    let bar = progress("latency", jobs.len());
    for round in 0..settings.processes {
        let mut due: Vec<&Job> = jobs
            .iter()
            .filter(|job| progress_of[&job.cell].stop.is_none())
            .collect();
        if due.is_empty() {
            break;
        }
        due.shuffle(&mut rand::rng());
        for job in due {
            let Some(progress) = progress_of.get_mut(&job.cell) else {
                continue;
            };
            // One that does not fit any more leaves the time to those that do.
            if budget.left() < progress.expected {
                progress.stop = Some(Stop::Budget);
                continue;
            }
            bar.set_message(format!("round {}: {}", round + 1, label(&job.cell)));
            let images = [photo.name.clone()];
            let input = inputs.file(photo, job.model)?;
            let began = budget.spent();
            let observation = job.observe(Purpose::Latency, round, &images, |probe| {
                probe.trial(&Trial {
                    model: job.artifact.clone(),
                    knobs: job.cell.knobs.clone(),
                    inputs: vec![input],
                    passes: if job.cell.cold_files {
                        PassPlan::exactly(COLD_PASSES)
                    } else {
                        plan
                    },
                    outputs: None,
                })
            });
            let took = budget.spent() - began;
            progress.processes += 1;
            progress.spent += took;
            progress.expected = took;
            if !observation.process.completed() {
                // It is a row already; failing again would only take time.
                progress.stop = Some(Stop::Failed);
                bar.suspend(|| eprintln!("{}: {}", label(&job.cell), observation.process.outcome));
            }
            let backend = job.cell.backend.clone();
            let line = Line::Observation(Box::new(observation.clone()));
            recorder.write(&backend, &line)?;
            observations.push(observation);
        }
        stop_what_is_done(
            &mut progress_of,
            &observations,
            settings,
            even_share.mul_f64(GREATEST_SHARE),
        );
        bar.set_position(progress_of.values().filter(|p| p.stop.is_some()).count() as u64);
    }
    bar.finish_and_clear();
    for (cell, progress) in progress_of {
        let reason = progress.stop.unwrap_or(Stop::Processes);
        let cell = cell.clone();
        recorder.write(&cell.backend.clone(), &Line::Stop { cell, reason })?;
    }
    Ok(())
}

/// Half of what a cell may spend if it is to get its least number of processes goes into passes.
fn process_budget_ms(settings: &Settings, even_share: Duration) -> u64 {
    let share = even_share.as_millis() as u64 / (2 * settings.least_processes.max(1) as u64);
    share.clamp(1, settings.process_budget_ms)
}

fn stop_what_is_done(
    progress_of: &mut BTreeMap<&Cell, Progress>,
    observations: &[Observation],
    settings: &Settings,
    greatest_share: Duration,
) {
    let latencies = summarise(observations);
    for latency in &latencies {
        let Some(progress) = progress_of.get_mut(&latency.cell) else {
            continue;
        };
        if progress.stop.is_some() {
            continue;
        }
        let enough = progress.processes >= settings.least_processes;
        if enough && is_narrow(latency, &latencies, settings) {
            progress.stop = Some(Stop::Narrow);
        } else if progress.spent > greatest_share && progress.processes >= FEWEST_PROCESSES {
            progress.stop = Some(Stop::Budget);
        }
    }
}

/// Whether the figures of a cell are known as well as they are to be. Of an A/A run it is the ratio
/// of the two entries that is to be known.
fn is_narrow(latency: &Latency, all: &[Latency], settings: &Settings) -> bool {
    let within = |estimate: Option<&Estimate>, target: f64| {
        estimate
            .and_then(Estimate::relative_half_width)
            .is_some_and(|width| width <= target)
    };
    let target = settings.target;
    if settings.entries > 1 {
        let twin = |other: &&Latency| {
            other.cell.entry != latency.cell.entry
                && Cell {
                    entry: latency.cell.entry,
                    ..other.cell.clone()
                } == latency.cell
        };
        let ratio = all
            .iter()
            .find(twin)
            .and_then(|twin| latency.compare(twin, Figure::Steady));
        return ratio.is_some_and(|ratio| ratio.half_width() <= target.steady);
    }
    if latency.cell.cold_files {
        return within(latency.cold_start.as_ref(), target.first_pass);
    }
    within(latency.steady.as_ref(), target.steady)
        && within(latency.pass.get(&1), target.first_pass)
}
