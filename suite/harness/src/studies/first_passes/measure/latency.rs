//! Rounds over the cells, in a new order each time. First every cell gets a few processes; then rounds go
//! where a question that a reader looks at first is still open, those first that take the least time to
//! answer, until none is open or the time is used up.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Result;
use firstpass_probe::{PassPlan, Trial};
use firstpass_statistics::{
    bootstrap::Estimate,
    comparison::{Comparison, is_look},
};
use firstpass_trial::{
    observation::{Cell, Observation, Purpose},
    workload::{InputFiles, Workload},
};
use rand::seq::SliceRandom;

use crate::{
    page::terminal::beginning,
    progress::timed,
    record::{Line, Recorder, RunSettings, Stop},
    studies::first_passes::{
        judge::{
            comparisons::Comparisons,
            headlines::{Answer, Asked},
            latency::{Figure, LEAST_PASSES, Latency, summarise},
            no_choice::NoChoice,
        },
        measure::{
            Asks, Budget, Job,
            agreement::{Pace, Paces, paced},
            label,
        },
    },
};

/// Every cell gets this many processes before rounds go where a question is open.
const FIRST_PROCESSES: usize = 2;

/// How many passes a process with cold files does: what is cold is over after the first.
const COLD_PASSES: usize = 3;

/// A slow cell may use this many times its even share of the time while others wait for theirs.
const GREATEST_SHARE: u32 = 3;

/// From this many rounds on, only every such round is judged: there are many when processes are short.
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
    /// Whether a cell may have a process now. One that is dear has one, and waits until the time is enough for the
    /// others to get twice their least number: that is what it takes to tell engines apart, and a dear process costs
    /// many of theirs.
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
        if !self.is_dear(progress) {
            return progress.expected <= left;
        }
        // Each gets one if there is any way.
        let wanted = if progress.processes == 0 {
            1
        } else {
            2 * self.least_processes
        };
        let owed: Duration = all
            .values()
            .filter(|other| other.stop.is_none() && !self.is_dear(other))
            .map(|other| {
                let missing = wanted.saturating_sub(other.processes);
                other.expected * u32::try_from(missing).unwrap_or(0)
            })
            .sum();
        progress.expected + owed <= left
    }

    /// Whether a single process takes more than half of what a cell may spend in all.
    fn is_dear(&self, progress: &Progress) -> bool {
        2 * progress.expected > self.even
    }
}

/// What decides how the time is spent: how much there is, how fast the engines are, and what is asked.
#[derive(Clone, Copy)]
pub(crate) struct TimePlan<'a> {
    pub budget: &'a Budget,
    pub paces: &'a Paces,
    pub asks: Asks<'a>,
    pub no_choice: &'a NoChoice,
}

/// Measures until every cell has a reason to stop, which is recorded.
pub(crate) fn observe(
    jobs: &[&Job],
    workload: &Workload,
    settings: &RunSettings,
    time: &TimePlan,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    let Some(sample) = workload.samples.first() else {
        return Ok(());
    };
    let TimePlan {
        budget,
        paces,
        asks,
        no_choice,
    } = *time;
    let asks = |latencies: &[Latency]| asks(latencies, no_choice);
    let shares = Shares {
        even: budget.left() / u32::try_from(jobs.len().max(1))?,
        least_processes: settings.least_processes,
    };
    let plans: Vec<(&Job, PassPlan)> = jobs
        .iter()
        .map(|job| (*job, plan(&job.cell, settings, &shares)))
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
    let bar = timed("times", budget.left());
    let before = budget.spent();
    let mut open = String::new();
    for round in 0..settings.processes {
        let mut due = plans.clone();
        due.retain(|(job, _)| progress_of[&job.cell].stop.is_none());
        due.shuffle(&mut rand::rng());
        if round == 0 {
            // Where the time ends early there is something to compare settings with.
            due.sort_by_key(|(job, _)| !job.cell.is_default());
        }
        keep_twins_together(&mut due, |(job, _)| &job.cell);
        let mut measured = 0;
        for (job, plan) in due {
            if !shares.allow(&job.cell, &progress_of, budget.left()) {
                continue;
            }
            bar.set_message(format!("{open}round {}, {}", round + 1, label(&job.cell)));
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
            bar.set_position((budget.spent() - before).as_secs());
            if let Some(progress) = progress_of.get_mut(&job.cell) {
                progress.processes += 1;
                progress.expected = budget.spent() - began;
                progress.spent += progress.expected;
                if !observation.process.completed() {
                    // It is a row already; failing again would only take time.
                    progress.stop = Some(Stop::Failed);
                    let outcome = observation.process.outcome.to_string();
                    let outcome = beginning(&outcome);
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
        if settings.entries > 1 {
            if round < JUDGED_EVERY || round % JUDGED_EVERY == 0 {
                stop_what_is_known(&mut progress_of, &observations, settings);
            }
        } else if is_look(round + 1) {
            let asked =
                stop_what_is_answered(&mut progress_of, &observations, settings, budget, asks);
            open = format!("{} of {} questions open, ", asked.open.len(), asked.all);
        }
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

/// As many passes as fit into a quarter of what a cell may spend on each of its least processes. Processes differ by
/// 5 to 10 % on a shared machine, and twenty passes tell the steady time of one to 1 %: more processes tell more than
/// longer ones.
fn plan(cell: &Cell, settings: &RunSettings, shares: &Shares) -> PassPlan {
    if cell.cold_files {
        return PassPlan::exactly(COLD_PASSES);
    }
    let share = shares.even / (4 * u32::try_from(settings.least_processes.max(1)).unwrap_or(1));
    PassPlan {
        // Of a slow engine as well: where these are too many for the budget, the row says so.
        at_least: LEAST_PASSES.min(settings.passes),
        at_most: settings.passes,
        budget_ms: u64::try_from(share.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(1, settings.process_budget_ms),
    }
}

/// Stops the cells that have enough processes and belong to no question that is open and can still be
/// answered; one that belongs to such a question again goes on.
fn stop_what_is_answered(
    progress_of: &mut BTreeMap<&Cell, Progress>,
    observations: &[Observation],
    settings: &RunSettings,
    budget: &Budget,
    asks: impl Fn(&[Latency]) -> Asked,
) -> Asked {
    let latencies = summarise(observations);
    let asked = asks(&latencies);
    let wanted = worth_asking(&asked.open, progress_of, budget.left());
    // The others get the rest of their processes when nothing is open any more.
    let least = if wanted.is_empty() {
        settings.least_processes
    } else {
        FIRST_PROCESSES.min(settings.least_processes)
    };
    for latency in &latencies {
        let Some(progress) = progress_of.get_mut(&latency.cell) else {
            continue;
        };
        if progress.stop == Some(Stop::Failed) {
            continue;
        }
        let enough = progress.processes >= least;
        let known = !latency.cell.cold_files || is_narrow(latency.cold_start.as_ref(), settings);
        let done = enough && known && !wanted.contains(&latency.cell);
        let is_open = |answer: &Answer| matches!(answer, Answer::Open { cells, .. } if cells.contains(&latency.cell));
        // What is open and gets no more rounds would take more time than is left.
        let reason = if asked.open.iter().any(is_open) {
            Stop::Budget
        } else {
            Stop::Answered
        };
        progress.stop = done.then_some(reason);
    }
    asked
}

/// The cells of the open questions that the time is enough for, beginning with those that take the least
/// time; the last of them may come to its end or not.
fn worth_asking(
    open: &[Answer],
    progress_of: &BTreeMap<&Cell, Progress>,
    left: Duration,
) -> BTreeSet<Cell> {
    let cost = |answer: &Answer| -> Option<(Duration, BTreeSet<Cell>)> {
        let Answer::Open { cells, rounds } = answer else {
            return None;
        };
        let of_cells = || cells.iter().filter_map(|cell| progress_of.get(cell));
        if of_cells().any(|p| p.stop == Some(Stop::Failed)) {
            return None;
        }
        let round: Duration = of_cells().map(|p| p.expected).sum();
        let done = of_cells().map(|p| p.processes).min()?;
        // What would take very long gets its turn last.
        let more = rounds.map_or(VERY_MANY, |rounds| rounds.saturating_sub(done).max(1));
        Some((
            round * u32::try_from(more).unwrap_or(u32::MAX),
            cells.clone(),
        ))
    };
    let mut costs: Vec<(Duration, BTreeSet<Cell>)> = open.iter().filter_map(cost).collect();
    costs.sort();
    let mut wanted = BTreeSet::new();
    let mut planned = Duration::ZERO;
    for (cost, cells) in costs {
        if planned >= left {
            break;
        }
        planned += cost;
        wanted.extend(cells);
    }
    wanted
}

/// Rounds of a question of which no number is known that would answer it.
const VERY_MANY: usize = 1000;

/// Whether an interval is as narrow as that of a first pass is to be.
fn is_narrow(estimate: Option<&Estimate>, settings: &RunSettings) -> bool {
    estimate
        .and_then(Estimate::relative_half_width)
        .is_some_and(|width| width <= settings.target.first_pass)
}

/// Of an A/A run, stops the pairs whose ratios are as narrow as they were to be.
fn stop_what_is_known(
    progress_of: &mut BTreeMap<&Cell, Progress>,
    observations: &[Observation],
    settings: &RunSettings,
) {
    let latencies = summarise(observations);
    let pairs = latencies.iter().flat_map(|first| {
        let twin = |other: &&Latency| is_twin(&first.cell, &other.cell);
        latencies
            .iter()
            .filter(twin)
            .map(move |second| (first, second))
    });
    let comparisons = Comparisons::of(pairs, &Figure::ALL);
    for latency in &latencies {
        let Some(progress) = progress_of.get_mut(&latency.cell) else {
            continue;
        };
        let enough = progress.processes >= settings.least_processes;
        if progress.stop.is_some() || !enough {
            continue;
        }
        let known = |figure: Figure| {
            let target = match figure {
                Figure::Steady => settings.target.steady,
                _ => settings.target.first_pass,
            };
            let of_pair = |(which, a, b, _): &(Figure, &Cell, &Cell, &Comparison)| {
                *which == figure && (**a == latency.cell || **b == latency.cell)
            };
            let ratio = comparisons.iter().find(of_pair);
            ratio.is_some_and(|(_, _, _, ratio)| ratio.half_width() <= target)
        };
        if Figure::ALL.into_iter().all(known) {
            progress.stop = Some(Stop::Narrow);
        } else {
            // Nothing else is asked of an engine beside itself, neither its class nor its warm-up.
            progress.steady_is_known = known(Figure::Steady);
        }
    }
}

/// Whether the second is the other entry of the first.
fn is_twin(first: &Cell, second: &Cell) -> bool {
    first.entry == 0
        && second.entry == 1
        && Cell {
            entry: 0,
            ..second.clone()
        } == *first
}

#[cfg(test)]
mod tests;
