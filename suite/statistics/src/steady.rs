//! Where a series of passes becomes steady, after Barrett, Bolz-Tereick, Killick, Mount and Tratt,
//! "Virtual machine warmup blows hot and cold", OOPSLA 2017, with other constants: see [`PENALTY`]
//! and [`DELTA`].

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    change_points::change_points,
    mean,
    outliers::{longest_run, outliers, sliding_median},
    summary::noise,
};

/// What a change must gain, in twice the log-likelihood: this, and [`PENALTY_PER_LOG`] for each
/// unit of ln n.
///
/// Barrett et al. use 15·ln n for series of 2000 iterations of seconds, 114 in all. In series of 50
/// passes that would hide a change of a tenth. A change has three parameters here (place, mean,
/// variance), so that 3·ln n is the least that is consistent (BIC); the tails of the times of passes
/// are heavier than normal, which takes more. Both values are chosen by the planted series of
/// [`crate::planted`]: at every length from 50 to 2000, and with the noise of our own records, fewer
/// than 2 % of the series without a change show one, and 95 % of the steps of 10 % are found.
pub const PENALTY: f64 = 8.0;

/// See [`PENALTY`].
pub const PENALTY_PER_LOG: f64 = 4.0;

/// The noise of one level is at most so many times that of the whole series.
const GREATEST_NOISE: f64 = 1.4;

/// Levels that differ by less than this share are one level.
///
/// Barrett et al. use 1 ms, which is nothing to an iteration of a second and everything to a pass
/// of 20 ms: what a reader cares about is relative. 5 % lies between the change that should be
/// found (10 %) and the accuracy with which a level of ten passes is known on a shared machine.
pub const DELTA: f64 = 0.05;

/// The share of the series, at its end, that must be steady: a level reached later than that has
/// not been seen for long enough to be called one. Barrett et al.: the last 500 of 2000.
pub const TAIL: f64 = 0.25;

/// Nor is one that was seen for fewer passes.
pub const SHORTEST_STEADY: usize = 3;

/// No series is believed to be quieter than this share of its level: clock, cache and page effects
/// alone are that large.
const LEAST_NOISE: f64 = 0.003;

/// The level around a pass is the median so many passes to either side.
const OUTLIER_REACH: usize = 10;

/// What kind of series it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Steady from the first pass on.
    Flat,
    /// It becomes steady at the fastest level that it has.
    WarmUp,
    /// It becomes steady at a level that is slower than an earlier one.
    Slowdown,
    /// Its last level has not been held for long enough.
    NoSteadyState,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "flat",
            Self::WarmUp => "warm-up",
            Self::Slowdown => "slowdown",
            Self::NoSteadyState => "no steady state",
        })
    }
}

/// Consecutive passes at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Positions from 0.
    pub passes: Range<usize>,
    /// The mean time of its passes, outliers left out, in the unit of the series.
    pub mean: f64,
}

/// A series of passes of one process, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub class: Class,
    /// Neighbours differ by more than [`DELTA`].
    pub segments: Vec<Segment>,
    /// Positions from 0, in order.
    pub outliers: Vec<usize>,
    /// The passes of the steady state; `None` where there is none.
    pub steady: Option<Range<usize>>,
    /// The mean time of the steady passes, outliers left out.
    pub steady_mean: Option<f64>,
    /// The standard deviation of the noise around the levels, as a share of the level.
    pub noise: f64,
}

impl Series {
    /// Judges the times of the passes of one process, in any unit. `None` for an empty series and
    /// one with a time that is not positive.
    ///
    /// Times are judged as logarithms: noise and changes of passes are relative.
    pub fn of(times: &[f64]) -> Option<Self> {
        if times.is_empty() || !times.iter().all(|t| t.is_finite() && *t > 0.0) {
            return None;
        }
        let mut logs: Vec<f64> = times.iter().map(|t| t.ln()).collect();
        let mut marks = outliers(&logs, noise(&logs).max(LEAST_NOISE));
        let levels = sliding_median(&logs, OUTLIER_REACH);
        for (at, outlying) in marks.iter().enumerate() {
            if *outlying {
                logs[at] = levels[at];
            }
        }
        let noise = noise(&logs).max(LEAST_NOISE);
        let penalty = PENALTY + PENALTY_PER_LOG * (times.len() as f64).ln();
        let found = change_points(&logs, noise..=GREATEST_NOISE * noise, penalty);

        let mut ranges: Vec<Range<usize>> = Vec::new();
        for end in found.into_iter().chain([times.len()]) {
            let begin = ranges.last().map_or(0, |r| r.end);
            match ranges.last_mut() {
                // Too short for a level, like an outlier; only at the start it may be one.
                Some(before) if end - begin <= longest_run(times.len()) => {
                    marks[begin..end].fill(true);
                    before.end = end;
                }
                _ => ranges.push(begin..end),
            }
        }
        let mut segments = ranges
            .into_iter()
            .map(|passes| segment(times, &marks, passes))
            .collect();
        merge_equivalent(times, &marks, &mut segments);
        let (class, steady) = classify(&segments, times.len());
        let steady_mean = steady
            .clone()
            .map(|passes| segment(times, &marks, passes).mean);
        Some(Self {
            class,
            segments,
            outliers: (0..times.len()).filter(|at| marks[*at]).collect(),
            steady,
            steady_mean,
            noise,
        })
    }

    /// Judges a series of which some passes are known to say nothing, because the machine was slower
    /// meanwhile: they are left out, and named among the outliers. What is known of them must not
    /// come from their own times, or a slow engine would be taken for a slow machine.
    ///
    /// A series that consists of them for more than a half has no steady state.
    pub fn of_except(times: &[f64], left_out: &[bool]) -> Option<Self> {
        let is_kept = |at: &usize| !left_out.get(*at).copied().unwrap_or(false);
        let kept: Vec<usize> = (0..times.len()).filter(is_kept).collect();
        let kept_times: Vec<f64> = kept.iter().map(|at| times[*at]).collect();
        let enough = 2 * kept.len() >= times.len();
        let Some(judged) = Self::of(&kept_times).filter(|_| enough) else {
            return Self::of(times).map(|all| Self {
                class: Class::NoSteadyState,
                outliers: (0..times.len()).collect(),
                steady: None,
                steady_mean: None,
                ..all
            });
        };
        // Positions in the whole series; what was left out belongs to the level before it.
        let begin = |at: usize| if at == 0 { 0 } else { kept[at] };
        let end = |at: usize| kept.get(at).copied().unwrap_or(times.len());
        let whole = |r: &Range<usize>| begin(r.start)..end(r.end);
        let segments = judged.segments.iter().map(|s| Segment {
            passes: whole(&s.passes),
            mean: s.mean,
        });
        let mut outliers: Vec<usize> = judged.outliers.iter().map(|at| kept[*at]).collect();
        outliers.extend((0..times.len()).filter(|at| !is_kept(at)));
        outliers.sort_unstable();
        Some(Self {
            segments: segments.collect(),
            outliers,
            steady: judged.steady.as_ref().map(whole),
            ..judged
        })
    }

    /// How many passes lie before the steady state.
    pub fn warm_up_passes(&self) -> Option<usize> {
        Some(self.steady.as_ref()?.start)
    }

    /// What these passes took beyond the steady time, in the unit of `times`, from which the series
    /// was made. It is negative for a slowdown.
    pub fn warm_up_cost(&self, times: &[f64]) -> Option<f64> {
        let steady = self.steady_mean?;
        let before = times.get(..self.warm_up_passes()?)?;
        Some(before.iter().map(|t| t - steady).sum())
    }

    /// The times of the steady passes, outliers left out.
    pub fn steady_times(&self, times: &[f64]) -> Vec<f64> {
        let passes = self.steady.clone().unwrap_or(0..0);
        passes
            .filter(|at| self.outliers.binary_search(at).is_err())
            .filter_map(|at| times.get(at).copied())
            .collect()
    }

    /// Where a new level begins: positions from 0.
    pub fn change_points(&self) -> impl Iterator<Item = usize> + '_ {
        self.segments.iter().skip(1).map(|s| s.passes.start)
    }
}

fn segment(times: &[f64], outlying: &[bool], passes: Range<usize>) -> Segment {
    let kept: Vec<f64> = passes
        .clone()
        .filter(|at| !outlying[*at])
        .map(|at| times[at])
        .collect();
    let all = &times[passes.clone()];
    Segment {
        // A segment of nothing but outliers has their mean.
        mean: mean(&kept).or_else(|| mean(all)).unwrap_or(f64::NAN),
        passes,
    }
}

fn equivalent(a: f64, b: f64) -> bool {
    (a - b).abs() <= DELTA * a.min(b)
}

/// Joins neighbours at one level, the closest first: a change of the variance alone is no change of
/// the level.
fn merge_equivalent(times: &[f64], outlying: &[bool], segments: &mut Vec<Segment>) {
    loop {
        let gap = |at: usize| (segments[at].mean / segments[at + 1].mean).ln().abs();
        let closest = (0..segments.len().saturating_sub(1))
            .filter(|at| equivalent(segments[*at].mean, segments[at + 1].mean))
            .min_by(|a, b| gap(*a).total_cmp(&gap(*b)));
        let Some(at) = closest else { return };
        let passes = segments[at].passes.start..segments[at + 1].passes.end;
        segments[at] = segment(times, outlying, passes);
        segments.remove(at + 1);
    }
}

fn classify(segments: &[Segment], length: usize) -> (Class, Option<Range<usize>>) {
    let Some(last) = segments.last() else {
        return (Class::NoSteadyState, None);
    };
    let suffix = segments
        .iter()
        .rev()
        .take_while(|s| equivalent(s.mean, last.mean))
        .count();
    let earlier = &segments[..segments.len() - suffix];
    let begin = segments[earlier.len()].passes.start;
    if earlier.is_empty() {
        return (Class::Flat, Some(0..length));
    }
    let needed = ((length as f64 * TAIL).ceil() as usize).max(SHORTEST_STEADY);
    if length - begin < needed {
        return (Class::NoSteadyState, None);
    }
    let faster_before = earlier
        .iter()
        .any(|s| s.mean < last.mean && !equivalent(s.mean, last.mean));
    let class = if faster_before {
        Class::Slowdown
    } else {
        Class::WarmUp
    };
    (class, Some(begin..length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A level with a little noise.
    fn level(time: f64, passes: usize) -> impl Iterator<Item = f64> {
        (0..passes).map(move |n| time * [1.0, 1.01, 0.99, 1.005, 0.995][n % 5])
    }

    #[test]
    fn passes_that_are_known_to_be_slowed_say_nothing() {
        let mut times: Vec<f64> = level(90.0, 1).chain(level(10.0, 40)).collect();
        let quiet = Series::of(&times).expect("positive");
        let mut slowed = vec![false; times.len()];
        // A third of them, for long enough to be a level of their own.
        for at in 10..24 {
            times[at] *= 1.5;
            slowed[at] = true;
        }
        assert_ne!(Series::of(&times).expect("positive").steady, quiet.steady);
        let judged = Series::of_except(&times, &slowed).expect("positive");
        assert_eq!(
            (judged.class, judged.steady.clone()),
            (Class::WarmUp, Some(1..41))
        );
        assert!((judged.steady_mean.expect("steady") / 10.0 - 1.0).abs() < 0.01);
        assert_eq!(judged.steady_times(&times).len(), 40 - 14);
        assert_eq!(
            judged.segments.last().map(|s| s.passes.clone()),
            Some(1..41)
        );

        let nothing = Series::of_except(&times, &vec![true; times.len()]).expect("positive");
        assert_eq!(
            (nothing.class, nothing.steady),
            (Class::NoSteadyState, None)
        );
        let few: Vec<bool> = (0..times.len()).map(|at| at > 0).collect();
        let few = Series::of_except(&times, &few).expect("positive");
        assert_eq!(few.steady, None, "one pass is no steady state");
        let all = Series::of_except(&times, &[]).expect("positive");
        assert_eq!(Some(all), Series::of(&times));
    }

    fn series(levels: &[(f64, usize)]) -> (Vec<f64>, Series) {
        let times: Vec<f64> = levels.iter().flat_map(|(t, n)| level(*t, *n)).collect();
        let series = Series::of(&times).expect("times are positive");
        (times, series)
    }

    #[test]
    fn the_threads_case_is_a_warm_up_of_two_passes() {
        let (times, series) = series(&[(9000.0, 1), (15_000.0, 1), (43.0, 58)]);
        assert_eq!(series.class, Class::WarmUp);
        assert_eq!(series.warm_up_passes(), Some(2));
        let cost = series.warm_up_cost(&times).expect("it becomes steady");
        assert!((cost - (24_000.0 - 86.0)).abs() < 1.0, "{cost}");
    }

    #[test]
    fn ten_passes_are_enough_to_see_it() {
        let (_, series) = series(&[(300.0, 1), (180.0, 1), (30.0, 8)]);
        assert_eq!(series.class, Class::WarmUp);
        assert_eq!(series.steady, Some(2..10));
    }

    /// A very slow engine does no more.
    #[test]
    fn so_are_five() {
        let (_, series) = series(&[(9000.0, 1), (15_000.0, 1), (43.0, 3)]);
        assert_eq!((series.class, series.steady), (Class::WarmUp, Some(2..5)));
        let flat = Series::of(&[344.0, 374.0, 359.0, 351.0, 366.0]);
        assert_eq!(flat.map(|s| s.class), Some(Class::Flat));
    }

    #[test]
    fn levels_within_delta_are_flat() {
        let (_, series) = series(&[(20.0, 30), (20.6, 30)]);
        assert_eq!((series.class, series.segments.len()), (Class::Flat, 1));
    }

    #[test]
    fn an_earlier_faster_level_makes_a_slowdown() {
        let (_, series) = series(&[(200.0, 1), (20.0, 30), (25.0, 30)]);
        assert_eq!(series.class, Class::Slowdown);
        assert_eq!(series.warm_up_passes(), Some(31));
    }

    #[test]
    fn a_late_level_is_no_steady_state() {
        let (_, series) = series(&[(20.0, 50), (25.0, 10)]);
        assert_eq!(series.class, Class::NoSteadyState);
        assert_eq!(series.steady_mean, None);
    }

    #[test]
    fn spikes_are_left_out_of_the_steady_mean() {
        let mut times: Vec<f64> = level(20.0, 60).collect();
        times[20] = 90.0;
        times[44] = 70.0;
        let series = Series::of(&times).expect("times are positive");
        assert_eq!(series.class, Class::Flat);
        assert_eq!(series.outliers, [20, 44]);
        assert!((series.steady_mean.expect("flat") - 20.0).abs() < 0.05);
        assert_eq!(series.steady_times(&times).len(), 58);
    }

    #[test]
    fn what_is_no_series_is_none() {
        for times in [&[][..], &[1.0, 0.0], &[1.0, f64::NAN]] {
            assert_eq!(Series::of(times), None);
        }
        assert_eq!(Series::of(&[5.0]).map(|s| s.class), Some(Class::Flat));
    }
}
