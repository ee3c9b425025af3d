//! An A/A run: the same engine entered twice. Whatever difference it shows is the machine's.

use std::collections::BTreeMap;

use firstpass_statistics::comparison::{Comparison, Verdict};
use firstpass_trial::observation::Cell;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::studies::first_passes::judge::{
    comparisons::compare_family,
    latency::{Figure, Latency},
};

/// How often the run is analysed anew, with the two entries of each round in another order.
pub const ANALYSES: usize = 100;

/// The least number of them that must say *no difference* of a machine that can be measured on.
pub const NEEDED: usize = 95;

/// One figure of one cell against itself.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfComparison {
    pub cell: Cell,
    pub figure: Figure,
    pub comparison: Comparison,
    /// What [`ANALYSES`] repetitions say, in each of which the entries of every round change places
    /// or not, at random: they are the same engine, so that each is as good a run as the first.
    pub repeated: BTreeMap<Verdict, usize>,
}

impl SelfComparison {
    /// The smallest difference, as a share, that this many rounds could tell from none.
    pub fn floor(&self) -> f64 {
        self.comparison.half_width()
    }

    pub fn no_difference(&self) -> usize {
        self.repeated
            .get(&Verdict::NoDifference)
            .copied()
            .unwrap_or(0)
    }
}

/// Compares the entries of each cell that was entered twice.
pub fn judge(latencies: &[Latency]) -> Vec<SelfComparison> {
    let first_entry = |cell: &Cell| Cell {
        entry: 0,
        ..cell.clone()
    };
    let twins: Vec<(&Latency, &Latency)> = latencies
        .iter()
        .filter(|l| l.cell.entry == 1)
        .filter_map(|second| {
            let cell = first_entry(&second.cell);
            Some((latencies.iter().find(|l| l.cell == cell)?, second))
        })
        .collect();
    let mut judged = Vec::new();
    for figure in Figure::ALL {
        let rounds = twins.iter().map(|(a, b)| a.rounds_with(b, figure));
        let rounds: Vec<Vec<(f64, f64)>> = rounds
            .map(|rounds| rounds.into_values().collect())
            .collect();
        let repeated = repeat(&rounds, figure);
        let compared = compare_family(&rounds, figure);
        for (((first, _), comparison), repeated) in twins.iter().zip(compared).zip(repeated) {
            judged.extend(comparison.map(|comparison| SelfComparison {
                cell: first.cell.clone(),
                figure,
                comparison,
                repeated,
            }));
        }
    }
    judged.sort_by(|a, b| (&a.cell, a.figure).cmp(&(&b.cell, b.figure)));
    judged
}

/// The verdicts on each pair in all analyses.
fn repeat(pairs: &[Vec<(f64, f64)>], figure: Figure) -> Vec<BTreeMap<Verdict, usize>> {
    let mut verdicts = vec![BTreeMap::new(); pairs.len()];
    for analysis in 0..ANALYSES as u64 {
        let mut random = ChaCha8Rng::seed_from_u64(analysis);
        let mut drawn = pairs.to_vec();
        for pair in drawn.iter_mut().flatten().filter(|_| random.random()) {
            *pair = (pair.1, pair.0);
        }
        let compared = compare_family(&drawn, figure);
        for (verdicts, comparison) in verdicts.iter_mut().zip(compared) {
            if let Some(comparison) = comparison {
                *verdicts.entry(comparison.verdict).or_default() += 1;
            }
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use firstpass_statistics::planted::normal;

    use super::*;
    use crate::studies::first_passes::judge::latency::{
        summarise,
        tests::{observation, times},
    };

    /// An A/A run on a machine whose processes differ by 2 % at random and by 10 % from round to
    /// round, both entries alike.
    fn run(seed: u64, rounds: usize) -> Vec<Latency> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut observations = Vec::new();
        for round in 0..rounds {
            let of_round = 20.0 * (0.1 * normal(&mut random)).exp();
            for entry in 0..2 {
                let level = of_round * (0.02 * normal(&mut random)).exp();
                let first = 3.0 * level * (0.05 * normal(&mut random)).exp();
                let mut observation = observation(round, &times(&[first], level));
                observation.cell.entry = entry;
                observations.push(observation);
            }
        }
        summarise(&observations)
    }

    #[test]
    fn independent_runs_of_the_same_engine_show_no_difference() {
        let runs = 100;
        let mut no_difference: BTreeMap<Figure, usize> = BTreeMap::new();
        for seed in 0..runs {
            for of in judge(&run(seed, 12)) {
                let right = of.comparison.verdict == Verdict::NoDifference;
                *no_difference.entry(of.figure).or_default() += usize::from(right);
            }
        }
        for figure in Figure::ALL {
            let right = no_difference.get(&figure).copied().unwrap_or(0);
            assert!(right >= 95, "{figure}: {right} of {runs}");
        }
    }

    #[test]
    fn repeated_analyses_of_one_run_agree() {
        for of in judge(&run(3, 12)) {
            assert!(of.no_difference() >= NEEDED, "{of:?}");
            assert!(of.floor() < of.figure.resolution());
        }
    }

    #[test]
    fn a_real_difference_is_not_called_none() {
        let mut observations = Vec::new();
        for round in 0..12 {
            for entry in 0..2 {
                let level = if entry == 0 { 20.0 } else { 22.0 };
                let level = level * [1.0, 1.02, 0.99][(round + entry) % 3];
                let mut observation = observation(round, &times(&[60.0], level));
                observation.cell.entry = entry;
                observations.push(observation);
            }
        }
        let judged = judge(&summarise(&observations));
        let steady = judged.iter().find(|s| s.figure == Figure::Steady);
        let steady = steady.expect("the cell was entered twice");
        assert_eq!(steady.comparison.verdict, Verdict::Faster);
        assert_eq!(steady.no_difference(), 0);
    }
}
