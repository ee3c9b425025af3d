//! Figures over processes with 95 % intervals, by the bootstrap in two stages: processes are drawn
//! with replacement, then passes within each. What differs from process to process (memory layout,
//! thermal state) and what differs from pass to pass both enter.

use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};

use crate::{
    mean, median,
    summary::{median_of_sorted, quantile_of_sorted},
};

/// Draws for one interval: the ends then move by about a twentieth of its width from seed to seed.
pub const DRAWS: usize = 1000;

/// The share of intervals that should hold the true figure.
pub const CONFIDENCE: f64 = 0.95;

/// The median over processes, with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub median: f64,
    /// The ends of the 95 % interval; `None` where a single process was measured.
    pub interval: Option<(f64, f64)>,
    pub processes: usize,
}

impl Estimate {
    /// Half the width of the interval as a share of the median: `0.03` is ±3 %.
    pub fn relative_half_width(&self) -> Option<f64> {
        let (low, high) = self.interval?;
        (self.median != 0.0).then(|| (high - low) / 2.0 / self.median.abs())
    }
}

/// What is drawn from one process.
#[derive(Debug, Clone, Copy)]
pub enum Sample<'a> {
    /// The mean of these passes, which are drawn again.
    Passes(&'a [f64]),
    /// A value that the process has once.
    Value(f64),
    /// Such a value in units of the mean of these passes.
    ValueOver(f64, &'a [f64]),
}

impl Sample<'_> {
    fn figure(&self) -> Option<f64> {
        match self {
            Self::Passes(passes) => mean(passes),
            Self::Value(value) => Some(*value),
            Self::ValueOver(value, passes) => Some(value / mean(passes)?),
        }
    }

    fn draw(&self, random: &mut impl Rng) -> f64 {
        match self {
            Self::Passes(passes) => drawn_mean(passes, random),
            Self::Value(value) => *value,
            Self::ValueOver(value, passes) => value / drawn_mean(passes, random),
        }
    }
}

fn drawn_mean(passes: &[f64], random: &mut impl Rng) -> f64 {
    let draws = passes.len();
    (0..draws)
        .map(|_| passes[random.random_range(0..draws)])
        .sum::<f64>()
        / draws as f64
}

/// Estimates the median over processes. `None` without any process; one whose sample is empty
/// does not count.
///
/// The percentile bootstrap of a median is honest about skew and makes no assumption of normality,
/// but with few processes its interval is too short rather than too long: with five it is the span
/// from about the lowest to the highest.
pub fn estimate(samples: &[Sample], seed: u64) -> Option<Estimate> {
    let kept: Vec<(Sample, f64)> = samples
        .iter()
        .filter_map(|s| Some((*s, s.figure().filter(|f| f.is_finite())?)))
        .collect();
    let median = median(kept.iter().map(|(_, figure)| *figure))?;
    let processes = kept.len();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let interval = (processes > 1).then(|| {
        let values = kept.iter().map(|(sample, _)| match sample {
            Sample::Value(value) => Some(*value),
            _ => None,
        });
        let mut medians = match values.collect::<Option<Vec<f64>>>() {
            Some(values) => medians_of_values(values, &mut random),
            None => medians_of_samples(&kept, &mut random),
        };
        medians.sort_by(f64::total_cmp);
        let outside = (1.0 - CONFIDENCE) / 2.0;
        let end = |share| quantile_of_sorted(&medians, share).unwrap_or(median);
        (end(outside), end(1.0 - outside))
    });
    Some(Estimate {
        median,
        interval,
        processes,
    })
}

/// The median over processes of each draw.
fn medians_of_samples(kept: &[(Sample, f64)], random: &mut impl Rng) -> Vec<f64> {
    let mut drawn = vec![0.0; kept.len()];
    let draw = |_| {
        for value in &mut drawn {
            *value = kept[random.random_range(0..kept.len())].0.draw(random);
        }
        drawn.sort_by(f64::total_cmp);
        median_of_sorted(&drawn)
    };
    (0..DRAWS).filter_map(draw).collect()
}

/// The same where each process has one value: which ones are drawn is counted in their order, and nothing has
/// to be sorted.
fn medians_of_values(values: Vec<f64>, random: &mut impl Rng) -> Vec<f64> {
    let processes = values.len();
    let mut order: Vec<usize> = (0..processes).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut rank = vec![0; processes];
    for (place, process) in order.iter().enumerate() {
        rank[*process] = place;
    }
    let mut counts = vec![0_usize; processes];
    let draw = |_| {
        counts.fill(0);
        for _ in 0..processes {
            counts[rank[random.random_range(0..processes)]] += 1;
        }
        // The value at a place among all that were drawn, in order.
        let mut at = 0;
        let mut seen = counts[0];
        let mut value_at = |place: usize| {
            while seen <= place {
                at += 1;
                seen += counts[at];
            }
            values[order[at]]
        };
        if processes % 2 == 1 {
            value_at(processes / 2)
        } else {
            let (below, above) = (value_at(processes / 2 - 1), value_at(processes / 2));
            f64::midpoint(below, above)
        }
    };
    (0..DRAWS).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_no_interval() {
        let estimate = estimate(&[Sample::Passes(&[1.0, 3.0])], 1).expect("a process");
        assert_eq!(estimate.median, 2.0);
        assert_eq!(estimate.interval, None);
    }

    #[test]
    fn empty_processes_do_not_count() {
        assert_eq!(estimate(&[], 1), None);
        assert_eq!(estimate(&[Sample::Passes(&[])], 1), None);
        let both = [Sample::Passes(&[]), Sample::Value(4.0)];
        assert_eq!(estimate(&both, 1).map(|e| e.processes), Some(1));
    }

    #[test]
    fn counting_gives_the_very_medians_that_sorting_gives() {
        for processes in 2..40 {
            let values: Vec<f64> = (0..processes)
                .map(|n| f64::from((n * 7919 + 13) % 17) / 3.0)
                .collect();
            let samples: Vec<(Sample, f64)> = values
                .iter()
                .map(|value| (Sample::Value(*value), *value))
                .collect();
            let random = || ChaCha8Rng::seed_from_u64(processes as u64);
            let counted = medians_of_values(values, &mut random());
            assert_eq!(counted, medians_of_samples(&samples, &mut random()));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let samples: Vec<Sample> = (0..9).map(|n| Sample::Value(f64::from(n))).collect();
        assert_eq!(estimate(&samples, 7), estimate(&samples, 7));
        assert_ne!(estimate(&samples, 7), estimate(&samples, 8));
    }

    /// With twenty normal processes the interval holds the true median about as often as it says.
    #[test]
    fn intervals_cover_the_truth() {
        use crate::planted::normal;
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let runs = 400;
        let mut covered = 0;
        for run in 0..runs {
            let processes: Vec<Vec<f64>> = (0..20)
                .map(|_| {
                    let level = 100.0 + 3.0 * normal(&mut random);
                    (0..30).map(|_| level + 2.0 * normal(&mut random)).collect()
                })
                .collect();
            let samples: Vec<Sample> = processes.iter().map(|p| Sample::Passes(p)).collect();
            let (low, high) = estimate(&samples, run)
                .and_then(|e| e.interval)
                .expect("twenty processes");
            covered += usize::from(low <= 100.0 && 100.0 <= high);
        }
        // 95 % of 400 is 380; a percentile bootstrap of a median may miss that by a little.
        assert!((364..=396).contains(&covered), "{covered} of {runs}");
    }
}
