//! Where a series of passes becomes steady, after Barrett, Bolz-Tereick, Killick, Mount and Tratt,
//! "Virtual machine warmup blows hot and cold", OOPSLA 2017, with other constants: see [`PENALTY`]
//! and [`DELTA`].

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    change_points::change_points,
    mean,
    moderation::Prior,
    outliers::{Tails, is_rare, outliers, sliding_median},
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

/// A level that adds less than this share to what the passes before it cost does not lengthen a warm-up: after
/// passes of seconds it says nothing that some passes are a millisecond slower.
const NEGLIGIBLE: f64 = 0.01;

/// No series is believed to be quieter than this share of its level: clock, cache and page effects
/// alone are that large.
pub(crate) const LEAST_NOISE: f64 = 0.003;

/// The noise of a pass that few passes are drawn towards, as a share of its level, and how much it weighs,
/// in differences of neighbours: 3 to 4 % are usual on shared machines.
const USUAL_NOISE: f64 = 0.03;
const USUAL_WEIGHT: f64 = 2.0;

/// Makes the least distance among three normal values their standard deviation, on average.
const CLOSEST_TO_SIGMA: f64 = 2.2;

/// In a series of fewer passes two slow ones at its start would pass for noise.
const SHORT: usize = 10;

/// Noise alone makes a pass so many standard deviations slower now and then: its tails are heavy.
const TAIL_REACH: f64 = 10.0;

/// Nor does it matter beside a slow start that is so much higher: in logarithms this share of its height.
const TAIL_SHARE: f64 = 0.08;

/// So long a slow start is looked for where no change was found; see [`slow_start`].
pub(crate) const LONGEST_START: usize = 3;

/// A longer slow start than one that explains as much is told by so many more of them.
const LONGER: f64 = 1.0;

/// Few passes, each faster than the one before by more than this share, are no level yet.
const FALLING: f64 = 0.2;

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
        if !times.iter().all(|t| t.is_finite() && *t > 0.0) {
            return None;
        }
        let logs: Vec<f64> = times.iter().map(|t| t.ln()).collect();
        Self::of_logs(&logs)
    }

    /// The same for logarithms of times. Means are those of the times.
    pub fn of_logs(logs: &[f64]) -> Option<Self> {
        Self::judge(logs, Tails::OF_ONE)
    }

    /// The same for what several processes have in common, pass by pass.
    pub(crate) fn of_common_course(logs: &[f64]) -> Option<Self> {
        Self::judge(logs, Tails::IN_COMMON)
    }

    fn judge(logs: &[f64], tails: Tails) -> Option<Self> {
        if logs.is_empty() || !logs.iter().all(|log| log.is_finite()) {
            return None;
        }
        let times: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
        let passes = times.len();
        let mut marks = outliers(logs, level_noise(logs), tails);
        let levels = sliding_median(logs, OUTLIER_REACH);
        let mut quiet = logs.to_vec();
        for (at, outlying) in marks.iter().enumerate() {
            if *outlying {
                quiet[at] = levels[at];
            }
        }
        let noise = level_noise(&quiet);
        let penalty = PENALTY + PENALTY_PER_LOG * (passes as f64).ln();
        let changes = change_points(&quiet, noise..=GREATEST_NOISE * noise, penalty);
        let mut ranges = ranges(&quiet, &changes, noise, tails, &mut marks);
        if let Some(first) = ranges.first().cloned()
            && let Some(end) = slow_start(&quiet[first.clone()], noise, tails)
        {
            ranges[0] = end..first.end;
            ranges.insert(0, 0..end);
        }
        let mut segments = ranges
            .into_iter()
            .map(|passes| segment(&times, &marks, passes))
            .collect();
        merge_equivalent(&times, &marks, &mut segments);
        let (mut class, mut steady) = classify(&segments, passes);
        if steady
            .as_ref()
            .is_some_and(|range| is_still_falling(&logs[range.clone()]))
        {
            (class, steady) = (Class::NoSteadyState, None);
        }
        let steady_mean = steady
            .clone()
            .map(|passes| segment(&times, &marks, passes).mean);
        Some(Self {
            class,
            segments,
            outliers: (0..passes).filter(|at| marks[*at]).collect(),
            steady,
            steady_mean,
            noise,
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

/// The standard deviation of the noise around the levels of a series, from the differences of
/// neighbours. A few of them know little, so that they are drawn towards what is usual. In a short series
/// those of the first passes, which may be slow, are left out, and of three passes that remain the two that
/// are closest count, because one alone may be an outlier.
fn level_noise(logs: &[f64]) -> f64 {
    let late = if logs.len() < SHORT {
        2.min(logs.len().saturating_sub(SHORTEST_STEADY))
    } else {
        0
    };
    let logs = &logs[late..];
    let differences = logs.len().saturating_sub(1) as f64;
    let own = match logs {
        [a, b, c] => CLOSEST_TO_SIGMA * (a - b).abs().min((b - c).abs()).min((a - c).abs()),
        longer => noise(longer),
    };
    let prior = Prior {
        variance: USUAL_NOISE * USUAL_NOISE,
        freedom: USUAL_WEIGHT,
        yields: false,
    };
    let (variance, _) = prior.moderate(own.powi(2), differences);
    variance.sqrt().max(LEAST_NOISE)
}

/// Cuts a series at its changes. A piece that is too short for a level is an outlier and belongs to the
/// level before it; at the start it is a level, because slow first passes are what is looked for. But what
/// noise alone could have made after them belongs to the level that follows.
fn ranges(
    logs: &[f64],
    changes: &[usize],
    noise: f64,
    tails: Tails,
    marks: &mut [bool],
) -> Vec<Range<usize>> {
    let is_short = |range: &Range<usize>| range.len() <= tails.run(logs.len());
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut begin = 0;
    for end in changes.iter().copied().chain([logs.len()]) {
        let piece = begin..end;
        let at_start = ranges.iter().all(is_short);
        match ranges.last_mut() {
            Some(before) if is_short(&piece) && at_start && end < logs.len() => {
                let after = crate::median(logs[end..].iter().copied()).unwrap_or(0.0);
                let height = |passes: &Range<usize>| {
                    mean(&logs[passes.clone()]).map_or(0.0, |level| (level - after).abs())
                };
                let tail = (TAIL_REACH * noise).max(TAIL_SHARE * height(before));
                if height(&piece) < tail {
                    marks[piece].fill(true);
                    continue;
                }
                ranges.push(piece);
            }
            Some(before) if is_short(&piece) => {
                marks[piece].fill(true);
                before.end = end;
            }
            _ => ranges.push(piece),
        }
        begin = end;
    }
    ranges
}

/// How many passes at the start of a level are slower than the rest of it, by too little to be found as a
/// change anywhere would be. None where later passes are as slow now and then.
fn slow_start(level: &[f64], noise: f64, tails: Tails) -> Option<usize> {
    let reach = |start: usize| {
        let (first, later) = level.split_at(start);
        let centre = crate::median(later.iter().copied())?;
        let excess = mean(first)? - centre;
        let large = is_rare(level, start, tails.rare) && excess > (1.0 + DELTA).ln();
        large.then_some((start, excess * (start as f64).sqrt() / noise))
    };
    let longest = LONGEST_START.min(level.len() / 4);
    let starts = (1..=longest).filter_map(reach);
    let best = starts.reduce(|short, long| {
        if long.1 > short.1 + LONGER {
            long
        } else {
            short
        }
    })?;
    (best.1 > tails.reach).then_some(best.0)
}

/// Whether a level is so short and falls so much from pass to pass that its end has not been seen.
fn is_still_falling(level: &[f64]) -> bool {
    let falls = |pair: &[f64]| pair[0] - pair[1] > (1.0 + FALLING).ln();
    level.len() < SHORT && level.len() > 1 && level.windows(2).all(falls)
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

/// The median of a segment, which a few slow passes of it do not move.
fn middle(times: &[f64], segment: &Segment) -> f64 {
    crate::median(times[segment.passes.clone()].iter().copied()).unwrap_or(f64::NAN)
}

/// From so many passes on the median of a level says more than its mean, which a few slow passes move.
const LONG: usize = 8;

/// Joins neighbours at one level, the closest first: a change of the variance alone is no change of
/// the level.
fn merge_equivalent(times: &[f64], outlying: &[bool], segments: &mut Vec<Segment>) {
    loop {
        let gap = |at: usize| (segments[at].mean / segments[at + 1].mean).ln().abs();
        let closest = (0..segments.len().saturating_sub(1))
            .filter(|at| {
                let (a, b) = (&segments[*at], &segments[at + 1]);
                let long = a.passes.len().min(b.passes.len()) >= LONG;
                equivalent(a.mean, b.mean) || long && equivalent(middle(times, a), middle(times, b))
            })
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
    let mut earlier = &segments[..segments.len() - suffix];
    while let [start @ .., level] = earlier {
        let cost = |s: &Segment| s.passes.len() as f64 * (s.mean - last.mean).max(0.0);
        let negligible = cost(level) < NEGLIGIBLE * start.iter().map(cost).sum::<f64>();
        if !negligible || level.mean < last.mean {
            break;
        }
        earlier = start;
    }
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
