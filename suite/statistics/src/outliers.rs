//! Single passes that a disturbance of the machine made slow.

use crate::summary::{MAD_TO_SIGMA, median_of_sorted};

/// Passes on either side that a pass is compared with.
const REACH: usize = 10;

/// So many standard deviations of its neighbourhood away, a pass is an outlier (Hampel's usual 3).
const FAR: f64 = 3.0;

/// How heavy the tails of a series are.
#[derive(Debug, Clone, Copy)]
pub struct Tails {
    /// A slow start is believed where no greater share of the later passes is as slow.
    pub rare: f64,
    /// A slow start that is too short to be found as a change is so many standard errors above the passes
    /// after it. Its place is known beforehand, so that less is needed than for a change anywhere.
    pub reach: f64,
    /// One neighbour more on the same side may be an outlier for each so many passes of the series; more
    /// are a level of their own.
    pub passes_a_neighbour: usize,
}

/// However long a series is, more neighbours are a level: in a thousand passes two or three come by chance.
const LONGEST_RUN: usize = 4;

impl Tails {
    /// Of one process.
    pub const OF_ONE: Self = Self {
        rare: 0.01,
        reach: 4.5,
        passes_a_neighbour: 5,
    };

    /// Of what several processes have in common, which chance hardly moves, and which most of them have to
    /// bear out by themselves.
    pub const IN_COMMON: Self = Self {
        rare: 0.06,
        reach: 3.4,
        passes_a_neighbour: 25,
    };

    /// The longest run of outliers in a series of so many passes.
    pub(crate) fn run(&self, passes: usize) -> usize {
        (passes / self.passes_a_neighbour).clamp(1, LONGEST_RUN)
    }
}

/// Which values are outliers: those that stand alone, or with few others, far from the median of the values
/// around them (Hampel's rule on a sliding window, over `floor` at least as standard deviation).
///
/// Slow passes at the very start are none: they are what is looked for. They are outliers like any
/// other where they are fast, or where later passes are as slow time and again.
pub fn outliers(series: &[f64], floor: f64, tails: Tails) -> Vec<bool> {
    let mut window = Window::default();
    let mut signs = Vec::with_capacity(series.len());
    for value in series.iter().take(REACH) {
        window.insert(*value);
    }
    for (at, value) in series.iter().enumerate() {
        if let Some(next) = series.get(at + REACH) {
            window.insert(*next);
        }
        if at > REACH {
            window.remove(series[at - REACH - 1]);
        }
        signs.push(window.sign(*value, floor));
    }
    let mut marks = vec![false; series.len()];
    let mut at = 0;
    for run in signs.chunk_by(|a, b| a == b) {
        let start = if at == 0 && run[0] > 0 {
            slow_start(series, run.len(), tails.rare)
        } else {
            0
        };
        let outlying = run[0] != 0 && run.len() - start <= tails.run(series.len());
        marks[at + start..at + run.len()].fill(outlying);
        at += run.len();
    }
    marks
}

/// How many of the first values are a slow start and no outliers, of so many that are high: what follows
/// a slow start may be an outlier as anywhere else.
fn slow_start(series: &[f64], high: usize, rare: f64) -> usize {
    let is_slow_start = |start: &usize| is_rare(series, *start, rare);
    (1..=high).rev().find(is_slow_start).unwrap_or(0)
}

/// Whether hardly any of the later values is as high as the lowest of the first ones.
pub(crate) fn is_rare(series: &[f64], first: usize, rare: f64) -> bool {
    let (first, later) = series.split_at(first);
    let least = first.iter().copied().fold(f64::INFINITY, f64::min);
    let as_high = later.iter().filter(|x| **x >= least).count();
    as_high as f64 <= rare * series.len() as f64
}

/// The median of the values around each position, itself included.
pub fn sliding_median(series: &[f64], reach: usize) -> Vec<f64> {
    let mut window = Window::default();
    let mut medians = Vec::with_capacity(series.len());
    for value in series.iter().take(reach) {
        window.insert(*value);
    }
    for at in 0..series.len() {
        if let Some(next) = series.get(at + reach) {
            window.insert(*next);
        }
        if at > reach {
            window.remove(series[at - reach - 1]);
        }
        medians.push(median_of_sorted(&window.sorted).unwrap_or(series[at]));
    }
    medians
}

/// The values around a pass, sorted.
#[derive(Default)]
struct Window {
    sorted: Vec<f64>,
}

impl Window {
    fn insert(&mut self, value: f64) {
        let at = self.position(value);
        self.sorted.insert(at, value);
    }

    fn remove(&mut self, value: f64) {
        let at = self.position(value);
        if at < self.sorted.len() {
            self.sorted.remove(at);
        }
    }

    fn position(&self, value: f64) -> usize {
        self.sorted.partition_point(|x| x.total_cmp(&value).is_lt())
    }

    /// 1 or -1 for a value that is far above or below the others, else 0.
    fn sign(&self, value: f64, floor: f64) -> i8 {
        let Some(median) = median_of_sorted(&self.sorted) else {
            return 0;
        };
        let distance = value - median;
        // Only what is far by the floor needs the deviations, which have to be sorted.
        if distance.abs() <= FAR * floor {
            return 0;
        }
        let mut deviations: Vec<f64> = self.sorted.iter().map(|x| (x - median).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        let sigma = median_of_sorted(&deviations).unwrap_or(0.0) * MAD_TO_SIGMA;
        if distance.abs() <= FAR * sigma.max(floor) {
            0
        } else if distance > 0.0 {
            1
        } else {
            -1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(series: &[f64]) -> Vec<usize> {
        let marks = outliers(series, 0.01, Tails::OF_ONE);
        (0..series.len()).filter(|n| marks[*n]).collect()
    }

    fn quiet(n: usize) -> Vec<f64> {
        (0..n).map(|n| [1.0, 1.01, 0.99, 1.005][n % 4]).collect()
    }

    #[test]
    fn a_spike_is_an_outlier_and_a_level_is_none() {
        let mut series = quiet(60);
        series[30] = 3.0;
        series[41] = 0.2;
        series[59] = 2.0;
        assert_eq!(marked(&series), [30, 41, 59]);
        let mut level = quiet(60);
        level[30..36].fill(3.0);
        assert_eq!(marked(&level), []);
    }

    #[test]
    fn slow_first_passes_are_no_outliers() {
        let mut series = quiet(40);
        series[0] = 9.0;
        series[1] = 5.0;
        assert_eq!(marked(&series), []);
    }

    #[test]
    fn a_slow_start_is_an_outlier_where_others_are_as_slow() {
        let mut series = quiet(80);
        series[0] = 2.0;
        series[40] = 2.5;
        assert_eq!(marked(&series), [0, 40]);
        series[40] = 1.5;
        assert_eq!(marked(&series), [40]);
        series[0] = 0.5;
        assert_eq!(marked(&series), [0, 40]);
    }

    #[test]
    fn a_step_makes_no_outliers() {
        let mut series = quiet(60);
        series[25..].iter_mut().for_each(|x| *x += 1.0);
        assert_eq!(marked(&series), []);
    }

    #[test]
    fn the_sliding_median_is_that_of_the_window() {
        assert_eq!(
            sliding_median(&[5.0, 1.0, 4.0, 2.0], 1),
            [3.0, 4.0, 2.0, 3.0]
        );
        assert!(sliding_median(&[], 3).is_empty());
    }
}
