//! Change points of a series in mean and variance, by PELT: Killick, Fearnhead and Eckley,
//! "Optimal detection of changepoints with a linear computational cost", JASA 107 (2012).

use std::ops::RangeInclusive;

/// No grid is coarser than needed for so many candidates.
const CANDIDATES: usize = 768;

/// Each of the first passes is a candidate, however long the series: there the changes are that
/// this project looks for.
const DENSE_HEAD: usize = 256;

/// Finds the change points of a series: the positions at which a new segment begins, in order,
/// without 0. They minimise the sum of `Costs::of` over the segments plus `penalty` for each
/// change.
///
/// `deviation` bounds the standard deviation that a segment is believed to have. Without the lower
/// bound a segment of one or two values, which vary by nothing, would look infinitely exact; with
/// it segments of a single value are possible, which is what a slow first pass is. Without the
/// upper bound two levels in turns would pass for one level of great variance.
///
/// Up to 768 values the result is the exact minimum. Longer series are first cut on a grid of that
/// size, which holds each of the first 256 positions, and each change is then moved to its best
/// place between its neighbours: a million values take a fraction of a second, and a level that
/// lasts less than a 512th of the series may go unseen after its head.
pub fn change_points(series: &[f64], deviation: RangeInclusive<f64>, penalty: f64) -> Vec<usize> {
    let costs = Costs::new(series, deviation, 1);
    let grid = grid(series.len());
    let mut found = pelt(&costs, &grid, penalty);
    if grid.len() <= series.len() {
        refine(&costs, &mut found, series.len());
        drop_unpaid(&costs, &mut found, series.len(), penalty);
    }
    found
}

/// The same on every position and with segments of at least `shortest` values, whatever it takes.
pub fn exact_change_points(
    series: &[f64],
    deviation: RangeInclusive<f64>,
    penalty: f64,
    shortest: usize,
) -> Vec<usize> {
    let costs = Costs::new(series, deviation, shortest);
    pelt(&costs, &(0..=series.len()).collect::<Vec<_>>(), penalty)
}

/// What it costs to call a part of the series one segment.
struct Costs {
    /// Sums of the values and of their squares before each position, of values from which the mean
    /// of the series was taken, so that no digits are lost.
    sums: Vec<(f64, f64)>,
    /// Least and greatest variance, each with its logarithm.
    least: (f64, f64),
    greatest: (f64, f64),
    shortest: usize,
}

impl Costs {
    fn new(series: &[f64], deviation: RangeInclusive<f64>, shortest: usize) -> Self {
        let mean = crate::mean(series).unwrap_or(0.0);
        let mut sums = Vec::with_capacity(series.len() + 1);
        let mut total = (0.0, 0.0);
        sums.push(total);
        for value in series {
            let x = value - mean;
            total = (total.0 + x, total.1 + x * x);
            sums.push(total);
        }
        let bound = |deviation: &f64| {
            let variance = deviation.powi(2).max(f64::MIN_POSITIVE);
            (variance, variance.ln())
        };
        Self {
            sums,
            least: bound(deviation.start()),
            greatest: bound(deviation.end()),
            shortest: shortest.max(1),
        }
    }

    /// Twice the negative log-likelihood of normal values with the segment's own mean and variance,
    /// less a constant; the variance lies within its bounds. As a minimum over variances the cost
    /// never grows when a segment is cut in two, which PELT's pruning needs.
    fn of(&self, begin: usize, end: usize) -> f64 {
        let n = (end - begin) as f64;
        let sum = self.sums[end].0 - self.sums[begin].0;
        let squares = self.sums[end].1 - self.sums[begin].1;
        let scatter = (squares - sum * sum / n).max(0.0);
        let own = scatter / n;
        // Most segments are as quiet as one is believed to be, whose logarithm is known.
        let (variance, log) = if own >= self.greatest.0 {
            self.greatest
        } else if own > self.least.0 {
            (own, own.ln())
        } else {
            self.least
        };
        n * log + scatter / variance
    }
}

/// The positions that may be change points, with both ends.
fn grid(length: usize) -> Vec<usize> {
    if length < CANDIDATES {
        return (0..=length).collect();
    }
    let rest = length - DENSE_HEAD;
    let steps = CANDIDATES - DENSE_HEAD;
    let coarse = (0..=steps).map(|n| DENSE_HEAD + rest * n / steps);
    (0..DENSE_HEAD).chain(coarse).collect()
}

/// Where the last segment may begin.
struct Candidate {
    begin: usize,
    /// What the series costs up to the present end if it does.
    total: f64,
    /// The first end at which that was worse than the best by more than the penalty.
    beaten: Option<usize>,
}

impl Candidate {
    fn at(begin: usize) -> Self {
        Self {
            begin,
            total: f64::NEG_INFINITY,
            beaten: None,
        }
    }
}

/// The best segmentation whose ends all lie on the grid.
fn pelt(costs: &Costs, grid: &[usize], penalty: f64) -> Vec<usize> {
    let last = grid.len() - 1;
    // The least cost of what lies before each grid position, and where its last segment begins.
    let mut best = vec![f64::INFINITY; grid.len()];
    let mut from = vec![0; grid.len()];
    best[0] = -penalty;
    let mut candidates = vec![Candidate::at(0)];
    for end in 1..=last {
        let fits = |begin: usize| grid[end] - grid[begin] >= costs.shortest;
        // A change where the candidate was beaten is better than it, once a segment fits after it.
        candidates.retain(|c| !c.beaten.is_some_and(fits));
        for candidate in candidates.iter_mut().filter(|c| fits(c.begin)) {
            candidate.total = best[candidate.begin] + costs.of(grid[candidate.begin], grid[end]);
            if candidate.total + penalty < best[end] {
                best[end] = candidate.total + penalty;
                from[end] = candidate.begin;
            }
        }
        for candidate in candidates.iter_mut().filter(|c| c.total > best[end]) {
            candidate.beaten.get_or_insert(end);
        }
        candidates.push(Candidate::at(end));
    }
    let mut found = Vec::new();
    let mut at = last;
    while from[at] > 0 {
        at = from[at];
        found.push(grid[at]);
    }
    found.reverse();
    found
}

/// Moves each change to its best place between its neighbours.
fn refine(costs: &Costs, found: &mut [usize], length: usize) {
    for n in 0..found.len() {
        let before = if n == 0 { 0 } else { found[n - 1] };
        let after = found.get(n + 1).copied().unwrap_or(length);
        let split = |at: usize| costs.of(before, at) + costs.of(at, after);
        let places = (before + 1)..after;
        if let Some(best) = places.min_by(|a, b| split(*a).total_cmp(&split(*b))) {
            found[n] = best;
        }
    }
}

/// Takes back changes that do not pay for themselves: between two positions of a grid one change
/// may have needed two.
fn drop_unpaid(costs: &Costs, found: &mut Vec<usize>, length: usize, penalty: f64) {
    loop {
        let gain = |n: usize| {
            let before = if n == 0 { 0 } else { found[n - 1] };
            let after = found.get(n + 1).copied().unwrap_or(length);
            costs.of(before, after) - costs.of(before, found[n]) - costs.of(found[n], after)
        };
        let least = (0..found.len()).min_by(|a, b| gain(*a).total_cmp(&gain(*b)));
        match least {
            Some(n) if gain(n) < penalty => found.remove(n),
            _ => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without pruning.
    fn by_definition(costs: &Costs, length: usize, penalty: f64) -> f64 {
        let mut best = vec![f64::INFINITY; length + 1];
        best[0] = -penalty;
        for end in costs.shortest..=length {
            let totals = (0..=end - costs.shortest)
                .map(|begin| best[begin] + costs.of(begin, end) + penalty);
            best[end] = totals.fold(f64::INFINITY, f64::min);
        }
        best[length]
    }

    fn total(costs: &Costs, length: usize, penalty: f64, found: &[usize]) -> f64 {
        let ends: Vec<usize> = [0]
            .into_iter()
            .chain(found.iter().copied())
            .chain([length])
            .collect();
        assert!(ends.windows(2).all(|e| e[1] - e[0] >= costs.shortest));
        let segments = ends.windows(2).map(|e| costs.of(e[0], e[1]));
        segments.sum::<f64>() + penalty * found.len() as f64
    }

    /// Noise on levels that last for so long.
    fn series(levels: &[(f64, usize)], noise: &[f64]) -> Vec<f64> {
        let levels = levels
            .iter()
            .flat_map(|(level, n)| std::iter::repeat_n(*level, *n));
        levels.zip(noise).map(|(l, e)| l + e).collect()
    }

    proptest! {
        #[test]
        fn pruning_loses_no_optimum(
            levels in prop::collection::vec((0.0f64..3.0, 1usize..12), 1..6),
            noise in prop::collection::vec(-0.5f64..0.5, 72),
            penalty in 0.5f64..30.0,
            floor in 0.01f64..0.5,
        ) {
            let series = series(&levels, &noise);
            let costs = Costs::new(&series, floor..=2.0 * floor, 1);
            let found = change_points(&series, floor..=2.0 * floor, penalty);
            let cost = total(&costs, series.len(), penalty, &found);
            prop_assert!((cost - by_definition(&costs, series.len(), penalty)).abs() < 1e-6);
        }

        #[test]
        fn nor_does_it_where_segments_have_a_least_length(
            levels in prop::collection::vec((0.0f64..3.0, 8usize..12), 1..6),
            noise in prop::collection::vec(-0.5f64..0.5, 72),
            penalty in 0.5f64..10.0,
            shortest in 2usize..8,
        ) {
            let series = series(&levels, &noise);
            let costs = Costs::new(&series, 0.01..=10.0, shortest);
            let found = exact_change_points(&series, 0.01..=10.0, penalty, shortest);
            let cost = total(&costs, series.len(), penalty, &found);
            prop_assert!((cost - by_definition(&costs, series.len(), penalty)).abs() < 1e-6);
        }

        #[test]
        fn any_series_is_cut_inside_of_it(series in prop::collection::vec(-1e6f64..1e6, 0..40)) {
            let found = change_points(&series, 0.1..=0.2, 10.0);
            prop_assert!(found.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(found.iter().all(|at| (1..series.len()).contains(at)));
        }
    }

    #[test]
    fn a_long_series_keeps_its_first_passes_and_its_step() {
        let mut series: Vec<f64> = (0..100_000u32)
            .map(|n| f64::from(n.wrapping_mul(2_654_435_761) >> 16) / 65536.0)
            .collect();
        series[0] += 300.0;
        series[1] += 20.0;
        series[70_001..].iter_mut().for_each(|x| *x += 2.0);
        assert_eq!(change_points(&series, 0.3..=0.4, 50.0), [1, 2, 70_001]);
    }
}
