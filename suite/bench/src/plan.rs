//! How much of a model fits into a benchmark that one waits for.

use std::time::Duration;

use firstpass_trial::observation::Process;

use crate::SAMPLES;

/// A process that takes longer for its first two passes is measured only where all are asked for.
pub const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// Processes that a sample of a cold benchmark takes at most, and how long it may last with them.
const COLD_SAMPLE: (u32, Duration) = (3, Duration::from_millis(1500));

/// Passes that a sample of a steady benchmark takes, and how long it may last with them.
const STEADY_SAMPLE: (u32, Duration) = (10, Duration::from_millis(500));

/// Passes that a process does before those that count, and how long they may last; two at least.
const WARM_UP: (u32, Duration) = (10, Duration::from_secs(1));

/// From here on all samples are passes of one process: each of its own would take minutes.
const SLOW_PASS: Duration = Duration::from_millis(500);

/// What the first process of a model on an engine showed.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// From the spawn to the end of the first pass.
    cold_start: Duration,
    first_pass: Duration,
    later_pass: Duration,
}

/// How a model is measured on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The time that criterion is to fill with first passes.
    pub cold: Duration,
    /// The time that criterion is to fill with later passes.
    pub steady: Duration,
    pub warm_up_passes: usize,
    /// Passes of a process after its warm-up; a sample that asks for more gets more.
    pub steady_passes: usize,
}

impl Plan {
    /// For a list of names, which measures nothing.
    pub const UNMEASURED: Self = Self {
        cold: Duration::from_secs(1),
        steady: Duration::from_secs(1),
        warm_up_passes: 0,
        steady_passes: 0,
    };
}

impl Look {
    /// `None` of a process with fewer than two passes.
    pub fn at(process: &Process) -> Option<Self> {
        let [first, later, ..] = &process.passes[..] else {
            return None;
        };
        let cold_start = first.span.end_ns().saturating_sub(process.spawned_ns);
        Some(Self {
            cold_start: Duration::from_nanos(cold_start),
            first_pass: Duration::from_nanos(first.span.wall_ns),
            later_pass: Duration::from_nanos(later.span.wall_ns),
        })
    }

    pub fn plan(self) -> Plan {
        let samples = u32::try_from(SAMPLES).unwrap_or(u32::MAX);
        let warm_up = fitting(WARM_UP, self.later_pass).max(2);
        let steady = fitting(STEADY_SAMPLE, self.later_pass);
        let is_slow = self.later_pass >= SLOW_PASS;
        Plan {
            cold: filled_by(
                self.first_pass,
                samples,
                fitting(COLD_SAMPLE, self.cold_start),
            ),
            steady: filled_by(self.later_pass, samples, steady),
            warm_up_passes: warm_up as usize,
            // One more than the samples: criterion begins with a sample that does not count.
            steady_passes: if is_slow { SAMPLES + 1 } else { 0 },
        }
    }
}

/// As many as fit, but one at least.
fn fitting((most, limit): (u32, Duration), one: Duration) -> u32 {
    let fit = limit.as_nanos() / one.as_nanos().max(1);
    u32::try_from(fit).unwrap_or(u32::MAX).clamp(1, most)
}

/// The time after which criterion has taken so many iterations for each sample: it rounds up.
fn filled_by(one: Duration, samples: u32, iterations: u32) -> Duration {
    let all = one * (samples * iterations);
    all.saturating_sub(one * samples / 2)
        .max(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look([cold_start, first_pass, later_pass]: [u64; 3]) -> Look {
        let [cold_start, first_pass, later_pass] =
            [cold_start, first_pass, later_pass].map(Duration::from_millis);
        Look {
            cold_start,
            first_pass,
            later_pass,
        }
    }

    #[test]
    fn a_fast_model_gets_processes_and_passes_enough() {
        let plan = look([200, 30, 10]).plan();
        // Three processes a sample, and ten passes.
        assert_eq!(plan.cold, Duration::from_millis(30 * 30 - 150));
        assert_eq!(plan.steady, Duration::from_millis(10 * 100 - 50));
        assert_eq!((plan.warm_up_passes, plan.steady_passes), (10, 0));
    }

    #[test]
    fn a_slow_model_gets_one_process_a_sample_and_one_for_all_later_passes() {
        let plan = look([4000, 3500, 3000]).plan();
        assert_eq!(plan.cold, Duration::from_millis(3500 * 10 - 17_500));
        assert_eq!((plan.warm_up_passes, plan.steady_passes), (2, SAMPLES + 1));
    }

    #[test]
    fn a_pass_without_time_asks_for_no_endless_benchmark() {
        let plan = look([0, 0, 0]).plan();
        assert_eq!(
            (plan.cold, plan.steady_passes),
            (Duration::from_nanos(1), 0)
        );
    }
}
