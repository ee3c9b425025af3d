//! The processes of one cell, judged together.
//!
//! A warm-up is the engine's: a function of the number of the pass, which all processes share. What a
//! process got besides, a faster place in memory or a busy neighbour, is its own. So the processes are
//! first brought to one level and then searched for changes as one series, in the spirit of Zhang and
//! Siegmund, "Simultaneous changepoint detection in multiple sequences", Biometrika 97 (2010). Five
//! processes are five observations of pass 1, and one that was disturbed is outvoted.
//!
//! Only what is left of each process when the common course is taken out is judged process by process. A
//! cell is *mixed* where processes provably took different courses.

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    disturbance::corrected_logs,
    mean, median,
    steady::{Class, DELTA, LONGEST_START, SHORTEST_STEADY, Segment, Series},
};

/// The times of the passes of one process, and by what factor the machine is known to have been slower
/// during each; see [`crate::disturbance`].
#[derive(Debug, Clone, Copy)]
pub struct Passes<'a> {
    pub times: &'a [f64],
    pub slowdown: &'a [f64],
}

impl<'a> Passes<'a> {
    /// Times during which no slower machine is known of.
    pub fn of(times: &'a [f64]) -> Self {
        Self {
            times,
            slowdown: &[],
        }
    }
}

/// What kind of series the processes of a cell are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellClass {
    /// The class of the cell.
    Of(Class),
    /// Processes that provably differ: how many are of which class.
    Mixed(Vec<(Class, usize)>),
}

impl CellClass {
    /// Whether it is this one.
    pub fn is(&self, class: Class) -> bool {
        *self == Self::Of(class)
    }
}

/// The processes of a cell, judged together.
#[derive(Debug, Clone, PartialEq)]
pub struct Joint {
    pub class: CellClass,
    /// How many of the processes bear the class out by themselves.
    pub agreeing: usize,
    pub processes: usize,
    /// How many change their level at passes of their own: what one does, not what all have in common.
    pub restless: usize,
    /// The common course: levels in units of the last one.
    pub segments: Vec<Segment>,
    /// The passes of the steady state, from 0; `None` where there is none.
    pub steady: Option<Range<usize>>,
    /// The noise of a single pass of the median process, as a share of its level.
    pub noise: f64,
    /// Each process by itself.
    pub each: Vec<Series>,
}

impl fmt::Display for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.class {
            CellClass::Of(class) => {
                class.fmt(f)?;
                if self.agreeing < self.processes {
                    write!(f, " ({} of {})", self.agreeing, self.processes)?;
                }
                Ok(())
            }
            CellClass::Mixed(groups) => {
                let groups: Vec<String> = groups.iter().map(|(c, n)| format!("{n} {c}")).collect();
                write!(f, "mixed ({})", groups.join(", "))
            }
        }
    }
}

/// One process, at one level with the others.
struct Levelled {
    /// Logarithms of its times over its own late level.
    logs: Vec<f64>,
    /// Passes that say less, because the machine was slower meanwhile.
    slowed: Vec<bool>,
    own: Series,
}

impl Joint {
    /// Judges the processes of one cell. Those without passes, or with a time that is not positive, are
    /// left out; `None` where no other is left.
    pub fn of(processes: &[Passes]) -> Option<Self> {
        let levelled: Vec<Levelled> = processes.iter().filter_map(levelled).collect();
        let course = common_course(&levelled);
        let shared = if levelled.len() < FEWEST_IN_COMMON {
            Series::of_logs(&course)?
        } else {
            Series::of_common_course(&course)?
        };
        let each: Vec<Series> = levelled.iter().map(|p| p.own.clone()).collect();
        let noise = median(each.iter().map(|s| s.noise))?;
        let mut joint = Self {
            class: CellClass::Of(shared.class),
            agreeing: 0,
            processes: levelled.len(),
            restless: 0,
            steady: shared.steady.clone(),
            segments: shared.segments.clone(),
            noise,
            each,
        };
        if let [only] = &levelled[..] {
            joint.class = CellClass::Of(only.own.class);
            joint.agreeing = 1;
            return Some(joint);
        }
        let unsteady: Vec<bool> = levelled
            .iter()
            .map(|p| is_restless(&p.logs, &course, &shared))
            .collect();
        let restless = unsteady.iter().filter(|u| **u).count();
        joint.restless = restless;
        let bearing = bearing_out(&levelled, &shared, &unsteady);
        let alike = bearing == joint.processes && shared.class == Class::WarmUp;
        let some_restless = || {
            let rate = if course.len() < SHORT {
                BY_CHANCE_WHEN_SHORT
            } else {
                BY_CHANCE
            };
            let few = restless * 2 <= joint.processes && shared.steady.is_some();
            let apart = few && are_no_accident(restless, joint.processes, rate);
            let quiet = joint.processes - restless;
            apart.then(|| vec![(shared.class, quiet), (Class::NoSteadyState, restless)])
        };
        let groups = courses(&levelled, noise).filter(|_| !alike);
        if let Some(groups) = groups.or_else(some_restless) {
            joint.agreeing = groups.iter().map(|(_, n)| *n).max().unwrap_or(0);
            joint.class = CellClass::Mixed(groups);
            if restless > 0 {
                joint.steady = None;
            }
        } else if restless * 2 > joint.processes {
            // Each changes its level, at passes of its own: there is no common course.
            joint.agreeing = restless;
            joint.class = CellClass::Of(Class::NoSteadyState);
            joint.steady = None;
        } else {
            joint.agreeing = bearing;
            let start = shared.segments[0].passes.len() <= LONGEST_START;
            let needed = if start { SHARED_START } else { SHARED };
            let share = joint.agreeing as f64 / joint.processes as f64;
            if share < needed && shared.class != Class::Flat {
                // A few processes alone made it look like a common course.
                joint.class = CellClass::Of(Class::Flat);
                joint.agreeing = joint.processes - joint.agreeing;
                joint.steady = Some(0..course.len());
                joint.segments = vec![Segment {
                    passes: 0..course.len(),
                    mean: 1.0,
                }];
            }
        }
        Some(joint)
    }

    /// Where a new common level begins: positions from 0.
    pub fn change_points(&self) -> impl Iterator<Item = usize> + '_ {
        self.segments.iter().skip(1).map(|s| s.passes.start)
    }

    /// How many passes lie before the steady state.
    pub fn warm_up_passes(&self) -> Option<usize> {
        Some(self.steady.as_ref()?.start)
    }
}

fn levelled(process: &Passes) -> Option<Levelled> {
    let times = process.times;
    if times.is_empty() || !times.iter().all(|t| t.is_finite() && *t > 0.0) {
        return None;
    }
    let (logs, slowed) = corrected_logs(times, process.slowdown);
    let own = Series::of_logs(&logs)?;
    let late = logs.len() - logs.len().div_ceil(2).max(SHORTEST_STEADY.min(logs.len()));
    let level = median(logs[late..].iter().copied())?;
    Some(Levelled {
        logs: logs.iter().map(|log| log - level).collect(),
        slowed,
        own,
    })
}

/// Pass by pass what the processes have in common, as far as half of them reach. A pass on a slower
/// machine counts only where there is no other.
fn common_course(processes: &[Levelled]) -> Vec<f64> {
    let mut lengths: Vec<usize> = processes.iter().map(|p| p.logs.len()).collect();
    lengths.sort_unstable();
    let length = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    let at_pass = |at: usize| {
        let there = || processes.iter().filter(|p| at < p.logs.len());
        let quiet: Vec<f64> = there()
            .filter(|p| !p.slowed[at])
            .map(|p| p.logs[at])
            .collect();
        if quiet.is_empty() {
            centre(there().map(|p| p.logs[at]).collect())
        } else {
            centre(quiet)
        }
    };
    (0..length).filter_map(at_pass).collect()
}

/// The median: where two of five processes are disturbed at the same pass, it does not move.
fn centre(values: Vec<f64>) -> Option<f64> {
    median(values)
}

/// Whether a process changes its level at passes of its own: what is left of it without the common course
/// changes, and not only at the start, of which [`courses`] judges.
///
/// The common course is taken as it is in its first quarter, where it may still fall from pass to pass, and
/// by its levels after that, so that no process gets the noise of the others.
fn is_restless(logs: &[f64], course: &[f64], shared: &Series) -> bool {
    let Some(last) = shared.segments.last() else {
        return false;
    };
    let start = shared.warm_up_passes().unwrap_or(0);
    let moving = start.max(course.len() / 4).min(course.len());
    let level = |at: usize| {
        let segment = shared.segments.iter().find(|s| s.passes.contains(&at));
        segment.map_or(0.0, |s| (s.mean / last.mean).ln())
    };
    let common = |at: usize| if at < moving { course[at] } else { level(at) };
    let rest: Vec<f64> = logs
        .iter()
        .enumerate()
        .map(|(at, log)| log - common(at))
        .collect();
    let own = Series::of_logs(&rest);
    own.is_some_and(|own| own.change_points().any(|at| at > start.max(LONGEST_START)))
}

/// Processes that go along with the common course by themselves: between the two levels of it that are
/// farthest apart from its end they change by at least half as much. Where there is but one level, those that
/// are not restless.
fn bearing_out(processes: &[Levelled], shared: &Series, unsteady: &[bool]) -> usize {
    let Some((last, earlier)) = shared.segments.split_last() else {
        return 0;
    };
    let change = |segment: &Segment| (segment.mean / last.mean).ln();
    let farthest = earlier
        .iter()
        .max_by(|a, b| change(a).abs().total_cmp(&change(b).abs()));
    let goes_along = |(process, unsteady): &(&Levelled, &bool)| {
        let Some(segment) = farthest else {
            return !**unsteady;
        };
        let level = |passes: &Range<usize>| {
            let end = passes.end.min(process.logs.len());
            mean(process.logs.get(passes.start..end)?)
        };
        let common = change(segment);
        let own = level(&segment.passes).zip(level(&last.passes));
        own.is_some_and(|(own, late)| (own - late) * common.signum() > common.abs() / 2.0)
    };
    processes.iter().zip(unsteady).filter(goes_along).count()
}

/// Chance moves what fewer processes have in common as it moves one.
const FEWEST_IN_COMMON: usize = 3;

/// So large a share of the processes bears out what they have in common; of a slow start, which a few slow
/// passes by chance look like, more.
const SHARED: f64 = 0.5;
const SHARED_START: f64 = 0.65;

/// How often a quiet process is taken for restless, and of fewer passes than [`SHORT`]; the error rates of
/// [`crate::error_rates`] hold this.
const BY_CHANCE: f64 = 0.02;
const BY_CHANCE_WHEN_SHORT: f64 = 0.06;
const SHORT: usize = 30;

/// How likely an accident may be for processes to be called different.
const ACCIDENT: f64 = 0.005;

/// Whether so many processes are more than chance makes, where it makes each one so with this rate. One
/// alone never is.
fn are_no_accident(odd: usize, all: usize, rate: f64) -> bool {
    if odd < 2 {
        return false;
    }
    let binomial = |k: usize| {
        let choices: f64 = (0..k).map(|n| (all - n) as f64 / (n + 1) as f64).product();
        choices * rate.powi(k as i32) * (1.0 - rate).powi((all - k) as i32)
    };
    (odd..=all).map(binomial).sum::<f64>() < ACCIDENT
}

/// Of the lengths of a slow start these are tried.
const STARTS: [usize; 5] = [1, 2, 3, 5, 10];

/// So many standard deviations of single passes two groups are apart.
const APART: f64 = 5.0;

/// One process alone proves a slow start only where it is so many times as slow as later, and nothing
/// later comes near.
const ALONE: f64 = 4.0;

/// Whether some processes begin slow, and others provably do not.
fn courses(processes: &[Levelled], noise: f64) -> Option<Vec<(Class, usize)>> {
    STARTS.into_iter().find_map(|start| {
        let usable: Vec<&Levelled> = processes
            .iter()
            .filter(|p| p.logs.len() >= 3 * start && !p.slowed[..start].contains(&true))
            .collect();
        // All passes of a slow start are slow.
        let least = |passes: &[f64]| passes.iter().copied().fold(f64::INFINITY, f64::min);
        let mut starts: Vec<f64> = usable.iter().map(|p| least(&p.logs[..start])).collect();
        starts.sort_by(f64::total_cmp);
        let gap = |at: &usize| starts[*at] - starts[at - 1];
        let split = (1..starts.len()).max_by(|a, b| gap(a).total_cmp(&gap(b)))?;
        let (fast, slow) = starts.split_at(split);
        let border = *slow.first()?;
        let later: Vec<f64> = usable
            .iter()
            .flat_map(|p| p.logs[start..].chunks_exact(start).map(least))
            .collect();
        let as_slow = later.iter().filter(|x| **x >= border).count();
        let proven = if slow.len() == 1 {
            border > ALONE.ln() && later.iter().all(|x| *x < border / 2.0)
        } else {
            // Half a pass more than was seen, as those that were seen are few.
            let rate = (as_slow as f64 + 0.5) / (later.len() + 1) as f64;
            are_no_accident(slow.len(), starts.len(), rate)
        };
        let least_apart = (APART * noise).max((1.0 + 2.0 * DELTA).ln());
        let apart = gap(&split) > least_apart && border > least_apart;
        let fast_is_flat = median(fast.iter().copied())? < least_apart;
        (proven && apart && fast_is_flat && fast.len() > 1)
            .then(|| vec![(Class::Flat, fast.len()), (Class::WarmUp, slow.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A level with a little noise, other for each process.
    fn process(number: usize, first: &[f64], level: f64, passes: usize) -> Vec<f64> {
        let noise = [1.0, 1.02, 0.985, 1.01, 0.99, 1.005, 0.98];
        let rest = (0..passes).map(|n| level * noise[(n * (number + 2) + number) % 7]);
        first.iter().copied().chain(rest).collect()
    }

    fn judge(processes: &[Vec<f64>]) -> Joint {
        let passes: Vec<Passes> = processes.iter().map(|times| Passes::of(times)).collect();
        Joint::of(&passes).expect("times are positive")
    }

    #[test]
    fn the_threads_case_in_one_process_on_a_slowed_core() {
        let times = [7227.0, 11880.0, 21.2, 19.1, 19.5];
        for slowdown in [&[][..], &[1.0, 1.2], &[1.2, 1.2], &[1.5, 1.5, 1.5]] {
            let joint = Joint::of(&[Passes {
                times: &times,
                slowdown,
            }]);
            let joint = joint.expect("positive");
            assert!(joint.class.is(Class::WarmUp), "{slowdown:?}: {joint}");
            assert_eq!(joint.warm_up_passes(), Some(2));
        }
    }

    #[test]
    fn processes_at_levels_of_their_own_share_a_warm_up() {
        let levels = [10.0, 12.0, 9.0, 15.0, 10.5];
        let processes: Vec<_> = (0..5)
            .map(|n| process(n, &[1.3 * levels[n]], levels[n], 9))
            .collect();
        let joint = judge(&processes);
        assert_eq!(joint.to_string(), "warm-up");
        assert_eq!(joint.warm_up_passes(), Some(1));
    }

    #[test]
    fn one_odd_process_is_outvoted_and_counted() {
        let mut processes: Vec<_> = (0..5).map(|n| process(n, &[13.0], 10.0, 40)).collect();
        processes[3] = process(3, &[], 10.0, 41);
        assert_eq!(judge(&processes).to_string(), "warm-up (4 of 5)");
    }

    #[test]
    fn processes_that_provably_differ_are_mixed() {
        let mut processes: Vec<_> = (0..5).map(|n| process(n, &[], 10.0, 30)).collect();
        for n in [1, 4] {
            processes[n] = process(n, &[15.0], 10.0, 29);
        }
        assert_eq!(judge(&processes).to_string(), "mixed (3 flat, 2 warm-up)");
        // That one is slow by as much as later passes are now and then proves nothing.
        let mut chance: Vec<_> = (0..5).map(|n| process(n, &[], 10.0, 30)).collect();
        chance[2][0] = 12.0;
        chance[4][17] = 12.5;
        assert!(judge(&chance).class.is(Class::Flat));
    }

    #[test]
    fn flipping_at_passes_of_their_own_is_no_steady_state() {
        let processes: Vec<Vec<f64>> = (0..5)
            .map(|n| {
                let times = process(n, &[], 10.0, 60);
                let flips = |at: usize| ((at + 4 * n) / (9 + n)).is_multiple_of(2);
                let times = times.iter().enumerate();
                times
                    .map(|(at, t)| if flips(at) { t * 1.25 } else { *t })
                    .collect()
            })
            .collect();
        assert!(judge(&processes).class.is(Class::NoSteadyState));
    }

    #[test]
    fn a_late_change_that_all_share_is_no_outlier() {
        let processes: Vec<Vec<f64>> = (0..4)
            .map(|n| [process(n, &[60.0], 10.0, 7), vec![60.0, 60.0]].concat())
            .collect();
        assert_eq!(judge(&processes).to_string(), "no steady state");
    }

    #[test]
    fn a_class_always_has_a_word() {
        assert_eq!(Joint::of(&[]), None);
        assert_eq!(judge(&[vec![5.0]]).processes, 1);
        assert!(!judge(&[vec![5.0], vec![5.1]]).to_string().is_empty());
    }
}
