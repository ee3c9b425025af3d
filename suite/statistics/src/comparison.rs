//! Which of two is faster: from ratios, on the logarithmic scale, by Student's t.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::mean;

/// How sure a claim of a difference is. Many pairs are compared in one report, so that one in
/// twenty would be wrong too often.
pub const CLAIM: f64 = 0.99;

/// How sure the printed interval is.
pub const INTERVAL: f64 = 0.95;

/// A difference of less than this share is not worth a claim, however sure it is.
pub const LEAST_DIFFERENCE: f64 = 0.01;

/// *No difference* means: none of more than this share, for steady times.
pub const STEADY_RESOLUTION: f64 = 0.05;

/// The same for first passes and cold starts, which one process has once.
pub const FIRST_RESOLUTION: f64 = 0.15;

/// Fewer rounds tell nothing: two agree too easily.
pub const FEWEST_ROUNDS: usize = 3;

/// What a comparison says of the first of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Faster,
    Slower,
    /// Any difference is smaller than the resolution.
    NoDifference,
    /// There may be a difference that matters, and there may be none.
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::NoDifference => "no difference",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// Two figures compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub verdict: Verdict,
    /// The first over the second: below 1 the first is faster.
    pub ratio: f64,
    /// The 95 % interval of the ratio; infinite where too little was measured to tell.
    pub interval: (f64, f64),
    /// Rounds, or processes of the one that has fewer.
    pub samples: usize,
}

impl Comparison {
    /// Half the width of the interval, as a share: what difference could be seen at all.
    pub fn half_width(&self) -> f64 {
        (self.interval.1 / self.interval.0).sqrt() - 1.0
    }

    fn of(log_ratio: f64, error: f64, freedom: f64, samples: usize, rule: Rule) -> Self {
        let t = |confidence: f64| {
            StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |distribution| {
                distribution.inverse_cdf(f64::midpoint(1.0, confidence))
            })
        };
        let (claim, interval) = (t(CLAIM) * error, t(INTERVAL) * error);
        let within = (log_ratio.abs() + interval) < (1.0 + rule.resolution).ln();
        let sure = log_ratio.abs() > claim;
        let verdict = if sure && log_ratio.abs() > (1.0 + rule.least_difference).ln() {
            if log_ratio < 0.0 {
                Verdict::Faster
            } else {
                Verdict::Slower
            }
        } else if within {
            Verdict::NoDifference
        } else {
            Verdict::Inconclusive
        };
        Self {
            verdict,
            ratio: log_ratio.exp(),
            interval: ((log_ratio - interval).exp(), (log_ratio + interval).exp()),
            samples,
        }
    }

    fn untold(ratio: f64, samples: usize) -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            ratio,
            interval: (0.0, f64::INFINITY),
            samples,
        }
    }
}

/// When a difference counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    pub resolution: f64,
    pub least_difference: f64,
}

impl Rule {
    /// For what was measured in turns within one run.
    pub fn interleaved(resolution: f64) -> Self {
        Self {
            resolution,
            least_difference: LEAST_DIFFERENCE,
        }
    }

    /// For what was measured in two runs: the machine may have been another by so much.
    pub fn separate(resolution: f64) -> Self {
        Self {
            resolution,
            least_difference: resolution,
        }
    }
}

/// From so many rounds on, a tenth of the ratios at each end is trimmed: see [`trimmed`].
const TRIMMED_FROM: usize = 10;

/// The trimmed mean with its standard error and degrees of freedom (Tukey and McLaughlin, "Less
/// vulnerable confidence and significance procedures for location based on a single sample",
/// Sankhya A 25, 1963): a round in which only one of two was disturbed must not decide. With few
/// values nothing is trimmed, as what is left would tell too little.
fn trimmed(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let cut = if n < TRIMMED_FROM { 0 } else { n / 10 };
    let kept = &sorted[cut..n - cut];
    let mut winsorised = sorted.clone();
    winsorised[..cut].fill(*kept.first()?);
    winsorised[n - cut..].fill(*kept.last()?);
    let share = kept.len() as f64 / n as f64;
    let error = variance(&winsorised).sqrt() / (share * (n as f64).sqrt());
    Some((mean(kept)?, error, kept.len() as f64 - 1.0))
}

/// Compares two by their ratios within the rounds that both have. A disturbance that lasts for a
/// round hits both and cancels out.
pub fn paired(
    a: &BTreeMap<usize, f64>,
    b: &BTreeMap<usize, f64>,
    rule: Rule,
) -> Option<Comparison> {
    let logs: Vec<f64> = a
        .iter()
        .filter_map(|(round, x)| Some((x / b.get(round)?).ln()))
        .filter(|ratio| ratio.is_finite())
        .collect();
    let (ratio, error, freedom) = trimmed(&logs)?;
    if logs.len() < FEWEST_ROUNDS {
        return Some(Comparison::untold(ratio.exp(), logs.len()));
    }
    Some(Comparison::of(ratio, error, freedom, logs.len(), rule))
}

/// Compares two samples of processes from different runs (Welch's unequal variances).
pub fn unpaired(a: &[f64], b: &[f64], rule: Rule) -> Option<Comparison> {
    let logs = |sample: &[f64]| -> Vec<f64> {
        let logs = sample.iter().map(|x| x.ln());
        logs.filter(|x| x.is_finite()).collect()
    };
    let (a, b) = (logs(a), logs(b));
    let ratio = mean(&a)? - mean(&b)?;
    let fewest = a.len().min(b.len());
    if fewest < FEWEST_ROUNDS {
        return Some(Comparison::untold(ratio.exp(), fewest));
    }
    let part = |sample: &[f64]| variance(sample) / sample.len() as f64;
    let (x, y) = (part(&a), part(&b));
    let freedom = if x + y > 0.0 {
        (x + y).powi(2) / (x * x / (a.len() as f64 - 1.0) + y * y / (b.len() as f64 - 1.0))
    } else {
        fewest as f64 - 1.0
    };
    Some(Comparison::of(ratio, (x + y).sqrt(), freedom, fewest, rule))
}

/// Of the sample, with n − 1.
fn variance(values: &[f64]) -> f64 {
    let Some(mean) = mean(values) else { return 0.0 };
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    squares / (values.len() as f64 - 1.0).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> BTreeMap<usize, f64> {
        values.iter().copied().enumerate().collect()
    }

    fn verdict(a: &[f64], b: &[f64]) -> Verdict {
        let rule = Rule::interleaved(STEADY_RESOLUTION);
        paired(&rounds(a), &rounds(b), rule)
            .expect("they have rounds in common")
            .verdict
    }

    #[test]
    fn claims_need_rounds_that_agree() {
        let ten = [10.0, 10.2, 9.9, 10.1, 10.0];
        assert_eq!(
            verdict(&ten, &[20.0, 21.0, 19.5, 20.3, 20.0]),
            Verdict::Faster
        );
        assert_eq!(
            verdict(&[20.0, 21.0, 19.5, 20.3, 20.0], &ten),
            Verdict::Slower
        );
        assert_eq!(
            verdict(&ten, &[10.1, 10.1, 9.9, 10.0, 10.1]),
            Verdict::NoDifference
        );
        assert_eq!(
            verdict(&ten, &[20.0, 9.0, 20.0, 8.0, 20.0]),
            Verdict::Inconclusive
        );
        assert_eq!(verdict(&ten[..2], &[20.0, 21.0]), Verdict::Inconclusive);
    }

    #[test]
    fn a_disturbed_round_that_hits_both_cancels_out() {
        let a = [10.0, 30.0, 10.1, 10.0, 9.9, 10.0];
        let b = [13.0, 39.2, 13.0, 13.1, 13.0, 12.9];
        assert_eq!(verdict(&a, &b), Verdict::Faster);
    }

    #[test]
    fn rounds_that_hit_only_one_do_not_decide() {
        let mut a: Vec<f64> = (0..20).map(|n| 10.0 + 0.05 * f64::from(n % 4)).collect();
        let b = a.clone();
        a[3] = 17.0;
        a[11] = 15.0;
        assert_eq!(verdict(&a, &b), Verdict::NoDifference);
        let slower: Vec<f64> = b.iter().map(|x| x * 1.1).collect();
        assert_eq!(verdict(&a, &slower), Verdict::Faster);
    }

    /// By hand: 1 to 10, one cut at each end.
    #[test]
    fn the_trimmed_mean_and_its_error() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let (mean, error, freedom) = trimmed(&values).expect("ten values");
        assert_eq!((mean, freedom), (5.5, 7.0));
        // Winsorised: 2 2 3 4 5 6 7 8 9 9, squares about 5.5: 66.5.
        let expected = (66.5f64 / 9.0).sqrt() / (0.8 * 10f64.sqrt());
        assert!((error - expected).abs() < 1e-12, "{error} {expected}");
    }

    /// Of two that are alike, 1 % of the comparisons may claim a difference.
    #[test]
    fn claims_are_as_rare_as_is_said() {
        use rand::SeedableRng;
        let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(9);
        let mut draw = |n| -> Vec<f64> {
            let noise = (0..n).map(|_| (0.05 * crate::planted::normal(&mut random)).exp());
            noise.collect()
        };
        for n in [5, 10, 20] {
            let runs = 2000;
            let claims = (0..runs)
                .filter(|_| {
                    let verdict = verdict(&draw(n), &draw(n));
                    matches!(verdict, Verdict::Faster | Verdict::Slower)
                })
                .count();
            assert!((2..=40).contains(&claims), "{claims} of {runs}, {n} rounds");
        }
    }

    #[test]
    fn a_sure_trifle_is_no_difference() {
        let a = [10.0, 10.001, 9.999, 10.0, 10.001];
        let b = [10.03, 10.031, 10.029, 10.03, 10.03];
        assert_eq!(verdict(&a, &b), Verdict::NoDifference);
    }

    #[test]
    fn separate_runs_are_not_paired() {
        let rule = Rule::separate(STEADY_RESOLUTION);
        let a = [10.0, 10.1, 9.9, 10.0];
        let slower = [12.0, 12.1, 11.9, 12.0, 12.1];
        let near = [10.3, 10.2, 10.35, 10.25];
        let of = |a: &[f64], b: &[f64]| unpaired(a, b, rule).expect("not empty").verdict;
        assert_eq!(of(&a, &slower), Verdict::Faster);
        assert_eq!(of(&slower, &a), Verdict::Slower);
        assert_eq!(of(&a, &near), Verdict::NoDifference);
        assert_eq!(unpaired(&[], &a, rule), None);
    }

    #[test]
    fn the_interval_is_students() {
        // Log ratios 0.1, 0.2, 0.3: mean 0.2, error 0.1/√3, t(2, 0.975) = 4.302653.
        let a: Vec<f64> = [0.1f64, 0.2, 0.3].iter().map(|x| x.exp()).collect();
        let rule = Rule::interleaved(STEADY_RESOLUTION);
        let found = paired(&rounds(&a), &rounds(&[1.0; 3]), rule).expect("rounds");
        let half = 4.302_653 * 0.1 / 3f64.sqrt();
        assert!((found.interval.0.ln() - (0.2 - half)).abs() < 1e-5);
        assert!((found.half_width() - half.exp_m1()).abs() < 1e-5);
    }
}
