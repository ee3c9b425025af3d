//! What some operators took in the first passes of every process, and in its steady state.

use std::{iter::Sum, ops::Range};

use firstpass_statistics::{comparison::LogSample, mean, median};

/// How many passes are set against the steady state.
pub const FIRST: usize = 3;

/// What some operators took, or all else, in every process.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// In ms, one for each process.
    pub(super) times: Vec<Levels>,
    /// Minor page faults; empty where the hook does not tell them.
    pub(super) faults: Vec<Levels>,
}

/// A figure in the first passes of a process and in its steady state.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Levels {
    first: [f64; FIRST],
    /// The median over the later half of the passes.
    pub steady: f64,
}

impl Part {
    /// In a pass, from 1; the median over processes, in ms.
    pub fn time(&self, pass: usize) -> f64 {
        median(self.times.iter().map(|l| l.at(pass))).unwrap_or(0.0)
    }

    /// In ms.
    pub fn steady(&self) -> f64 {
        median(self.times.iter().map(|l| l.steady)).unwrap_or(0.0)
    }

    /// What a pass takes beyond the steady state of its own process: the mean over processes, in ms.
    pub fn mean_excess(&self, pass: usize) -> f64 {
        mean(&self.excesses(pass)).unwrap_or(0.0)
    }

    /// The excess of all of the first passes.
    pub(super) fn all_excess(&self) -> f64 {
        (1..=FIRST).map(|pass| self.mean_excess(pass)).sum()
    }

    /// What the part takes in a pass or in the steady state, whichever is more, in ms.
    pub(super) fn size(&self, pass: usize) -> f64 {
        // Several threads may spend more in operators than the pass takes, so that less than nothing is left.
        let longest = |l: &Levels| l.at(pass).abs().max(l.steady.abs());
        let sizes: Vec<f64> = self.times.iter().map(longest).collect();
        mean(&sizes).unwrap_or(0.0)
    }

    /// The excess of a pass in each process in units of the size of the part. In these units large parts
    /// and small ones, of one engine and of another, vary by about as much from process to process. `None`
    /// where nothing was taken.
    pub(super) fn relative_excess(&self, pass: usize) -> Option<LogSample> {
        let size = self.size(pass);
        let excesses = self.excesses(pass).into_iter();
        LogSample::of(excesses.map(|excess| excess / size))
    }

    fn excesses(&self, pass: usize) -> Vec<f64> {
        self.times.iter().map(|l| l.excess(pass)).collect()
    }

    /// The minor page faults of a pass; `None` where they are not told.
    pub fn faults(&self, pass: usize) -> Option<f64> {
        median(self.faults.iter().map(|l| l.at(pass)))
    }

    /// Those beyond the steady state.
    pub fn excess_faults(&self, pass: usize) -> Option<f64> {
        median(self.faults.iter().map(|l| l.excess(pass)))
    }

    /// Several parts as one.
    pub fn together<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        parts.into_iter().cloned().reduce(|a, b| Self {
            times: add(&a.times, &b.times),
            faults: add(&a.faults, &b.faults),
        })
    }
}

pub(super) fn add(a: &[Levels], b: &[Levels]) -> Vec<Levels> {
    a.iter()
        .zip(b)
        .map(|(a, b)| [*a, *b].into_iter().sum())
        .collect()
}

impl Levels {
    pub fn of(series: &[f64]) -> Self {
        let mut first = [0.0; FIRST];
        for (level, value) in first.iter_mut().zip(series) {
            *level = *value;
        }
        let steady = median(series[later(series.len())].iter().copied());
        Self {
            first,
            steady: steady.unwrap_or(0.0),
        }
    }

    pub fn at(&self, pass: usize) -> f64 {
        let value = pass.checked_sub(1).and_then(|index| self.first.get(index));
        value.copied().unwrap_or(self.steady)
    }

    pub fn excess(&self, pass: usize) -> f64 {
        self.at(pass) - self.steady
    }
}

impl Sum for Levels {
    fn sum<I: Iterator<Item = Self>>(levels: I) -> Self {
        levels.fold(Self::default(), |mut sum, level| {
            for (sum, value) in sum.first.iter_mut().zip(level.first) {
                *sum += value;
            }
            sum.steady += level.steady;
            sum
        })
    }
}

/// The passes that count as steady.
pub(super) fn later(passes: usize) -> Range<usize> {
    passes / 2..passes
}
