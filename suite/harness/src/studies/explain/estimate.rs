//! Figures over a few processes, whose intervals borrow from what the whole run varies.

use firstpass_statistics::{
    comparison::{Comparison, LEAST_DIFFERENCE, LogSample, Rule, STEADY_RESOLUTION},
    moderation::Prior,
};

/// The mean over processes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    /// The 95 % interval; `None` where a single process was measured in a run that does not know how much
    /// processes vary, and where nothing can vary.
    pub interval: Option<(f64, f64)>,
}

/// Profiles are measured as long as there is time, whatever they say.
const RULE: Rule = Rule {
    one_sided: false,
    resolution: STEADY_RESOLUTION,
    least_difference: LEAST_DIFFERENCE,
    looked_at_often: false,
};

/// The noise of a run: of what its samples know of their own variance.
pub fn noise<'a>(samples: impl IntoIterator<Item = &'a LogSample>) -> Prior {
    Prior::fit(samples.into_iter().map(|s| (s.variance, s.freedom)))
}

/// A sample against zero. `None` where a single process would be judged by a guess.
pub fn against_zero(sample: &LogSample, noise: &Prior) -> Option<Comparison> {
    let guessed = sample.freedom == 0.0 && noise.yields;
    (!guessed).then(|| Comparison::paired(sample, noise, RULE))
}

impl Estimate {
    /// Of a sample in some unit.
    pub fn of(sample: &LogSample, unit: f64, noise: &Prior) -> Self {
        // A comparison is of logarithms.
        let interval = against_zero(sample, noise).map(|c| c.interval);
        Self {
            mean: sample.mean * unit,
            interval: interval.map(|(low, high)| (low.ln() * unit, high.ln() * unit)),
        }
    }

    /// Without an interval.
    pub fn exact(mean: f64) -> Self {
        Self {
            mean,
            interval: None,
        }
    }

    /// The figure and its interval as another figure, which grows with it.
    #[must_use]
    pub fn map(self, other: impl Fn(f64) -> f64) -> Self {
        Self {
            mean: other(self.mean),
            interval: self.interval.map(|(low, high)| (other(low), other(high))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> LogSample {
        LogSample::of(values.iter().copied()).expect("there are values")
    }

    #[test]
    fn one_process_has_the_interval_of_the_run_or_none() {
        let run =
            [[0.1, 0.2], [0.5, 0.55], [0.3, 0.4], [0.0, 0.08], [0.7, 0.8]].map(|v| sample(&v));
        let one = sample(&[0.5]);
        let (low, high) = Estimate::of(&one, 10.0, &noise(&run))
            .interval
            .expect("the run knows");
        assert!(
            low < 4.5 && high > 5.5 && (low + high - 10.0).abs() < 1e-6,
            "{low} {high}"
        );
        // A run that does not know, and one in which nothing is known to vary.
        assert_eq!(Estimate::of(&one, 10.0, &noise(&run[..2])).interval, None);
        assert_eq!(Estimate::of(&one, 10.0, &noise(&[])).interval, None);
    }

    #[test]
    fn processes_that_agree_by_chance_have_no_degenerate_interval() {
        let estimate = Estimate::of(&sample(&[7.68, 7.68]), 1.0, &Prior::UNKNOWN);
        let (low, high) = estimate.interval.expect("two processes");
        assert!(low < 7.6 && high > 7.76, "{low} {high}");
    }

    #[test]
    fn more_processes_have_narrower_intervals() {
        let width = |processes: usize| {
            let values: Vec<f64> = [1.0, 1.1].repeat(processes / 2);
            let (low, high) = Estimate::of(&sample(&values), 1.0, &Prior::UNKNOWN)
                .interval
                .expect("several processes");
            high - low
        };
        assert!(width(8) < width(4) && width(4) < width(2));
    }
}
