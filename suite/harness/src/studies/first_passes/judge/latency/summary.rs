//! From the observations of a run to the figures of each cell.

use std::collections::BTreeMap;

use firstpass_probe::Span;
use firstpass_statistics::{
    Spread,
    bootstrap::{Sample, estimate},
    joint::{Joint, Passes},
    mean, median,
    planted::Noise,
    steady::{SHORTEST_STEADY, Series},
};
use firstpass_trial::observation::{Cell, Observation, Purpose};

use super::{LEAST_PASSES, Latency, Phase, ProcessLatency, SHOWN_PASSES};
use crate::studies::first_passes::judge::{
    core_correction, core_speed::CoreSpeed, first_pass::FirstPass,
};

/// Figures of the first passes may be of slowed passes where too few processes have others.
const FIRST_PASSES: usize = 3;

/// With fewer undisturbed processes the disturbed ones are taken as well: better than nothing.
const FEWEST_UNDISTURBED: usize = 3;

/// Of the bootstrap: the same record gives the same report.
const SEED: u64 = 1;

/// Summarises the completed latency processes of each cell, in the order of the cells.
pub fn summarise<'a>(observations: impl IntoIterator<Item = &'a Observation>) -> Vec<Latency> {
    let observations: Vec<&Observation> = observations.into_iter().collect();
    let speed = CoreSpeed::of(observations.iter().copied());
    let mut by_cell: BTreeMap<&Cell, Vec<&Observation>> = BTreeMap::new();
    for observation in observations {
        let timed = observation.purpose == Purpose::Latency;
        if timed && observation.process.completed() {
            by_cell
                .entry(&observation.cell)
                .or_default()
                .push(observation);
        }
    }
    let mut latencies: Vec<Latency> = by_cell
        .into_iter()
        .filter_map(|(cell, processes)| summarise_cell(cell, &processes, &speed))
        .collect();
    core_correction::correct(&mut latencies);
    FirstPass::judge(&mut latencies);
    latencies
}

/// The noise of the steady passes of all cells, but of those on a slowed core: these are known, and the
/// judging takes the slowdown that was measured into account.
pub fn noise<'a>(latencies: impl IntoIterator<Item = &'a Latency>) -> Option<Noise> {
    let processes = latencies.into_iter().flat_map(|l| &l.processes);
    let steady: Vec<Vec<f64>> = processes
        .filter_map(|p| {
            let passes = p.series.steady.clone()?;
            let undisturbed = passes.filter(|at| !p.slowed[*at]);
            Some(undisturbed.map(|at| p.times[at]).collect())
        })
        .collect();
    Noise::of(steady.iter().map(Vec::as_slice))
}

fn summarise_cell(
    cell: &Cell,
    observations: &[&Observation],
    speed: &CoreSpeed,
) -> Option<Latency> {
    let mut in_order: Vec<&Observation> = observations
        .iter()
        .copied()
        .filter(|o| {
            !o.process.passes.is_empty() && o.process.passes.iter().all(|p| p.span.wall_ns > 0)
        })
        .collect();
    in_order.sort_by_key(|o| o.round);
    let times: Vec<Vec<f64>> = in_order
        .iter()
        .map(|o| {
            o.process
                .passes
                .iter()
                .map(|p| ms(p.span.wall_ns))
                .collect()
        })
        .collect();
    let slowdown: Vec<Vec<f64>> = in_order.iter().map(|o| speed.slowdown(o)).collect();
    let passes: Vec<Passes> = times
        .iter()
        .zip(&slowdown)
        .map(|(times, slowdown)| Passes { times, slowdown })
        .collect();
    let joint = Joint::of(&passes)?;
    let most_passes = times.iter().map(Vec::len).max().unwrap_or_default();
    let has_enough_passes = cell.cold_files || most_passes >= LEAST_PASSES;
    let mut observed: Vec<(&Observation, ProcessLatency)> = in_order
        .iter()
        .zip(&passes)
        .zip(&joint.each)
        .map(|((o, passes), own)| (*o, process(o, passes, own, &joint, speed)))
        .collect();
    let undisturbed = observed
        .iter()
        .filter(|(_, p)| p.undisturbed_cold_start().is_some())
        .count();
    let too_few_undisturbed = undisturbed < FEWEST_UNDISTURBED.min(observed.len());
    if too_few_undisturbed {
        for (_, process) in &mut observed {
            process.slowed_start = false;
            let first = process.slowed.iter_mut().take(FIRST_PASSES);
            first.for_each(|slowed| *slowed = false);
        }
    }
    if !has_enough_passes {
        for (_, process) in &mut observed {
            process.steady.clear();
            process.steady_mean = None;
        }
    }
    let processes: Vec<ProcessLatency> = observed.iter().map(|(_, p)| p.clone()).collect();
    let passes = processes.iter().map(|p| p.times.len()).min()?;
    let joint = Some(joint).filter(|_| !cell.cold_files && has_enough_passes);
    let warm_up_passes = joint.as_ref().and_then(Joint::warm_up_passes);

    let over_processes = |sample: &dyn for<'p> Fn(&'p ProcessLatency) -> Option<Sample<'p>>| {
        let samples: Vec<Sample> = processes.iter().filter_map(sample).collect();
        estimate(&samples, SEED)
    };
    let value = |figure: &dyn Fn(&ProcessLatency) -> Option<f64>| {
        over_processes(&|p| figure(p).map(Sample::Value))
    };
    let spread = |figure: &dyn Fn(&Observation, &ProcessLatency) -> Option<f64>| {
        Spread::of(observed.iter().filter_map(|(o, p)| figure(o, p)))
    };
    let steady_median = |figure: fn(&Span) -> f64| {
        spread(&move |o, p| {
            let passes = o.process.passes.get(p.steady_range.clone())?;
            median(passes.iter().map(|pass| figure(&pass.span)))
        })
    };
    let phases = Phase::ALL.into_iter().filter_map(|phase| {
        let whole = processes
            .iter()
            .filter(|p| p.undisturbed_cold_start().is_some());
        let times = whole.filter_map(|p| p.phases.get(&phase));
        Some((phase, median(times.copied())?))
    });
    Some(Latency {
        cell: cell.clone(),
        passes,
        pass: SHOWN_PASSES
            .into_iter()
            .filter(|n| *n <= passes)
            .filter_map(|n| Some((n, value(&|p| p.pass(n))?)))
            .collect(),
        steady: over_processes(&|p| Some(Sample::Passes(&p.steady))),
        first_over_steady: None,
        second_over_steady: None,
        warm_up_passes,
        warm_up_cost: value(&|p| {
            let before = p.times.get(..warm_up_passes?)?.iter();
            let steady = p.steady_mean?;
            Some(before.map(|t| t - steady).sum())
        }),
        joint,
        cold_start: value(&ProcessLatency::undisturbed_cold_start),
        phases: phases.collect(),
        steady_cpu_ratio: steady_median(|s| s.cpu_ns as f64 / s.wall_ns.max(1) as f64)
            // A probe that does not count it says 0.
            .filter(|ratio| ratio.median > 0.0),
        first_faults: spread(&|o, _| o.process.passes.first().map(|p| faults(&p.span))),
        steady_faults: steady_median(faults),
        peak_memory_mib: spread(&|o, _| o.process.peak_memory_kib.map(|k| k as f64 / 1024.0)),
        too_few_undisturbed,
        has_enough_passes,
        processes,
    })
}

/// One process with the figures that its cell gives it.
fn process(
    observation: &Observation,
    passes: &Passes,
    own: &Series,
    joint: &Joint,
    speed: &CoreSpeed,
) -> ProcessLatency {
    let process = &observation.process;
    let times = passes.times;
    let slowed: Vec<bool> = (0..times.len())
        .map(|at| passes.slowdown.get(at).is_some_and(|factor| *factor > 1.0))
        .collect();
    let second_half = times.len() / 2..times.len();
    let common = joint
        .steady
        .as_ref()
        .map(|steady| steady.start..times.len());
    // A shorter process than the others may end before the steady state.
    let steady_range = common
        .filter(|range| !range.is_empty())
        .unwrap_or(second_half);
    let is_steady = |at: &usize| own.outliers.binary_search(at).is_err();
    let undisturbed: Vec<usize> = steady_range
        .clone()
        .filter(|at| is_steady(at) && !slowed[*at])
        .collect();
    let kept = if undisturbed.len() < SHORTEST_STEADY {
        // A steady time of a disturbed machine is better than none.
        steady_range.clone().filter(is_steady).collect()
    } else {
        undisturbed
    };
    let mut steady: Vec<f64> = kept.iter().map(|at| times[*at]).collect();
    if observation.cell.cold_files {
        // It is over before it could be steady: it was run for its cold start.
        steady.clear();
    }
    let steady_mean = mean(&steady);
    let span = |span: Option<Span>| span.map(|s| ms(s.wall_ns));
    let rest = || {
        let mean = steady_mean?;
        let beyond = times.get(2..joint.warm_up_passes()?).unwrap_or_default();
        Some(beyond.iter().map(|t| t - mean).sum::<f64>().max(0.0))
    };
    let phases = [
        (Phase::ProcessStart, process.process_start_ns().map(ms)),
        (Phase::EngineStart, span(process.started)),
        (Phase::Load, span(process.loaded)),
        (Phase::Prepare, span(process.prepared)),
        (Phase::WarmUp, span(process.warmed_up)),
        (Phase::Pass1, times.first().copied()),
        (Phase::Pass2, times.get(1).copied()),
        (Phase::RestOfWarmUp, rest()),
    ];
    ProcessLatency {
        round: observation.round,
        slowed,
        slowed_start: speed.slowed_start(observation),
        core: speed.course(observation, &kept),
        core_correction: BTreeMap::new(),
        steady,
        steady_mean,
        steady_range,
        cold_start: process.cold_start_ns().map(ms),
        phases: phases
            .into_iter()
            .filter_map(|(phase, time)| Some((phase, time?)))
            .collect(),
        series: own.clone(),
        times: times.to_vec(),
        wall_ms: observation.system_counters.wall_ms,
    }
}

/// Page faults of a span, of either kind.
pub fn faults(span: &Span) -> f64 {
    (span.minor_faults + span.major_faults) as f64
}

pub(crate) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
