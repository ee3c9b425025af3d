//! Passes during which the core was slower than it is otherwise, as reference work beside each pass
//! tells: another tenant ran on the same core, or its frequency was lower. Neither shows in steal,
//! load or CPU time.
//!
//! These passes are left out of the figures where there are enough others, and stay in the record. What
//! decides is the time of the reference work and never that of the pass. How much slower the core was bounds
//! what it can explain, so that no pass of an engine that is slow beyond that is ever forgotten.

use std::collections::BTreeMap;

use firstpass_probe::Span;
use firstpass_statistics::{median, quantile};
use firstpass_trial::observation::{Observation, Process};

/// A core is slowed where the reference work takes this many times what it takes otherwise. Two
/// hardware threads that share a core slow it by 1.4 and more; its own variation is below 1.1.
pub const SLOWED: f64 = 1.2;

/// The share of the reference times that are at most what the work takes on a core of our own.
const QUIET: f64 = 0.1;

/// What the reference work takes on a core of our own, in ns: by backend and number of threads,
/// because the threads of some engines go on spinning when a pass is over.
#[derive(Debug, Clone, Default)]
pub struct CoreSpeed(BTreeMap<(String, usize), f64>);

impl CoreSpeed {
    pub fn of<'a>(observations: impl IntoIterator<Item = &'a Observation>) -> Self {
        let mut times: BTreeMap<(String, usize), Vec<f64>> = BTreeMap::new();
        for observation in observations {
            let of_group = times.entry(key(observation)).or_default();
            of_group.extend(references(&observation.process).into_iter().flatten());
        }
        let floors = times
            .into_iter()
            .filter_map(|(key, times)| Some((key, quantile(times, QUIET)?)));
        Self(floors.collect())
    }

    /// By what factor the core was slower during each pass of the process, as the reference work before
    /// or after it says; 1 where it was not.
    pub fn slowdown(&self, observation: &Observation) -> Vec<f64> {
        let references = references(&observation.process);
        let first = references.len() - 1 - observation.process.passes.len();
        self.factors(observation, &references[first..])
    }

    /// How slow the core was while a process ran; `None` where the reference work was not measured throughout.
    /// `steady` has the passes, from 0, that its steady time is of.
    pub fn course(&self, observation: &Observation, steady: &[usize]) -> Option<CoreCourse> {
        let floor = self.0.get(&key(observation))?;
        let process = &observation.process;
        let references: Option<Vec<f64>> = references(process).into_iter().collect();
        let references = references?;
        let around = references.windows(2);
        let mut slowness: Vec<f64> = around
            .map(|pair| f64::midpoint(pair[0], pair[1]) / floor)
            .collect();
        let passes = slowness.split_off(slowness.len() - process.passes.len());
        // The steps, and pass 1, by how long they took.
        let spans = steps(process).chain(process.passes.iter().take(1).map(|pass| pass.span));
        let weights: Vec<f64> = spans.map(|span| span.wall_ns as f64).collect();
        let until_first = slowness.iter().chain(passes.first());
        let sum: f64 = until_first.zip(&weights).map(|(slow, w)| slow * w).sum();
        let in_steady = steady.iter().filter_map(|at| passes.get(*at)).copied();
        Some(CoreCourse {
            start: sum / weights.iter().sum::<f64>(),
            steady: median(in_steady)?,
            passes,
        })
    }

    /// Whether any step before the first pass was slowed.
    pub fn slowed_start(&self, observation: &Observation) -> bool {
        let references = references(&observation.process);
        let steps = references.len() - observation.process.passes.len();
        let factors = self.factors(observation, &references[..steps]);
        factors.iter().any(|factor| *factor > 1.0)
    }

    /// By work: what the reference before or after it says. There is one more of them.
    fn factors(&self, observation: &Observation, references: &[Option<f64>]) -> Vec<f64> {
        let floor = self.0.get(&key(observation)).copied();
        let factor = |reference: Option<f64>| match (reference, floor) {
            (Some(reference), Some(floor)) if reference > SLOWED * floor => reference / floor,
            _ => 1.0,
        };
        references
            .windows(2)
            .map(|pair| factor(pair[0]).max(factor(pair[1])))
            .collect()
    }
}

/// The time of the reference work while a process ran, over what it takes on a core of our own.
#[derive(Debug, Clone, PartialEq)]
pub struct CoreCourse {
    /// From the engine's start to the end of pass 1, weighted by time.
    pub start: f64,
    pub passes: Vec<f64>,
    /// The median of the passes that the steady time is of.
    pub steady: f64,
}

fn key(observation: &Observation) -> (String, usize) {
    let cell = &observation.cell;
    (cell.backend.clone(), cell.threads())
}

/// The reference times in order: before each step, before each pass, and at the end. `None` where
/// it was not measured.
fn references(process: &Process) -> Vec<Option<f64>> {
    let before_steps = steps(process).map(|span| span.reference_ns);
    let before_passes = process.passes.iter().map(|pass| pass.span.reference_ns);
    before_steps
        .chain(before_passes)
        .chain([process.last_reference_ns.unwrap_or(0)])
        .map(|ns| (ns > 0).then_some(ns as f64))
        .collect()
}

/// The steps before the first pass that were taken.
fn steps(process: &Process) -> impl Iterator<Item = Span> {
    let steps = [
        process.started,
        process.loaded,
        process.prepared,
        process.warmed_up,
    ];
    steps.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::first_passes::judge::latency::tests::{observation, times};

    /// A process whose reference work takes 10 µs, and 15 µs before the passes `slow`.
    fn process(slow: &[usize]) -> Observation {
        let mut observation = observation(0, &times(&[50.0], 10.0));
        let process = &mut observation.process;
        let steps = [
            &mut process.started,
            &mut process.loaded,
            &mut process.prepared,
        ];
        for span in steps.into_iter().flatten() {
            span.reference_ns = 10_000;
        }
        for (at, pass) in process.passes.iter_mut().enumerate() {
            pass.span.reference_ns = if slow.contains(&at) { 15_000 } else { 10_000 };
        }
        process.last_reference_ns = Some(10_500);
        observation
    }

    #[test]
    fn the_work_on_both_sides_of_a_slow_reference_is_slowed() {
        let disturbed = process(&[7]);
        let speed = CoreSpeed::of([&disturbed, &process(&[])]);
        let slowdown = speed.slowdown(&disturbed);
        let slowed: Vec<usize> = (0..31).filter(|at| slowdown[*at] > 1.0).collect();
        assert_eq!(slowed, [6, 7]);
        assert!((slowdown[6] - 1.5).abs() < 1e-9);
        assert!(!speed.slowed_start(&disturbed));
        assert!(speed.slowed_start(&process(&[0])));
    }

    #[test]
    fn a_record_without_references_has_none_slowed() {
        let plain = observation(0, &times(&[50.0], 10.0));
        let speed = CoreSpeed::of([&plain]);
        assert!(speed.slowdown(&plain).iter().all(|factor| *factor == 1.0));
        assert!(!speed.slowed_start(&plain));
    }
}
