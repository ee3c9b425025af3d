//! Which of two is faster: from ratios, on the logarithmic scale, by a moderated t.
//!
//! Whoever measures looks at what is known and goes on where it is not enough. Looking often makes false
//! claims likelier, so that the level of a claim is spent over the looks ([`SPENDING`]). Many comparisons
//! at once do so too: [`control`] keeps the false ones rare in a whole table.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{mean, moderation::Prior};

/// How often, at most, a difference is claimed where there is none: in one comparison under every look
/// that is taken, and in a family of comparisons of which none differs.
pub const FALSE_CLAIMS: f64 = 0.01;

/// How sure the printed interval is.
pub const INTERVAL: f64 = 0.95;

/// A difference of less than this share is not worth a claim, however sure it is.
pub const LEAST_DIFFERENCE: f64 = 0.01;

/// *No difference* means: none of more than this share, for steady times.
pub const STEADY_RESOLUTION: f64 = 0.05;

/// The same for first passes and cold starts, which one process has once.
pub const FIRST_RESOLUTION: f64 = 0.15;

/// From how many rounds on which share of [`FALSE_CLAIMS`] may be spent. A comparison is looked at when
/// its rounds reach one of these numbers, and once more when the time is used up; the shares add up to
/// one, so that the claims of all looks together are no more often wrong than is said (the group
/// sequential tests of Lan and DeMets, Biometrika 70, 1983, with Bonferroni's bound).
///
/// Little is spent early, where only what is very plain can be told.
pub const SPENDING: [(usize, f64); 8] = [
    (1, 0.02),
    (2, 0.13),
    (4, 0.15),
    (8, 0.35),
    (16, 0.15),
    (32, 0.1),
    (64, 0.05),
    (128, 0.05),
];

/// Whether a comparison is to be looked at after so many rounds.
pub fn is_look(rounds: usize) -> bool {
    SPENDING.iter().any(|(from, _)| *from == rounds)
}

/// The share of the level that a look after so many rounds may use.
pub fn spent(rounds: usize) -> f64 {
    let reached = SPENDING.iter().take_while(|(from, _)| *from <= rounds);
    reached.last().map_or(SPENDING[0].1, |(_, share)| *share)
}

/// What a comparison says of the first of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Faster,
    Slower,
    /// Any difference is smaller than the resolution.
    NoDifference,
    /// There may be a difference that matters, and there may be none.
    Open,
}

impl Verdict {
    /// Whether a difference is claimed.
    pub fn is_claim(self) -> bool {
        matches!(self, Self::Faster | Self::Slower)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::NoDifference => "no difference",
            Self::Open => "open",
        })
    }
}

/// When a difference counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// *No difference* means none of more than this share.
    pub resolution: f64,
    /// A smaller difference is not claimed.
    pub least_difference: f64,
    /// Whether measuring went on until something was told.
    pub looked_at_often: bool,
    /// Whether it is only asked if the first is slower.
    pub one_sided: bool,
}

impl Rule {
    /// For what was measured in turns within one run, until it was told.
    pub fn interleaved(resolution: f64) -> Self {
        Self {
            resolution,
            least_difference: LEAST_DIFFERENCE,
            looked_at_often: true,
            one_sided: false,
        }
    }

    /// For what was measured in two runs: the machine may have been another by so much.
    pub fn separate(resolution: f64) -> Self {
        Self {
            resolution,
            least_difference: resolution,
            looked_at_often: false,
            one_sided: false,
        }
    }
}

/// Logarithms of ratios, or of times, summarised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogSample {
    pub mean: f64,
    /// The variance of a single value; 0 where there is but one.
    pub variance: f64,
    /// Its degrees of freedom: none for a single value.
    pub freedom: f64,
    pub values: usize,
}

/// From so many values on, a tenth at each end is trimmed: see [`LogSample::of`].
const TRIMMED_FROM: usize = 10;

impl LogSample {
    /// The trimmed mean with the variance that gives its standard error (Tukey and McLaughlin, "Less
    /// vulnerable confidence and significance procedures for location based on a single sample",
    /// Sankhya A 25, 1963): a round in which only one of two was disturbed must not decide. With few
    /// values nothing is trimmed, as what is left would tell too little.
    ///
    /// Values that are not finite are left out; `None` where there is no other.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let cut = if n < TRIMMED_FROM { 0 } else { n / 10 };
        let kept = &sorted[cut..n - cut];
        let mut winsorised = sorted.clone();
        winsorised[..cut].fill(*kept.first()?);
        winsorised[n - cut..].fill(*kept.last()?);
        let share = kept.len() as f64 / n as f64;
        Some(Self {
            mean: mean(kept)?,
            variance: variance(&winsorised) / (share * share),
            freedom: kept.len() as f64 - 1.0,
            values: n,
        })
    }

    /// The ratios of the first to the second within the rounds that both have. A disturbance that lasts
    /// for a round hits both and cancels out. `None` without a common round.
    pub fn of_ratios(a: &BTreeMap<usize, f64>, b: &BTreeMap<usize, f64>) -> Option<Self> {
        let ratio = |(round, x): (&usize, &f64)| Some((x / b.get(round)?).ln());
        Self::of(a.iter().filter_map(ratio))
    }

    /// The square of the standard error of the mean, and its degrees of freedom, with a variance that
    /// was drawn towards the prior.
    pub fn error(&self, prior: &Prior) -> (f64, f64) {
        let (variance, freedom) = prior.moderate(self.variance, self.freedom);
        (variance / self.values as f64, freedom)
    }
}

/// Two figures compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub verdict: Verdict,
    /// The first over the second: below 1 the first is faster.
    pub ratio: f64,
    /// The 95 % interval of the ratio.
    pub interval: (f64, f64),
    /// How often a difference so large would be seen, at this look or another, if there were none.
    pub p: f64,
    /// The standard deviation of the logarithm of the ratio in a single round.
    pub deviation: f64,
    /// The degrees of freedom of its square.
    pub freedom: f64,
    /// Rounds, or processes of the one that has fewer.
    pub samples: usize,
    /// *No difference* means none of more than this share.
    pub resolution: f64,
}

impl Comparison {
    /// Compares two by their ratios in the rounds of one run.
    pub fn paired(ratios: &LogSample, prior: &Prior, rule: Rule) -> Self {
        let (error, freedom) = ratios.error(prior);
        Self::of(ratios.mean, error, freedom, ratios.values, rule)
    }

    /// Compares the times of processes of two runs (Welch's unequal variances).
    pub fn unpaired(a: &LogSample, b: &LogSample, priors: [&Prior; 2], rule: Rule) -> Self {
        let (x, x_freedom) = a.error(priors[0]);
        let (y, y_freedom) = b.error(priors[1]);
        let freedom = (x + y).powi(2) / (x * x / x_freedom + y * y / y_freedom);
        Self::of(
            a.mean - b.mean,
            x + y,
            freedom,
            a.values.min(b.values),
            rule,
        )
    }

    /// Compares a measurement with itself: it differs by nothing, however noisy it is.
    pub fn with_itself(samples: usize, rule: Rule) -> Self {
        Self::of(0.0, 0.0, 1.0, samples, rule)
    }

    fn of(log_ratio: f64, variance: f64, freedom: f64, samples: usize, rule: Rule) -> Self {
        let error = variance.max(f64::MIN_POSITIVE).sqrt();
        let (p, quantile) = match StudentsT::new(0.0, 1.0, freedom.max(1.0)) {
            Ok(t) => {
                let p = if rule.one_sided {
                    t.cdf(-log_ratio / error)
                } else {
                    2.0 * t.cdf(-log_ratio.abs() / error)
                };
                (p, t.inverse_cdf(f64::midpoint(1.0, INTERVAL)))
            }
            Err(_) => (1.0, f64::INFINITY),
        };
        let share = if rule.looked_at_often {
            spent(samples)
        } else {
            1.0
        };
        let half = quantile * error;
        let mut comparison = Self {
            verdict: Verdict::Open,
            ratio: log_ratio.exp(),
            interval: ((log_ratio - half).exp(), (log_ratio + half).exp()),
            p: (p / share).min(1.0),
            deviation: error * (samples as f64).sqrt(),
            freedom: freedom.max(1.0),
            samples,
            resolution: rule.resolution,
        };
        let large = log_ratio.abs() > (1.0 + rule.least_difference).ln();
        comparison.verdict = if large && comparison.p <= FALSE_CLAIMS {
            if log_ratio < 0.0 {
                Verdict::Faster
            } else {
                Verdict::Slower
            }
        } else {
            comparison.verdict_without_claim()
        };
        comparison
    }

    /// What can be said where no difference may be claimed.
    fn verdict_without_claim(&self) -> Verdict {
        let (low, high) = self.interval;
        let border = 1.0 + self.resolution;
        if high < border && low > 1.0 / border {
            Verdict::NoDifference
        } else {
            Verdict::Open
        }
    }

    /// The second against the first.
    #[must_use]
    pub fn inverted(&self) -> Self {
        Self {
            verdict: match self.verdict {
                Verdict::Faster => Verdict::Slower,
                Verdict::Slower => Verdict::Faster,
                other => other,
            },
            ratio: 1.0 / self.ratio,
            interval: (1.0 / self.interval.1, 1.0 / self.interval.0),
            ..*self
        }
    }

    /// Half the width of the interval, as a share: what difference could be seen at all.
    pub fn half_width(&self) -> f64 {
        (self.interval.1 / self.interval.0).sqrt() - 1.0
    }

    /// The standard error of the logarithm of the ratio.
    pub fn error(&self) -> f64 {
        self.deviation / (self.samples as f64).sqrt()
    }

    /// How often a ratio this large or larger would be seen if the true one were the limit: by a
    /// one-sided t. One minus it is how often one this small or smaller would be.
    pub fn p_above(&self, limit: f64) -> f64 {
        let distance = self.ratio.ln() - limit.ln();
        let error = self.error().max(f64::MIN_POSITIVE);
        StudentsT::new(0.0, 1.0, self.freedom).map_or(0.5, |t| t.cdf(-distance / error))
    }

    /// After how many rounds in all an open comparison would probably be told, if it goes on as it
    /// began; `None` where more than a thousand are not enough, or where it is told.
    pub fn rounds_needed(&self) -> Option<usize> {
        if self.verdict != Verdict::Open {
            return None;
        }
        let (distance, deviation) = (self.ratio.ln().abs(), self.deviation);
        let border = (1.0 + self.resolution).ln();
        (self.samples + 1..=MOST_ROUNDS).find(|rounds| {
            let error = deviation / (*rounds as f64).sqrt();
            let freedom = self.freedom + (rounds - self.samples) as f64;
            let quantile = |share| students_quantile(share, freedom);
            let claim = quantile(1.0 - FALSE_CLAIMS * spent(*rounds) / 2.0);
            let none = quantile(f64::midpoint(1.0, INTERVAL));
            distance > claim * error || distance + none * error < border
        })
    }
}

/// No forecast goes further.
const MOST_ROUNDS: usize = 1000;

/// Below which value this share of the standard normal distribution lies.
pub fn normal_quantile(share: f64) -> f64 {
    statrs::distribution::Normal::standard().inverse_cdf(share)
}

/// The quantile of Student's t, by the first terms of its expansion in the normal one (Abramowitz and
/// Stegun, 26.7.5): good enough for a forecast, and fast.
fn students_quantile(share: f64, freedom: f64) -> f64 {
    let z = normal_quantile(share);
    let (cubed, fifth) = (z.powi(3), z.powi(5));
    z + (cubed + z) / (4.0 * freedom)
        + (5.0 * fifth + 16.0 * cubed + 3.0 * z) / (96.0 * freedom * freedom)
}

/// Takes back claims of a family of comparisons, so that of all that are made no more than
/// [`FALSE_CLAIMS`] are expected to be false (Benjamini and Hochberg, "Controlling the false discovery
/// rate", J. R. Stat. Soc. B 57, 1995). Where nothing differs at all, that is also how often there is
/// any claim in the whole family.
pub fn control<'a>(family: impl IntoIterator<Item = &'a mut Comparison>) {
    let family: Vec<&mut Comparison> = family.into_iter().collect();
    let p: Vec<f64> = family.iter().map(|c| c.p).collect();
    for (comparison, kept) in family.into_iter().zip(sure(&p, FALSE_CLAIMS)) {
        if !kept && comparison.verdict.is_claim() {
            comparison.verdict = comparison.verdict_without_claim();
        }
    }
}

/// Which claims of a family may be made, by their p, so that no more than this share of all that are
/// made is expected to be false: the procedure of Benjamini and Hochberg.
pub fn sure(p: &[f64], false_share: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let allowed = |rank: usize| false_share * (rank as f64 + 1.0) / p.len() as f64;
    let last = order.iter().enumerate().rev();
    let kept = last
        .map(|(rank, at)| (rank, p[*at]))
        .find(|(rank, p)| *p <= allowed(*rank))
        .map_or(0, |(rank, _)| rank + 1);
    let mut sure = vec![false; p.len()];
    for at in &order[..kept] {
        sure[*at] = true;
    }
    sure
}

/// Of the sample, with n − 1; 0 for a single value.
fn variance(values: &[f64]) -> f64 {
    let Some(mean) = mean(values) else { return 0.0 };
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    squares / (values.len() as f64 - 1.0).max(1.0)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::ChaCha8Rng};

    use super::*;
    use crate::planted::normal;

    fn rounds(values: &[f64]) -> BTreeMap<usize, f64> {
        values.iter().copied().enumerate().collect()
    }

    fn compare(a: &[f64], b: &[f64]) -> Comparison {
        let ratios = LogSample::of_ratios(&rounds(a), &rounds(b)).expect("rounds in common");
        Comparison::paired(
            &ratios,
            &Prior::UNKNOWN,
            Rule::interleaved(STEADY_RESOLUTION),
        )
    }

    fn verdict(a: &[f64], b: &[f64]) -> Verdict {
        compare(a, b).verdict
    }

    #[test]
    fn the_shares_of_all_looks_are_the_whole() {
        let all: f64 = SPENDING.iter().map(|(_, share)| share).sum();
        assert!((all - 1.0).abs() < 1e-12);
        assert!(is_look(4) && !is_look(5));
        assert_eq!((spent(1), spent(5), spent(1000)), (0.02, 0.15, 0.05));
    }

    #[test]
    fn claims_need_rounds_that_agree() {
        let ten: Vec<f64> = [10.0, 10.2, 9.9, 10.1, 10.0].repeat(4);
        let twenty: Vec<f64> = [20.0, 21.0, 19.5, 20.3, 20.0].repeat(4);
        let near: Vec<f64> = [10.1, 10.1, 9.9, 10.0, 10.1].repeat(4);
        let mixed: Vec<f64> = [20.0, 9.0, 20.0, 8.0, 20.0].repeat(4);
        assert_eq!(verdict(&ten, &twenty), Verdict::Faster);
        assert_eq!(verdict(&twenty, &ten), Verdict::Slower);
        assert_eq!(verdict(&ten, &near), Verdict::NoDifference);
        assert_eq!(verdict(&ten[..5], &mixed[..5]), Verdict::Open);
    }

    #[test]
    fn what_is_plain_needs_no_rounds() {
        assert_eq!(verdict(&[1.0], &[10.0]), Verdict::Faster);
        assert_eq!(verdict(&[182.0], &[1.0]), Verdict::Slower);
        assert_eq!(verdict(&[10.0, 10.4], &[20.0, 21.0]), Verdict::Faster);
        assert_eq!(verdict(&[10.0], &[12.0]), Verdict::Open);
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
        let slower: Vec<f64> = b.iter().map(|x| x * 1.2).collect();
        assert_eq!(verdict(&a, &slower), Verdict::Faster);
    }

    /// By hand: 1 to 10, one cut at each end.
    #[test]
    fn the_trimmed_mean_and_its_error() {
        let sample = LogSample::of((1..=10).map(f64::from)).expect("ten values");
        assert_eq!((sample.mean, sample.freedom), (5.5, 7.0));
        // Winsorised: 2 2 3 4 5 6 7 8 9 9, squares about 5.5: 66.5.
        let expected = (66.5f64 / 9.0) / (0.8 * 0.8);
        assert!((sample.variance - expected).abs() < 1e-12);
    }

    /// Log ratios 0.1, 0.2, 0.3: mean 0.2, variance 0.01, as the prior's; t(6, 0.975) = 2.446912.
    #[test]
    fn the_interval_is_students() {
        let prior = Prior {
            variance: 0.01,
            freedom: 4.0,
            yields: false,
        };
        let sample = LogSample::of([0.1, 0.2, 0.3]).expect("values");
        let rule = Rule::interleaved(STEADY_RESOLUTION);
        let compared = Comparison::paired(&sample, &prior, rule);
        let half = 2.446_912 * 0.1 / 3f64.sqrt();
        assert!((compared.interval.0.ln() - (0.2 - half)).abs() < 1e-5);
        assert!((compared.half_width() - half.exp_m1()).abs() < 1e-5);
    }

    /// The ratios of the test above are 1.2214 in the middle, by 0.0577 on the logarithmic scale.
    #[test]
    fn a_limit_is_tested_on_one_side() {
        let prior = Prior {
            variance: 0.01,
            freedom: 4.0,
            yields: false,
        };
        let sample = LogSample::of([0.1, 0.2, 0.3]).expect("values");
        let rule = Rule::interleaved(STEADY_RESOLUTION);
        let compared = Comparison::paired(&sample, &prior, rule);
        // t(6, 0.95) = 1.943180
        let border = 1.943_180 * 0.1 / 3f64.sqrt();
        assert!((compared.p_above((0.2 - border).exp()) - 0.05).abs() < 1e-6);
        assert!((compared.p_above((0.2 + border).exp()) - 0.95).abs() < 1e-6);
        assert!((compared.p_above(0.2f64.exp()) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_is_compared_with_itself_keeps_every_limit() {
        let same = Comparison::with_itself(1, Rule::separate(STEADY_RESOLUTION));
        assert_eq!((same.ratio, same.interval), (1.0, (1.0, 1.0)));
        assert_eq!(same.verdict, Verdict::NoDifference);
        assert!(same.p_above(1.0001) > 0.999 && same.p_above(0.9999) < 0.001);
    }

    /// By hand: of four the borders are 0.0125, 0.025, 0.0375 and 0.05.
    #[test]
    fn claims_that_may_be_made_of_a_family() {
        assert_eq!(
            sure(&[0.03, 0.9, 0.001, 0.036], 0.05),
            [true, false, true, true]
        );
        assert_eq!(sure(&[0.03, 0.9, 0.5, 0.4], 0.05), [false; 4]);
        assert_eq!(sure(&[], 0.05), Vec::<bool>::new());
    }

    #[test]
    fn a_sure_trifle_is_no_difference() {
        let a: Vec<f64> = [10.0, 10.001, 9.999, 10.0, 10.001].repeat(20);
        let b: Vec<f64> = [10.03, 10.031, 10.029, 10.03, 10.03].repeat(20);
        assert_eq!(verdict(&a, &b), Verdict::NoDifference);
    }

    #[test]
    fn separate_runs_are_not_paired() {
        let rule = Rule::separate(STEADY_RESOLUTION);
        let quiet = Prior {
            variance: 1e-4,
            freedom: 10.0,
            yields: false,
        };
        let sample = |values: &[f64]| LogSample::of(values.iter().map(|x| x.ln())).expect("values");
        let verdict = |a: &[f64], b: &[f64]| {
            Comparison::unpaired(&sample(a), &sample(b), [&quiet, &quiet], rule).verdict
        };
        let a = [10.0, 10.1, 9.9, 10.0];
        let slower = [12.0, 12.1, 11.9, 12.0, 12.1];
        assert_eq!(verdict(&a, &slower), Verdict::Faster);
        assert_eq!(verdict(&slower, &a), Verdict::Slower);
        assert_eq!(
            verdict(&a, &[10.2, 10.1, 10.25, 10.15]),
            Verdict::NoDifference
        );
        // One process each, as of an engine that takes a minute.
        assert_eq!(verdict(&[945.0], &[3152.0]), Verdict::Faster);
        assert_eq!(LogSample::of([]), None);
    }

    #[test]
    fn a_forecast_says_what_it_would_take() {
        let open = compare(&[10.0, 10.9, 9.6], &[10.5, 10.6, 10.7]);
        assert_eq!(open.verdict, Verdict::Open);
        let rounds = open.rounds_needed().expect("some rounds");
        assert!((5..300).contains(&rounds), "{rounds}");
        assert_eq!(compare(&[1.0], &[10.0]).rounds_needed(), None);
    }

    /// Two alike, looked at after every round that counts, until something is claimed.
    #[test]
    fn looking_often_makes_no_false_claims() {
        let mut random = ChaCha8Rng::seed_from_u64(9);
        let prior = Prior {
            variance: 0.005,
            freedom: 8.0,
            yields: false,
        };
        let runs = 2000;
        let claims = (0..runs)
            .filter(|_| {
                let mut logs = Vec::new();
                (1..=64).any(|round| {
                    logs.push(0.07 * normal(&mut random));
                    is_look(round) && {
                        let sample = LogSample::of(logs.iter().copied()).expect("values");
                        let rule = Rule::interleaved(STEADY_RESOLUTION);
                        Comparison::paired(&sample, &prior, rule).verdict.is_claim()
                    }
                })
            })
            .count();
        assert!((1..=20).contains(&claims), "{claims} of {runs}");
    }

    #[test]
    fn of_a_large_family_only_sure_claims_stay() {
        let alike = compare(&[10.0, 10.2, 10.1, 10.15], &[12.9, 13.3, 13.2, 13.4]);
        assert_eq!(alike.verdict, Verdict::Faster);
        let sure = compare(&[1.0; 4], &[1000.0; 4]);
        let open = compare(&[10.0], &[11.0]);
        let mut family: Vec<Comparison> = vec![open; 60];
        family.extend([alike, sure]);
        control(&mut family);
        assert_eq!(family[60].verdict, Verdict::Open);
        assert_eq!(family[61].verdict, Verdict::Faster);
        let mut alone = [alike];
        control(&mut alone);
        assert_eq!(alone[0].verdict, Verdict::Faster);
    }
}
