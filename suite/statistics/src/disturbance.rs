//! Passes during which the machine is known to have been slower, by a factor that was measured beside
//! them.
//!
//! A slower core has a bounded effect. A pass that took no longer than that explains says nothing, and is
//! given the level of the passes around it. One that took longer keeps the rest: a core that is slower by
//! a fifth makes no pass 300 times slower, so that no such pass is ever forgotten.

use crate::{median, outliers::sliding_median};

/// The work of a pass may be slowed by more than the work that was measured: in logarithms by so many
/// times, as memory and caches are shared too.
const BOUND: f64 = 2.0;

/// The level around a pass is the median of so many undisturbed passes to either side.
const REACH: usize = 10;

/// The logarithms of times without what a slower machine explains, and which of them it touched.
///
/// `slowdown` has a factor for each pass, 1 where nothing was slower; what is missing counts as 1. Where
/// hardly any pass was undisturbed there is nothing to correct by, and the times stay as they are.
pub fn corrected_logs(times: &[f64], slowdown: &[f64]) -> (Vec<f64>, Vec<bool>) {
    let factor = |at: usize| slowdown.get(at).copied().unwrap_or(1.0).max(1.0);
    let mut logs: Vec<f64> = times.iter().map(|t| t.ln()).collect();
    let slowed: Vec<bool> = (0..times.len()).map(|at| factor(at) > 1.0).collect();
    let quiet: Vec<usize> = (0..times.len()).filter(|at| !slowed[*at]).collect();
    if 2 * quiet.len() < times.len() || quiet.len() == times.len() {
        return (logs, vec![false; times.len()]);
    }
    let quiet_logs: Vec<f64> = quiet.iter().map(|at| logs[*at]).collect();
    let levels = sliding_median(&quiet_logs, REACH);
    let typical = median(quiet_logs.iter().copied()).unwrap_or(0.0);
    for at in (0..times.len()).filter(|at| slowed[*at]) {
        let next = quiet.partition_point(|place| *place < at);
        let level = levels
            .get(next)
            .or(levels.last())
            .copied()
            .unwrap_or(typical);
        let excess = logs[at] - level;
        if excess > 0.0 {
            logs[at] = level + (excess - BOUND * factor(at).ln()).max(0.0);
        }
    }
    (logs, slowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The series of the thread, as a quiet host measured it, with a core that was slower by a fifth.
    #[test]
    fn a_slower_core_explains_no_pass_of_seconds() {
        let times = [7227.0, 11880.0, 21.2, 19.1, 19.5];
        let (logs, slowed) = corrected_logs(&times, &[1.2, 1.2]);
        assert_eq!(slowed, [true, true, false, false, false]);
        assert!(logs[0].exp() > 4000.0 && logs[1].exp() > 7000.0, "{logs:?}");
        assert_eq!(
            logs[2..],
            times[2..].iter().map(|t| t.ln()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_it_explains_is_taken_out() {
        let mut times = vec![10.0; 30];
        let mut slowdown = vec![1.0; 30];
        times[0] = 13.0;
        times[20] = 16.0;
        slowdown[0] = 1.4;
        slowdown[20] = 1.4;
        let (logs, _) = corrected_logs(&times, &slowdown);
        assert!(logs.iter().all(|log| (log.exp() - 10.0).abs() < 1e-9));
        let (unknown, slowed) = corrected_logs(&times, &[]);
        assert!((unknown[20].exp() - 16.0).abs() < 1e-9 && !slowed.contains(&true));
    }

    #[test]
    fn where_everything_was_slower_nothing_is_corrected() {
        let times = [20.0, 10.0, 10.0, 10.0];
        let (logs, slowed) = corrected_logs(&times, &[1.5; 4]);
        assert!((logs[0].exp() - 20.0).abs() < 1e-9 && !slowed.contains(&true));
    }
}
