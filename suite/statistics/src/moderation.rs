//! Variances that borrow from each other: Smyth, "Linear models and empirical Bayes methods for
//! assessing differential expression in microarray experiments", Stat. Appl. Genet. Mol. Biol. 3
//! (2004), with winsorised variances after Phipson et al., "Robust hyperparameter estimation protects
//! against hypervariable genes", Ann. Appl. Stat. 10 (2016).
//!
//! Three rounds know little of their own variance. But all comparisons of one figure in one run share a
//! machine, so that together they know what variance is usual. Each variance is drawn towards that, and
//! a single round, which has none of its own, is given it.

use statrs::function::gamma::digamma;

use crate::{mean, quantile};

/// What is known of a variance before its own values are looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    pub variance: f64,
    /// How much it weighs, in degrees of freedom.
    pub freedom: f64,
    /// Whether it gives way to a variance that knows something by itself: then it weighs as one degree of
    /// freedom only. So does a guess, beside what was measured on a machine that may be quieter by far.
    pub yields: bool,
}

impl Prior {
    /// For the logarithm of a ratio of two processes, where a run has nothing to learn from: our
    /// records have 6 to 9 % in steady times and up to 20 % in first passes. It weighs little.
    pub const UNKNOWN: Self = Self {
        variance: 0.07 * 0.07,
        freedom: 4.0,
        yields: true,
    };

    /// From so many degrees of freedom on a variance knows something by itself.
    const KNOWING: f64 = 3.0;

    /// The share of the variances at each end that is winsorised: one pair that flips between two levels
    /// must not make all others uncertain.
    const TAIL: f64 = 0.1;

    /// From one of these tails to the other a normal distribution has so many standard deviations.
    const TAIL_TO_TAIL: f64 = 2.563_103;

    /// Fewer variances do not tell how much they differ among each other.
    const FEWEST: usize = 4;

    /// However alike they seem, machines have moods.
    const GREATEST_FREEDOM: f64 = 30.0;

    /// A prior that was fitted weighs no less than the one for a run that is not known.
    const LEAST_FREEDOM: f64 = 4.0;

    /// Most that it weighs beside a variance of one or two values: these may be the ones that were disturbed, and
    /// cannot show it.
    const FREEDOM_OF_FEW: f64 = 10.0;

    /// Fits the prior to the variances of a run, each with its degrees of freedom. Those without any are
    /// ignored; with too few others the result is [`Prior::UNKNOWN`].
    ///
    /// If a variance is the prior's times F(d, d0), the mean of its logarithm and the variance of that
    /// determine both parameters (Smyth, section 6.2).
    pub fn fit(variances: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let usable: Vec<(f64, f64)> = variances
            .into_iter()
            .filter(|(variance, freedom)| *variance > 0.0 && variance.is_finite() && *freedom > 0.0)
            .collect();
        if usable.len() < Self::FEWEST {
            return Self::UNKNOWN;
        }
        let centred: Vec<f64> = usable
            .iter()
            .map(|(variance, freedom)| {
                variance.ln() - digamma(freedom / 2.0) + (freedom / 2.0).ln()
            })
            .collect();
        let end = |share| quantile(centred.iter().copied(), share).unwrap_or(0.0);
        let (low, high) = (end(Self::TAIL), end(1.0 - Self::TAIL));
        let winsorised: Vec<f64> = centred.iter().map(|e| e.clamp(low, high)).collect();
        let Some(centre) = mean(&winsorised) else {
            return Self::UNKNOWN;
        };
        let scatter = ((high - low) / Self::TAIL_TO_TAIL).powi(2);
        let own: Vec<f64> = usable.iter().map(|(_, d)| trigamma(d / 2.0)).collect();
        let among = scatter - mean(&own).unwrap_or(0.0);
        let freedom = if among > 0.0 {
            2.0 * inverse_trigamma(among)
        } else {
            Self::GREATEST_FREEDOM
        };
        let freedom = freedom.clamp(Self::LEAST_FREEDOM, Self::GREATEST_FREEDOM);
        let variance = (centre + digamma(freedom / 2.0) - (freedom / 2.0).ln()).exp();
        Self {
            variance,
            freedom,
            yields: false,
        }
    }

    /// A variance with its degrees of freedom (none for a single value), drawn towards the prior.
    pub fn moderate(&self, variance: f64, freedom: f64) -> (f64, f64) {
        let weight = if self.yields && freedom >= Self::KNOWING {
            1.0
        } else if freedom <= 1.0 {
            self.freedom.min(Self::FREEDOM_OF_FEW)
        } else {
            self.freedom
        };
        let all = weight + freedom;
        let moderated = (weight * self.variance + freedom * variance) / all;
        (moderated, all)
    }
}

/// The second derivative of ln Γ, by its recurrence and the asymptotic series (Abramowitz and Stegun,
/// 6.4.6 and 6.4.12).
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 12.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + 1.0 / x + y / 2.0 + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y / 42.0))
}

/// Where [`trigamma`] takes a value. It falls from infinity to 0, so that halving finds it.
fn inverse_trigamma(value: f64) -> f64 {
    let (mut low, mut high) = (1e-3f64, 1e3f64);
    for _ in 0..100 {
        let middle = (low * high).sqrt();
        if trigamma(middle) > value {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low * high).sqrt()
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::ChaCha8Rng};

    use super::*;
    use crate::planted::normal;

    #[test]
    fn trigamma_at_known_places() {
        let pi2 = std::f64::consts::PI.powi(2);
        assert!((trigamma(1.0) - pi2 / 6.0).abs() < 1e-10);
        assert!((trigamma(0.5) - pi2 / 2.0).abs() < 1e-10);
        for x in [0.05, 0.7, 3.0, 40.0] {
            assert!(
                (inverse_trigamma(trigamma(x)) / x - 1.0).abs() < 1e-6,
                "{x}"
            );
        }
    }

    /// Variances that were drawn from a prior give it back.
    #[test]
    fn a_prior_is_found_again() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let prior = Prior {
            variance: 0.004,
            freedom: 8.0,
            yields: false,
        };
        let drawn: Vec<(f64, f64)> = (0..4000)
            .map(|_| {
                // A chi-squared variate over its degrees of freedom.
                let mut scatter = |freedom: i32| {
                    let squares = (0..freedom).map(|_| normal(&mut random).powi(2));
                    squares.sum::<f64>() / f64::from(freedom)
                };
                let truth = prior.variance / scatter(8);
                (truth * scatter(4), 4.0)
            })
            .collect();
        let fitted = Prior::fit(drawn);
        assert!(
            (fitted.variance / prior.variance - 1.0).abs() < 0.2,
            "{fitted:?}"
        );
        assert!((6.0..11.0).contains(&fitted.freedom), "{fitted:?}");
    }

    #[test]
    fn one_wild_pair_changes_little() {
        let mut variances = vec![(0.01, 4.0); 20];
        for (at, (variance, _)) in variances.iter_mut().enumerate() {
            *variance *= 0.5 + at as f64 / 20.0;
        }
        let quiet = Prior::fit(variances.iter().copied());
        variances.push((100.0, 4.0));
        let with_a_wild_one = Prior::fit(variances);
        assert!(with_a_wild_one.variance < 1.5 * quiet.variance);
        assert!(with_a_wild_one.freedom > 5.0);
    }

    #[test]
    fn a_variance_goes_towards_the_prior_by_its_weight() {
        let prior = Prior {
            variance: 0.01,
            freedom: 6.0,
            yields: false,
        };
        assert_eq!(prior.moderate(0.03, 2.0), (0.015, 8.0));
        assert_eq!(prior.moderate(0.0, 0.0), (0.01, 6.0));
        assert_eq!(Prior::fit([(0.01, 3.0)]), Prior::UNKNOWN);
        let guess = Prior {
            yields: true,
            ..prior
        };
        assert_eq!(guess.moderate(0.03, 2.0), (0.015, 8.0));
        assert_eq!(guess.moderate(0.02, 9.0), (0.019, 10.0));
    }
}
