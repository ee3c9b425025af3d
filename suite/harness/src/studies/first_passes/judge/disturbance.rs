//! Which processes were disturbed by something else on the machine. They are named, never left out;
//! only passes of which reference work says that their core was slow are (see [`CoreSpeed`]).

use std::fmt;

use firstpass_statistics::median;
use firstpass_trial::{
    observation::{Observation, Purpose},
    system_counters::SystemCounters,
};

use crate::studies::first_passes::judge::core_speed::CoreSpeed;

/// The hypervisor gave this share of a CPU to others.
const STOLEN: f64 = 0.02;

/// Other processes used this share of a CPU.
const SHARED: f64 = 0.25;

/// Steady passes that have a CPU each are not kept from it; below this share of the wall time they
/// were, or waited for something.
const WAITED: f64 = 0.9;

/// Counters of the kernel tick every 10 ms, so that they say nothing of a shorter time. Shorter processes
/// are judged together with those that ran just before and after them, until so much time is covered.
const SHORTEST_MS: f64 = 200.0;

/// Where all processes together are too short for these counters, the load average tells: more programs than
/// this wanted to run on each core. A build that has just ended leaves about one.
const LOADED: f64 = 1.5;

/// What disturbed a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Disturbance {
    /// The share of one CPU that the hypervisor took.
    Stolen(f64),
    /// The share of one CPU that other processes used while all CPUs were asked for, or nearly.
    Shared(f64),
    /// How many programs wanted to run, on a machine of this many cores, in the minute before; the processes were
    /// too short for counters.
    Loaded { average: f64, cores: usize },
    /// CPU time over wall time of a pass with one thread.
    Waited(f64),
    /// So many other commands of Firstpass measured meanwhile.
    Measured(usize),
    /// Passes after the second read from the disk this many times.
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
            Self::Loaded { average, cores } => {
                write!(
                    f,
                    "a load average of {average:.1} on {cores} core{}",
                    if *cores == 1 { "" } else { "s" }
                )
            }
            Self::Waited(share) => {
                write!(
                    f,
                    "passes had a CPU for only {:.0} % of their time",
                    100.0 * share
                )
            }
            Self::Measured(1) => f.write_str("another command of Firstpass measured meanwhile"),
            Self::Measured(count) => {
                write!(f, "{count} other commands of Firstpass measured meanwhile")
            }
            Self::DiskReads(count) => write!(f, "{count} page faults that read from the disk"),
        }
    }
}

/// What the hypervisor and other processes took, as shares of one CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct TakenShares {
    stolen: f64,
    shared: f64,
}

impl TakenShares {
    /// While the process at this place ran, and its neighbours where it was too short to tell. The processes
    /// are in the order in which they ran; `None` where all of them together are too short.
    ///
    /// `before` holds how long all processes before each took together, in ms: with many short ones, adding that up
    /// anew for each would take the square of their number.
    fn around(in_order: &[&Observation], before: &[f64], at: usize) -> Option<Self> {
        let end = in_order.len().checked_sub(1)?;
        if before[end + 1] < SHORTEST_MS {
            return None;
        }
        let reach = |by: usize| (at.saturating_sub(by), (at + by).min(end));
        let is_long_enough = |by: usize| {
            let (first, last) = reach(by);
            before[last + 1] - before[first] >= SHORTEST_MS
        };
        let (mut short, mut long) = (0, end);
        while short < long {
            let middle = usize::midpoint(short, long);
            match is_long_enough(middle) {
                true => long = middle,
                false => short = middle + 1,
            }
        }
        let (mut first, mut last) = reach(short.saturating_sub(1));
        let sum = |first: usize, last: usize, counter: fn(&SystemCounters) -> Option<f64>| -> f64 {
            let counters = in_order[first..=last].iter().map(|o| &o.system_counters);
            counters.filter_map(counter).sum()
        };
        let wall = |first, last| sum(first, last, |counters| Some(counters.wall_ms));
        while wall(first, last) < SHORTEST_MS {
            if first == 0 && last + 1 == in_order.len() {
                return None;
            }
            first = first.saturating_sub(1);
            last = (last + 1).min(in_order.len() - 1);
        }
        let wall = wall(first, last);
        Some(Self {
            stolen: sum(first, last, |counters| counters.steal_ms) / wall,
            shared: sum(first, last, |counters| counters.others_cpu_ms) / wall,
        })
    }
}

/// How long all processes before each took together, and at the end all of them, in ms.
fn wall_before(in_order: &[&Observation]) -> Vec<f64> {
    let mut before = vec![0.0];
    let mut sum = 0.0;
    for observation in in_order {
        sum += observation.system_counters.wall_ms;
        before.push(sum);
    }
    before
}

/// What disturbed the process of an observation; empty where nothing is known to have.
fn disturbances(
    observation: &Observation,
    taken: Option<TakenShares>,
    cores: usize,
) -> Vec<Disturbance> {
    let mut found = Vec::new();
    let others = observation.system_counters.other_measurements;
    if others > 0 {
        found.push(Disturbance::Measured(others));
    }
    let average = observation.system_counters.load_average;
    if taken.is_none() && average > LOADED * cores as f64 {
        found.push(Disturbance::Loaded { average, cores });
    }
    let taken = taken.unwrap_or_default();
    if taken.stolen > STOLEN {
        found.push(Disturbance::Stolen(taken.stolen));
    }
    if taken.shared > SHARED {
        found.push(Disturbance::Shared(taken.shared));
    }
    let later = observation.process.passes.get(2..).unwrap_or_default();
    if observation.cell.threads() == 1 {
        // A probe that does not count it says 0.
        let counted = later.iter().filter(|p| p.span.cpu_ns > 0);
        let ratios = counted.map(|p| p.span.cpu_ns as f64 / p.span.wall_ns.max(1) as f64);
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

/// Summarises the latency processes of a run on a machine of this many cores.
pub fn summarise<'a>(
    observations: impl IntoIterator<Item = &'a Observation>,
    cores: usize,
) -> Summary {
    let observations: Vec<&Observation> = observations.into_iter().collect();
    let speed = CoreSpeed::of(observations.iter().copied());
    // Those that were started for agreement are neighbours too.
    let mut in_order = observations;
    in_order.sort_by_key(|o| o.process.spawned_ns);
    let before = wall_before(&in_order);
    let mut summary = Summary::default();
    for (at, observation) in in_order.iter().enumerate() {
        if observation.purpose != Purpose::Latency {
            continue;
        }
        summary.processes += 1;
        let slowdown = speed.slowdown(observation);
        summary.passes += slowdown.len();
        summary.slowed_passes += slowdown.iter().filter(|factor| **factor > 1.0).count();
        let found = disturbances(
            observation,
            TakenShares::around(&in_order, &before, at),
            cores,
        );
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
        Disturbance::Loaded { average, .. } => average,
        Disturbance::Waited(share) => -share,
        Disturbance::DiskReads(count) => count as f64,
        Disturbance::Measured(count) => count as f64,
    };
    if strength(b) > strength(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::first_passes::judge::latency::tests::{observation, times};

    #[test]
    fn many_short_processes_are_judged_at_once() {
        let short = |wall_ms: f64| {
            let mut observation = observation(0, &[1.0]);
            observation.system_counters.wall_ms = wall_ms;
            observation
        };
        // The definition: the neighbourhood grows until it is long enough.
        let grown = |in_order: &[&Observation], at: usize| {
            let wall = |by: usize| -> f64 {
                let (first, last) = (at.saturating_sub(by), (at + by).min(in_order.len() - 1));
                in_order[first..=last]
                    .iter()
                    .map(|o| o.system_counters.wall_ms)
                    .sum()
            };
            (0..in_order.len())
                .map(wall)
                .find(|wall| *wall >= SHORTEST_MS)
        };
        for walls in [
            vec![0.0; 5000],
            (0..300).map(|n| f64::from(n % 7)).collect(),
            vec![1e6, 0.0, 0.0, SHORTEST_MS],
        ] {
            let all: Vec<Observation> = walls.iter().map(|wall| short(*wall)).collect();
            let in_order: Vec<&Observation> = all.iter().collect();
            let before = wall_before(&in_order);
            for at in (0..in_order.len()).step_by(1 + in_order.len() / 20) {
                let found = TakenShares::around(&in_order, &before, at);
                assert_eq!(found.is_some(), grown(&in_order, at).is_some(), "{at}");
            }
        }
        assert_eq!(
            summarise(&(0..5000).map(|_| short(0.0)).collect::<Vec<_>>(), 2).processes,
            5000
        );
    }

    #[test]
    fn a_quiet_process_is_not_disturbed() {
        let quiet = observation(0, &times(&[90.0], 10.0));
        let taken = TakenShares::around(&[&quiet], &wall_before(&[&quiet]), 0);
        assert_eq!(disturbances(&quiet, taken, 2), []);
    }

    #[test]
    fn each_kind_is_named() {
        let mut disturbed = observation(0, &times(&[90.0], 10.0));
        disturbed.system_counters.wall_ms = 1000.0;
        disturbed.system_counters.steal_ms = Some(50.0);
        disturbed.system_counters.others_cpu_ms = Some(400.0);
        disturbed.system_counters.other_measurements = 2;
        for pass in &mut disturbed.process.passes {
            pass.span.cpu_ns = pass.span.wall_ns / 2;
        }
        disturbed.process.passes[7].span.major_faults = 3;
        assert_eq!(
            disturbances(
                &disturbed,
                TakenShares::around(&[&disturbed], &wall_before(&[&disturbed]), 0),
                2
            ),
            [
                Disturbance::Measured(2),
                Disturbance::Stolen(0.05),
                Disturbance::Shared(0.4),
                Disturbance::Waited(0.5),
                Disturbance::DiskReads(3)
            ]
        );
        let mut quiet = observation(1, &times(&[], 10.0));
        quiet.system_counters.wall_ms = 1000.0;
        let summary = summarise(&[disturbed, quiet], 2);
        assert_eq!((summary.processes, summary.disturbed), (2, 1));
        assert!(summary.is_disturbed());
    }

    /// Twenty processes of 24 ms each, one right after the other. Counters tick every 10 ms: other
    /// processes got `ticks` of them in a process, in turns.
    fn short_processes(ticks: &[u32]) -> Vec<Observation> {
        let short = |round: usize| {
            let mut observation = observation(round, &times(&[], 0.5));
            observation.process.spawned_ns = round as u64 * 24_000_000;
            observation.system_counters.wall_ms = 24.0;
            let others = 10.0 * f64::from(ticks[round % ticks.len()]);
            observation.system_counters.others_cpu_ms = Some(others);
            observation
        };
        (0..20).map(short).collect()
    }

    #[test]
    fn short_processes_are_judged_with_their_neighbours() {
        let loaded = summarise(&short_processes(&[2, 3, 2, 2]), 2);
        assert_eq!((loaded.processes, loaded.disturbed), (20, 20));
        assert!(matches!(loaded.kinds[..], [(20, Disturbance::Shared(share))] if share > 0.8));

        // A single tick is more than a quarter of a short process, and is nothing.
        let quiet = summarise(&short_processes(&[0, 0, 1, 0]), 2);
        assert_eq!((quiet.processes, quiet.disturbed), (20, 0));
    }

    /// As of a tiny model, whose processes take less time all together than one tick tells.
    #[test]
    fn where_counters_cannot_tell_the_load_does() {
        let under = |load: f64| {
            let mut run = short_processes(&[0]);
            for observation in &mut run {
                observation.system_counters.wall_ms = 5.0;
                observation.system_counters.load_average = load;
            }
            summarise(&run, 2)
        };
        let loaded = under(6.5);
        assert_eq!((loaded.processes, loaded.disturbed), (20, 20));
        let words = loaded.kinds[0].1.to_string();
        assert_eq!(words, "a load average of 6.5 on 2 cores");
        assert_eq!(under(2.0).disturbed, 0);
    }

    #[test]
    fn a_load_disturbs_only_what_ran_meanwhile() {
        let mut run = short_processes(&[0]);
        for observation in &mut run[..10] {
            observation.system_counters.others_cpu_ms = Some(24.0);
        }
        // In whichever order a record keeps them.
        run.reverse();
        let disturbed = summarise(&run, 2).disturbed;
        assert!((10..=14).contains(&disturbed), "{disturbed}");
    }
}
