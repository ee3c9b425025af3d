//! Which processes were disturbed by something else on the machine. They are named, never left out;
//! only passes of which reference work says that their core was slow are (see [`CoreSpeed`]).

use std::fmt;

use firstpass_statistics::median;
use firstpass_trial::observation::{Observation, Purpose};

use crate::studies::first_passes::judge::core_speed::CoreSpeed;

/// The hypervisor gave this share of a CPU to others.
const STOLEN: f64 = 0.02;

/// Other processes used this share of a CPU.
const SHARED: f64 = 0.25;

/// Steady passes that have a CPU each are not kept from it; below this share of the wall time they
/// were, or waited for something.
const WAITED: f64 = 0.9;

/// Counters of the kernel tick every 10 ms: of a shorter process they say nothing.
const SHORTEST_MS: f64 = 200.0;

/// What disturbed a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Disturbance {
    /// The share of one CPU that the hypervisor took.
    Stolen(f64),
    /// The share of one CPU that other processes used while all CPUs were asked for, or nearly.
    Shared(f64),
    /// CPU time over wall time of a pass with one thread.
    Waited(f64),
    /// Passes after the second read from the disk so many times.
    DiskReads(u64),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stolen(share) => {
                write!(f, "the hypervisor took {:.0} % of a CPU", 100.0 * share)
            }
            Self::Shared(share) => {
                write!(f, "other processes used {:.0} % of a CPU", 100.0 * share)
            }
            Self::Waited(share) => {
                write!(
                    f,
                    "passes had a CPU for only {:.0} % of their time",
                    100.0 * share
                )
            }
            Self::DiskReads(count) => write!(f, "{count} page faults that read from the disk"),
        }
    }
}

/// What disturbed the process of an observation; empty where nothing is known to have.
pub fn disturbances(observation: &Observation) -> Vec<Disturbance> {
    let mut found = Vec::new();
    let system_counters = &observation.system_counters;
    if system_counters.wall_ms >= SHORTEST_MS {
        let share = |time: Option<f64>| time.map_or(0.0, |ms| ms / system_counters.wall_ms);
        let stolen = share(system_counters.steal_ms);
        if stolen > STOLEN {
            found.push(Disturbance::Stolen(stolen));
        }
        let shared = share(system_counters.others_cpu_ms);
        if shared > SHARED {
            found.push(Disturbance::Shared(shared));
        }
    }
    let later = observation.process.passes.get(2..).unwrap_or_default();
    if observation.cell.threads() == 1 {
        let ratios = later
            .iter()
            .map(|p| p.span.cpu_ns as f64 / p.span.wall_ns.max(1) as f64);
        if let Some(ratio) = median(ratios).filter(|ratio| *ratio < WAITED) {
            found.push(Disturbance::Waited(ratio));
        }
    }
    let reads = later.iter().map(|p| p.span.major_faults).sum();
    if reads > 0 && !observation.cell.cold_files {
        found.push(Disturbance::DiskReads(reads));
    }
    found
}

/// How much of a run was disturbed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    pub processes: usize,
    pub disturbed: usize,
    /// By kind, in words: how many processes, and the strongest case.
    pub kinds: Vec<(usize, Disturbance)>,
    pub passes: usize,
    /// Passes on a slowed core, which no figure contains.
    pub slowed_passes: usize,
}

impl Summary {
    /// The share of the passes that ran on a slowed core.
    pub fn slowed_share(&self) -> f64 {
        self.slowed_passes as f64 / self.passes.max(1) as f64
    }

    /// More than one process in five: ratios within rounds still hold, but the figures are those of
    /// a busy machine.
    pub fn is_disturbed(&self) -> bool {
        self.disturbed * 5 > self.processes
    }
}

/// Summarises the latency processes of a run.
pub fn summarise<'a>(observations: impl IntoIterator<Item = &'a Observation>) -> Summary {
    let observations: Vec<&Observation> = observations.into_iter().collect();
    let speed = CoreSpeed::of(observations.iter().copied());
    let mut summary = Summary::default();
    for observation in observations {
        if observation.purpose != Purpose::Latency {
            continue;
        }
        summary.processes += 1;
        let slowdown = speed.slowdown(observation);
        summary.passes += slowdown.len();
        summary.slowed_passes += slowdown.iter().filter(|factor| **factor > 1.0).count();
        let found = disturbances(observation);
        summary.disturbed += usize::from(!found.is_empty());
        for disturbance in found {
            let same =
                |d: &Disturbance| std::mem::discriminant(d) == std::mem::discriminant(&disturbance);
            match summary.kinds.iter_mut().find(|(_, d)| same(d)) {
                Some((count, worst)) => {
                    *count += 1;
                    *worst = stronger(*worst, disturbance);
                }
                None => summary.kinds.push((1, disturbance)),
            }
        }
    }
    summary
        .kinds
        .sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    summary
}

fn stronger(a: Disturbance, b: Disturbance) -> Disturbance {
    let strength = |d: Disturbance| match d {
        Disturbance::Stolen(share) | Disturbance::Shared(share) => share,
        Disturbance::Waited(share) => -share,
        Disturbance::DiskReads(count) => count as f64,
    };
    if strength(b) > strength(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::first_passes::judge::latency::tests::{observation, times};

    #[test]
    fn a_quiet_process_is_not_disturbed() {
        assert_eq!(disturbances(&observation(0, &times(&[90.0], 10.0))), []);
    }

    #[test]
    fn each_kind_is_named() {
        let mut disturbed = observation(0, &times(&[90.0], 10.0));
        disturbed.system_counters.wall_ms = 1000.0;
        disturbed.system_counters.steal_ms = Some(50.0);
        disturbed.system_counters.others_cpu_ms = Some(400.0);
        for pass in &mut disturbed.process.passes {
            pass.span.cpu_ns = pass.span.wall_ns / 2;
        }
        disturbed.process.passes[7].span.major_faults = 3;
        assert_eq!(
            disturbances(&disturbed),
            [
                Disturbance::Stolen(0.05),
                Disturbance::Shared(0.4),
                Disturbance::Waited(0.5),
                Disturbance::DiskReads(3)
            ]
        );
        let summary = summarise(&[disturbed, observation(1, &times(&[], 10.0))]);
        assert_eq!((summary.processes, summary.disturbed), (2, 1));
        assert!(summary.is_disturbed());
    }
}
