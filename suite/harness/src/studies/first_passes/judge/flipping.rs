//! Two levels in turns: passes, or whole processes, that are fast or slow, and whether page faults
//! are the cause, as where the allocator gives memory back after a pass and gets it again, page by
//! page, in the next.

use std::fmt;

use firstpass_statistics::{median, steady::DELTA};
use firstpass_trial::observation::Observation;

use crate::studies::first_passes::judge::latency::{faults, ms};

/// Passes of each level, as a share of all: rarer ones are outliers.
const LEAST_SHARE: f64 = 0.1;

/// Nor do fewer passes make a level.
const LEAST_PASSES: usize = 5;

/// Fewer page faults a pass apart cannot make a level of passes of milliseconds.
const LEAST_FAULTS: f64 = 64.0;

/// What a page fault takes, in ms, from the fastest to the slowest that is known: about 0.1 µs for
/// one that the kernel serves with its neighbours, some µs under a hypervisor.
const FAULT_MS: std::ops::RangeInclusive<f64> = 0.000_05..=0.01;

/// The passes of a cell lie on two levels that page faults tell apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Flipping {
    /// Median page faults and time in ms of a pass of the level with fewer faults.
    pub few: (f64, f64),
    /// The same of the level with more.
    pub many: (f64, f64),
    /// The share of passes with many faults.
    pub share: f64,
    /// Whether single processes have both levels; else whole processes differ.
    pub within_processes: bool,
}

impl fmt::Display for Flipping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "two levels, told apart by page faults: {:.0} % of the steady passes fault {:.0} pages \
             and take {:.1} ms, the others {:.0} and {:.1} ms, {}. The usual cause is an allocator \
             that gives memory back and gets it again (glibc: `MALLOC_TRIM_THRESHOLD_`, \
             `MALLOC_MMAP_THRESHOLD_`)",
            100.0 * self.share,
            self.many.0,
            self.many.1,
            self.few.0,
            self.few.1,
            if self.within_processes {
                "in turns within a process"
            } else {
                "from process to process"
            }
        )
    }
}

/// Looks for two levels in the passes of one cell, its first two passes left out.
pub fn flipping(processes: &[&Observation]) -> Option<Flipping> {
    let passes = |o: &Observation| -> Vec<(f64, f64)> {
        let passes = o.process.passes.iter().skip(2);
        passes
            .map(|p| (faults(&p.span), ms(p.span.wall_ns)))
            .collect()
    };
    let by_process: Vec<Vec<(f64, f64)>> = processes.iter().map(|o| passes(o)).collect();
    let all: Vec<(f64, f64)> = by_process.iter().flatten().copied().collect();
    let border = border(all.iter().map(|(faults, _)| *faults))?;
    let is_many = |(faults, _): &(f64, f64)| *faults > border;
    let (many, few): (Vec<_>, Vec<_>) = all.iter().copied().partition(is_many);
    let share = many.len() as f64 / all.len() as f64;
    let rare = !(LEAST_SHARE..=1.0 - LEAST_SHARE).contains(&share);
    if rare || many.len().min(few.len()) < LEAST_PASSES {
        return None;
    }
    let level = |passes: &[(f64, f64)]| {
        Some((
            median(passes.iter().map(|p| p.0))?,
            median(passes.iter().map(|p| p.1))?,
        ))
    };
    let (few, many) = (level(&few)?, level(&many)?);
    let (more_faults, longer) = (many.0 - few.0, many.1 - few.1);
    let caused = FAULT_MS.contains(&(longer / more_faults));
    let within = by_process.iter().filter(|passes| {
        let of_many = passes.iter().filter(|p| is_many(p)).count() as f64;
        let share = of_many / passes.len().max(1) as f64;
        (LEAST_SHARE..=1.0 - LEAST_SHARE).contains(&share)
    });
    (longer > DELTA * few.1 && caused).then(|| Flipping {
        few,
        many,
        share,
        within_processes: within.count() > 0,
    })
}

/// The middle of the widest gap between the numbers of faults, where it is wide enough.
fn border(faults: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = faults.collect();
    sorted.sort_by(f64::total_cmp);
    let gap = |pair: &[f64]| pair[1] - pair[0];
    let widest = sorted.windows(2).max_by(|a, b| gap(a).total_cmp(&gap(b)))?;
    let enough = gap(widest) >= LEAST_FAULTS && gap(widest) > widest[0] / 2.0;
    enough.then(|| f64::midpoint(widest[0], widest[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::first_passes::judge::latency::tests::{observation, times};

    /// 58 or 85 ms, 10,500 faults apart, as was measured of an engine without buffers of its own.
    fn process(slow: impl Fn(usize) -> bool, faults_of_slow: u64) -> Observation {
        let mut observation = observation(0, &times(&[90.0], 58.0));
        for (n, pass) in observation.process.passes.iter_mut().enumerate() {
            pass.span.minor_faults = 3;
            if slow(n) {
                pass.span.wall_ns += 27_000_000;
                pass.span.minor_faults = faults_of_slow;
            }
        }
        observation
    }

    #[test]
    fn flipping_within_a_process_is_named_with_its_cause() {
        let flips = process(|n| n / 4 % 2 == 0, 10_500);
        let found = flipping(&[&flips]).expect("it flips");
        assert!(found.within_processes);
        assert_eq!((found.few.0, found.many.0), (3.0, 10_500.0));
        assert!(found.to_string().contains("allocator"));
    }

    #[test]
    fn flipping_from_process_to_process_is_seen() {
        let (fast, slow) = (process(|_| false, 0), process(|_| true, 10_500));
        let found = flipping(&[&fast, &slow]).expect("they differ");
        assert!(!found.within_processes);
    }

    #[test]
    fn other_causes_are_not_called_page_faults() {
        // Slow without more faults, more faults without being slower, and one level.
        let slow = process(|n| n % 2 == 0, 3);
        assert_eq!(flipping(&[&slow]), None);
        let mut faults = process(|_| false, 0);
        for pass in faults.process.passes.iter_mut().step_by(2) {
            pass.span.minor_faults = 10_500;
        }
        assert_eq!(flipping(&[&faults]), None);
        assert_eq!(flipping(&[&process(|_| true, 10_500)]), None);
        let mut short = process(|n| n % 2 == 0, 10_500);
        short.process.passes.truncate(8);
        assert_eq!(flipping(&[&short]), None);
        assert_eq!(flipping(&[]), None);
    }
}
