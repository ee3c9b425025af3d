//! Whether the first passes are slow: a test over the processes of a cell, whatever its class.

use std::fmt;

use firstpass_statistics::{
    bootstrap::Estimate,
    comparison::{Comparison, FIRST_RESOLUTION, LogSample, Rule, Verdict, control},
    family,
    moderation::Prior,
    steady::DELTA,
};

use crate::studies::first_passes::judge::latency::{Figure, Latency};

/// An early pass in units of the steady time of its own process, judged over the processes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FirstPass(pub Comparison);

/// What can be said of an early pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPassVerdict {
    Slow,
    /// It takes no more than 15 % longer than a steady pass.
    NotSlow,
    Open,
}

impl fmt::Display for FirstPassVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slow => "slow",
            Self::NotSlow => "not slow",
            Self::Open => "open",
        })
    }
}

impl FirstPass {
    /// Judges passes 1 and 2 of all cells. The processes of each know how much these vary, and those of
    /// all cells together what is usual on this machine.
    pub fn judge(latencies: &mut [Latency]) {
        let first = judged(latencies, Figure::FirstOverSteady);
        let second = judged(latencies, Figure::SecondOverSteady);
        for ((latency, first), second) in latencies.iter_mut().zip(first).zip(second) {
            latency.first_over_steady = first;
            latency.second_over_steady = second;
        }
    }

    /// Judges the same early pass of several series. A sample has the logarithms of the pass over the steady
    /// time, one for each process. They know together what is usual, and are one family.
    pub fn judge_samples(samples: &[Option<LogSample>]) -> Vec<Option<Self>> {
        let known = samples.iter().flatten();
        let prior = Prior::fit(known.map(|s| (s.variance, s.freedom)));
        let rule = Rule {
            least_difference: DELTA,
            one_sided: true,
            ..Rule::interleaved(FIRST_RESOLUTION)
        };
        let mut judged: Vec<Option<Self>> = samples
            .iter()
            .map(|s| Some(Self(Comparison::paired(s.as_ref()?, &prior, rule))))
            .collect();
        control(judged.iter_mut().flatten().map(|first| &mut first.0));
        judged
    }

    pub fn verdict(&self) -> FirstPassVerdict {
        match self.0.verdict {
            Verdict::Slower => FirstPassVerdict::Slow,
            _ if self.0.interval.1 < 1.0 + FIRST_RESOLUTION => FirstPassVerdict::NotSlow,
            _ => FirstPassVerdict::Open,
        }
    }

    /// The ratio as tables show figures.
    pub fn estimate(&self) -> Estimate {
        Estimate {
            median: self.0.ratio,
            interval: Some(self.0.interval),
            processes: self.0.samples,
        }
    }

    /// The pass over the steady time.
    pub fn ratio(&self) -> f64 {
        self.0.ratio
    }

    /// The 95 % interval of the ratio.
    pub fn interval(&self) -> (f64, f64) {
        self.0.interval
    }
}

fn judged(latencies: &[Latency], figure: Figure) -> Vec<Option<FirstPass>> {
    let logs = |latency: &Latency| -> Vec<f64> {
        let processes = latency.processes.iter();
        let ratios = processes.filter_map(|p| figure.corrected(p));
        ratios.map(f64::ln).collect()
    };
    let logs: Vec<Vec<f64>> = latencies.iter().map(logs).collect();
    FirstPass::judge_samples(&family::samples(&logs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::first_passes::judge::latency::{
        summarise,
        tests::{observation, times},
    };

    fn verdict(first: &[f64]) -> FirstPassVerdict {
        let processes: Vec<_> = first
            .iter()
            .enumerate()
            .map(|(round, first)| observation(round, &times(&[*first], 10.0)))
            .collect();
        let judged = summarise(&processes).remove(0).first_over_steady;
        judged.expect("a first pass").verdict()
    }

    #[test]
    fn it_is_slow_or_not_or_open() {
        assert_eq!(
            verdict(&[13.9, 14.1, 13.8, 14.0, 13.7]),
            FirstPassVerdict::Slow
        );
        assert_eq!(
            verdict(&[10.1, 10.2, 9.9, 10.0, 10.0]),
            FirstPassVerdict::NotSlow
        );
        assert_eq!(verdict(&[10.0, 14.0, 11.0]), FirstPassVerdict::Open);
    }

    #[test]
    fn one_process_is_enough_where_the_effect_is_large() {
        assert_eq!(verdict(&[3630.0]), FirstPassVerdict::Slow);
        assert_eq!(verdict(&[12.0]), FirstPassVerdict::Open);
    }
}
