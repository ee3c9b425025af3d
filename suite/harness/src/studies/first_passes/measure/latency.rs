//! Rounds over all cells, in a new order each time, until every cell is known well enough or the
//! time is used up.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use firstpass_probe::{PassPlan, Trial};
use firstpass_statistics::bootstrap::Estimate;
use firstpass_trial::{
    observation::{Cell, Observation, Purpose},
    workload::{InputFiles, Workload},
};
use rand::seq::SliceRandom;

use crate::{
    progress::progress,
    record::{Line, Recorder, RunSettings, Stop},
    studies::first_passes::{
        judge::{
            comparisons::Comparisons,
            latency::{Figure, Latency, summarise},
        },
        measure::{
            Budget, Job,
            agreement::{Pace, Paces, paced},
            label,
        },
    },
};

/// No process does fewer passes, but of a very slow engine: fewer show no steady state for sure.
pub const LEAST_PASSES: usize = 10;

/// Even of a very slow engine no process does fewer: two to warm up, and three that are steady.
const FEWEST_PASSES: usize = 5;

/// So many passes of a process with cold files: what is cold is over after the first.
const COLD_PASSES: usize = 3;

/// A slow cell may use so many times its even share of the time while others wait for theirs.
const GREATEST_SHARE: u32 = 3;

/// From so many rounds on, only every such round is judged: there are many when processes are short.
const JUDGED_EVERY: usize = 10;

/// What is known of a cell while it is measured.
#[derive(Default)]
struct Progress {
    processes: usize,
    spent: Duration,
    /// How long its next process will take; nothing where it has never been seen.
    expected: Duration,
    /// Only first passes are still to be known: its processes may be short.
    steady_is_known: bool,
    stop: Option<Stop>,
}

/// How the time is shared out.
struct Shares {
    /// Of every cell, if all were alike.
    even: Duration,
    least_processes: usize,
}

impl Shares {
    /// Whether a cell may have a process now. One that is dear waits until the time is enough for
    /// the others to get their least number, because one dear cell would cost many of them.
    fn allow(&self, cell: &Cell, all: &BTreeMap<&Cell, Progress>, left: Duration) -> bool {
        let Some(progress) = all.get(cell) else {
            return false;
        };
        let others_wait = || {
            let mut others = all.iter().filter(|(other, _)| **other != cell);
            others.any(|(_, p)| {
                p.stop.is_none() && p.expected <= left && p.spent <= self.even * GREATEST_SHARE
            })
        };
        if progress.spent > self.even * GREATEST_SHARE && progress.processes > 1 && others_wait() {
            return false;
        }
        if progress.expected <= self.even {
            return progress.expected <= left;
        }
        let owed: Duration = all
            .values()
            .filter(|other| other.stop.is_none() && other.expected <= self.even)
            .map(|other| {
                let missing = self.least_processes.saturating_sub(other.processes);
                other.expected * u32::try_from(missing).unwrap_or(0)
            })
            .sum();
        // Each gets one if there is any way.
        let owed = if progress.processes == 0 {
            owed / u32::try_from(self.least_processes.max(1)).unwrap_or(1)
        } else {
            owed
        };
        progress.expected + owed <= left
    }
}

/// Measures until every cell has a reason to stop, which is recorded.
pub(crate) fn observe(
    jobs: &[Job],
    workload: &Workload,
    settings: &RunSettings,
    budget: &Budget,
    paces: &Paces,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    let Some(sample) = workload.samples.first() else {
        return Ok(());
    };
    let shares = Shares {
        even: budget.left() / u32::try_from(jobs.len().max(1))?,
        least_processes: settings.least_processes,
    };
    let plans: Vec<(&Job, PassPlan)> = jobs
        .iter()
        .map(|job| (job, plan(&job.cell, paces, settings, &shares)))
        .collect();
    let mut progress_of: BTreeMap<&Cell, Progress> = plans
        .iter()
        .map(|(job, plan)| {
            let expected = pace(&job.cell, paces).map_or(Duration::ZERO, |pace| {
                let passes = Duration::from_millis(plan.budget_ms);
                pace.process(plan.at_least).max(passes)
            });
            let progress = Progress {
                expected,
                ..Progress::default()
            };
            (&job.cell, progress)
        })
        .collect();
    let mut observations: Vec<Observation> = Vec::new();
    let bar = progress("latency", jobs.len());
    for round in 0..settings.processes {
        let mut due = plans.clone();
        due.retain(|(job, _)| progress_of[&job.cell].stop.is_none());
        due.shuffle(&mut rand::rng());
        keep_twins_together(&mut due, |(job, _)| &job.cell);
        let mut measured = 0;
        for (job, plan) in due {
            if !shares.allow(&job.cell, &progress_of, budget.left()) {
                continue;
            }
            bar.set_message(format!("round {}: {}", round + 1, label(&job.cell)));
            let images = [sample.name.clone()];
            let input = inputs.file(sample, job.model)?;
            let began = budget.spent();
            let plan = match progress_of[&job.cell].steady_is_known {
                true => PassPlan::exactly(COLD_PASSES),
                false => plan,
            };
            let observation = job.observe(Purpose::Latency, round, &images, |probe| {
                let knobs = job.cell.knobs.clone();
                probe.trial(&Trial::new(job.artifact.clone(), knobs, vec![input], plan))
            });
            measured += 1;
            if let Some(progress) = progress_of.get_mut(&job.cell) {
                progress.processes += 1;
                progress.expected = budget.spent() - began;
                progress.spent += progress.expected;
                if !observation.process.completed() {
                    // It is a row already; failing again would only take time.
                    progress.stop = Some(Stop::Failed);
                    let outcome = &observation.process.outcome;
                    bar.suspend(|| eprintln!("{}: {outcome}", label(&job.cell)));
                }
            }
            let line = Line::Observation(Box::new(observation.clone()));
            recorder.write(&job.cell.backend, &line)?;
            observations.push(observation);
        }
        if measured == 0 {
            break;
        }
        if round < JUDGED_EVERY || round % JUDGED_EVERY == 0 {
            stop_what_is_done(&mut progress_of, &observations, settings);
        }
        bar.set_position(progress_of.values().filter(|p| p.stop.is_some()).count() as u64);
    }
    bar.finish_and_clear();
    for (cell, progress) in progress_of {
        let reason = progress.stop.unwrap_or({
            if progress.processes == settings.processes {
                Stop::Processes
            } else {
                Stop::Budget
            }
        });
        let cell = cell.clone();
        recorder.write(&cell.backend.clone(), &Line::Stop { cell, reason })?;
    }
    Ok(())
}

/// Puts the equal entries of an A/A run one right after the other, where the first of them stands:
/// the less time lies between them, the less the machine has changed meanwhile.
fn keep_twins_together<T>(due: &mut [T], cell: impl Fn(&T) -> &Cell) {
    let pair_of = |item: &T| Cell {
        entry: 0,
        ..cell(item).clone()
    };
    let order: Vec<Cell> = due.iter().map(pair_of).collect();
    due.sort_by_key(|item| order.iter().position(|other| *other == pair_of(item)));
}

fn pace(cell: &Cell, paces: &Paces) -> Option<Pace> {
    paces.get(&paced(cell)).copied()
}

/// As many passes as fit into half of what a cell may spend on each of its least processes.
fn plan(cell: &Cell, paces: &Paces, settings: &RunSettings, shares: &Shares) -> PassPlan {
    if cell.cold_files {
        return PassPlan::exactly(COLD_PASSES);
    }
    let share = shares.even / (2 * u32::try_from(settings.least_processes.max(1)).unwrap_or(1));
    let slow = pace(cell, paces).is_some_and(|pace| pace.process(LEAST_PASSES) > shares.even);
    PassPlan {
        at_least: if slow { FEWEST_PASSES } else { LEAST_PASSES }.min(settings.passes),
        at_most: settings.passes,
        budget_ms: u64::try_from(share.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(1, settings.process_budget_ms),
    }
}

fn stop_what_is_done(
    progress_of: &mut BTreeMap<&Cell, Progress>,
    observations: &[Observation],
    settings: &RunSettings,
) {
    let latencies = summarise(observations);
    for latency in &latencies {
        let Some(progress) = progress_of.get_mut(&latency.cell) else {
            continue;
        };
        let enough = progress.processes >= settings.least_processes;
        if progress.stop.is_some() || !enough {
            continue;
        }
        let known = |figure| is_known(figure, latency, &latencies, settings);
        if figures(&latency.cell, settings).into_iter().all(known) {
            progress.stop = Some(Stop::Narrow);
        } else if settings.entries > 1 {
            // Of an engine beside itself nothing else is asked, neither its class nor its warm-up.
            progress.steady_is_known = known(Figure::Steady);
        }
    }
}

/// What is to be known of a cell.
fn figures(cell: &Cell, settings: &RunSettings) -> Vec<Figure> {
    if settings.entries > 1 {
        Figure::ALL.into()
    } else if cell.cold_files {
        vec![Figure::ColdStart]
    } else {
        vec![Figure::Steady, Figure::FirstPass]
    }
}

/// Whether a figure of a cell is known as well as it is to be. Of an A/A run it is the ratio of the
/// two entries that is to be known.
fn is_known(figure: Figure, latency: &Latency, all: &[Latency], settings: &RunSettings) -> bool {
    let target = match figure {
        Figure::Steady => settings.target.steady,
        _ => settings.target.first_pass,
    };
    if settings.entries > 1 {
        let pair = |other: &&Latency| {
            other.cell.entry != latency.cell.entry
                && Cell {
                    entry: latency.cell.entry,
                    ..other.cell.clone()
                } == latency.cell
        };
        let pair = all.iter().find(pair);
        let ratio = pair.and_then(|pair| {
            Comparisons::of([(latency, pair)], &[figure]).get(&latency.cell, &pair.cell, figure)
        });
        return ratio.is_some_and(|ratio| ratio.half_width() <= target);
    }
    let estimate = match figure {
        Figure::Steady => latency.steady.as_ref(),
        Figure::ColdStart => latency.cold_start.as_ref(),
        _ => latency.pass.get(&1),
    };
    estimate
        .and_then(Estimate::relative_half_width)
        .is_some_and(|width| width <= target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::tests::run,
        studies::first_passes::judge::latency::tests::{observation, times},
    };

    fn progress(processes: usize, expected_s: u64) -> Progress {
        Progress {
            processes,
            expected: Duration::from_secs(expected_s),
            ..Progress::default()
        }
    }

    #[test]
    fn a_dear_cell_waits_for_the_others() {
        let cheap = observation(0, &[1.0]).cell;
        let expensive = Cell {
            backend: "dear".into(),
            ..cheap.clone()
        };
        let shares = Shares {
            even: Duration::from_secs(10),
            least_processes: 5,
        };
        let allowed = |of_cheap: usize, of_expensive: usize, left_s: u64| {
            let all = BTreeMap::from([
                (&cheap, progress(of_cheap, 4)),
                (&expensive, progress(of_expensive, 30)),
            ]);
            shares.allow(&expensive, &all, Duration::from_secs(left_s))
        };
        // Its first, as long as each of the others can have one as well.
        assert!(allowed(0, 0, 34));
        assert!(!allowed(0, 0, 33));
        // Its second only when the others can have their five.
        assert!(!allowed(1, 1, 45));
        assert!(allowed(1, 1, 46));
        assert!(allowed(5, 1, 30));
        assert!(!allowed(5, 1, 29));
    }

    #[test]
    fn a_cell_beyond_its_share_waits_while_others_are_measured() {
        let shares = Shares {
            even: Duration::from_secs(10),
            least_processes: 5,
        };
        let (slow, other) = (observation(0, &[1.0]).cell, observation(0, &[1.0]).cell);
        let other = Cell { entry: 1, ..other };
        let allowed = |stop: Option<Stop>| {
            let spent = Progress {
                spent: Duration::from_secs(31),
                ..progress(6, 5)
            };
            let waiting = Progress {
                stop,
                ..progress(3, 5)
            };
            let all = BTreeMap::from([(&slow, spent), (&other, waiting)]);
            shares.allow(&slow, &all, Duration::from_secs(60))
        };
        assert!(!allowed(None));
        assert!(allowed(Some(Stop::Narrow)));
    }

    #[test]
    fn of_an_engine_beside_itself_short_processes_end_what_is_left() {
        let settings = RunSettings {
            entries: 2,
            least_processes: 3,
            ..run().settings
        };
        let mut observations = Vec::new();
        for round in 0..6 {
            for entry in 0..2 {
                let first = if (round + entry) % 2 == 0 { 50.0 } else { 80.0 };
                let mut observation = observation(round, &times(&[first], 10.0));
                observation.cell.entry = entry;
                observations.push(observation);
            }
        }
        let cells = [observations[0].cell.clone(), observations[1].cell.clone()];
        let mut all: BTreeMap<&Cell, Progress> =
            cells.iter().map(|cell| (cell, progress(6, 1))).collect();
        stop_what_is_done(&mut all, &observations, &settings);
        assert!(all.values().all(|p| p.stop.is_none() && p.steady_is_known));
    }

    #[test]
    fn equal_entries_run_one_after_the_other() {
        let cell = |backend: &str, entry: usize| Cell {
            backend: backend.into(),
            entry,
            ..observation(0, &[1.0]).cell
        };
        let mut due = [cell("a", 1), cell("b", 0), cell("a", 0), cell("b", 1)];
        keep_twins_together(&mut due, |cell| cell);
        let expected = [cell("a", 1), cell("a", 0), cell("b", 0), cell("b", 1)];
        assert_eq!(due, expected);
    }

    #[test]
    fn a_cell_is_narrow_when_both_its_intervals_are() {
        let cell = |spread: f64, first: f64| {
            let observations: Vec<Observation> = (0..6)
                .map(|round| {
                    let sign = if round % 2 == 0 { 1.0 } else { -1.0 };
                    let level = 10.0 * (1.0 + sign * spread);
                    observation(round, &times(&[50.0 * (1.0 + sign * first)], level))
                })
                .collect();
            let latencies = summarise(&observations);
            let settings = run().settings;
            let known = |figure| is_known(figure, &latencies[0], &latencies, &settings);
            figures(&latencies[0].cell, &settings)
                .into_iter()
                .all(known)
        };
        assert!(cell(0.005, 0.02));
        assert!(!cell(0.06, 0.02), "steady is not");
        assert!(!cell(0.005, 0.2), "pass 1 is not");
    }
}
