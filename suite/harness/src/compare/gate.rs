//! Whether a record keeps within limits: a regression, none, or not to be told.

use std::{collections::BTreeMap, fmt, str::FromStr};

use anyhow::{Context, Result, ensure};
use firstpass_statistics::comparison::Comparison;
use firstpass_trial::observation::Cell;

use crate::{
    compare::changes::changes,
    record::Record,
    studies::first_passes::judge::latency::{Figure, Latency, summarise},
};

/// The most that the first pass may take in units of the steady time: `3x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times(pub f64);

/// By how much a figure may grow against the baseline, as a share: `+5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth(pub f64);

impl FromStr for Times {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.trim_end_matches(['x', 'X', '×']);
        let times: f64 = number
            .parse()
            .with_context(|| format!("{text:?} is no number of times, such as 3x"))?;
        ensure!(times.is_finite() && times > 0.0, "{text:?} is not above 0");
        Ok(Self(times))
    }
}

impl FromStr for Growth {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.trim_start_matches('+');
        let number = number
            .strip_suffix('%')
            .with_context(|| format!("{text:?} is no growth, such as +5%"))?;
        let percent: f64 = number
            .trim()
            .parse()
            .with_context(|| format!("{text:?} is no growth, such as +5%"))?;
        ensure!(
            percent.is_finite() && percent >= 0.0,
            "{text:?}: a limit of growth is not below 0"
        );
        Ok(Self(percent / 100.0))
    }
}

/// What must hold. A limit that is `None` is not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    pub first_pass: Option<Times>,
    pub steady: Option<Growth>,
    pub cold_start: Option<Growth>,
}

/// What is said of one limit on one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GateVerdict {
    /// The whole interval lies within the limit.
    Kept,
    /// The limit lies within the interval, or there are too few processes for one.
    Inconclusive,
    /// The whole interval lies beyond the limit, or the cell did not complete.
    Broken,
}

impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Inconclusive => "inconclusive",
            Self::Broken => "broken",
        })
    }
}

/// One limit on one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub cell: Cell,
    /// `pass 1 / steady`, `steady against the baseline`.
    pub what: String,
    pub limit: f64,
    /// The ratio with its 95 % interval, as found; `None` where there is none.
    pub ratio: Option<(f64, f64, f64)>,
    pub verdict: GateVerdict,
}

/// Checks every cell of a record; against a baseline, every cell of that must be there.
pub fn judge(record: &Record, baseline: Option<&Record>, limits: &Limits) -> Vec<Check> {
    let now = latencies(record);
    let mut checks = Vec::new();
    if let Some(Times(limit)) = limits.first_pass {
        for (cell, latency) in now.iter().filter(|(cell, _)| !cell.cold_files) {
            let ratio = latency
                .first_over_steady
                .map(|first| of_comparison(&first.0));
            checks.push(check(cell, "pass 1 / steady", limit, ratio));
        }
    }
    let against = [
        (Figure::Steady, limits.steady),
        (Figure::ColdStart, limits.cold_start),
    ];
    let before = baseline.map(latencies).unwrap_or_default();
    for (figure, limit) in against {
        let Some(Growth(limit)) = limit else { continue };
        let what = format!("{figure} against the baseline");
        let changes = changes(&before, &now, figure);
        for cell in before.keys() {
            if cell.cold_files && figure == Figure::Steady {
                continue;
            }
            if !now.contains_key(cell) {
                checks.push(Check {
                    cell: cell.clone(),
                    what: what.clone(),
                    limit: 1.0 + limit,
                    ratio: None,
                    verdict: GateVerdict::Broken,
                });
                continue;
            }
            let change = changes.iter().find(|change| change.cell == *cell);
            let ratio = change.map(|c| of_comparison(&c.comparison));
            checks.push(check(cell, &what, 1.0 + limit, ratio));
        }
    }
    checks
}

/// The worst of all checks; nothing to check is inconclusive.
pub fn overall(checks: &[Check]) -> GateVerdict {
    let worst = checks.iter().map(|c| c.verdict).max();
    worst.unwrap_or(GateVerdict::Inconclusive)
}

fn latencies(record: &Record) -> BTreeMap<Cell, Latency> {
    summarise(record.observations())
        .into_iter()
        .map(|l| (l.cell.clone(), l))
        .collect()
}

fn of_comparison(comparison: &Comparison) -> (f64, f64, f64) {
    let (low, high) = comparison.interval;
    (comparison.ratio, low, high)
}

fn check(cell: &Cell, what: &str, limit: f64, ratio: Option<(f64, f64, f64)>) -> Check {
    let verdict = match ratio {
        Some((_, _, high)) if high <= limit => GateVerdict::Kept,
        Some((_, low, _)) if low > limit => GateVerdict::Broken,
        _ => GateVerdict::Inconclusive,
    };
    Check {
        cell: cell.clone(),
        what: what.into(),
        limit,
        ratio,
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written() -> Result<()> {
        assert_eq!("3x".parse::<Times>()?, Times(3.0));
        assert_eq!("1.2".parse::<Times>()?, Times(1.2));
        assert_eq!("+5%".parse::<Growth>()?, Growth(0.05));
        assert_eq!("0%".parse::<Growth>()?, Growth(0.0));
        for wrong in ["", "x", "-1x", "nanx", "infx"] {
            assert!(wrong.parse::<Times>().is_err(), "{wrong}");
        }
        for wrong in ["5", "+%", "-5%", "nan%"] {
            assert!(wrong.parse::<Growth>().is_err(), "{wrong}");
        }
        Ok(())
    }

    fn runs(first: f64, level: f64) -> Record {
        use crate::{
            record::tests::record,
            studies::first_passes::judge::latency::tests::{observation, times},
        };
        let noise = [1.0, 1.01, 0.99, 1.005, 0.995, 1.0];
        let observations = noise.iter().enumerate();
        record(
            observations
                .map(|(round, factor)| observation(round, &times(&[first], level * factor)))
                .collect(),
        )
    }

    #[test]
    fn regressions_are_told_from_none() {
        let limits = Limits {
            first_pass: Some(Times(3.0)),
            steady: Some(Growth(0.05)),
            cold_start: Some(Growth(0.1)),
        };
        let baseline = runs(20.0, 10.0);
        let verdict = |record: &Record| overall(&judge(record, Some(&baseline), &limits));
        assert_eq!(verdict(&runs(20.0, 10.0)), GateVerdict::Kept);
        assert_eq!(verdict(&runs(20.0, 12.0)), GateVerdict::Broken, "steady");
        assert_eq!(
            verdict(&runs(40.0, 10.0)),
            GateVerdict::Broken,
            "first pass"
        );
        assert_eq!(verdict(&runs(20.0, 10.5)), GateVerdict::Inconclusive);
        let nothing = crate::record::tests::record(Vec::new());
        assert_eq!(
            verdict(&nothing),
            GateVerdict::Broken,
            "what fails is no gain"
        );
    }

    #[test]
    fn the_interval_decides() {
        let cell = crate::studies::first_passes::judge::latency::tests::observation(0, &[1.0]).cell;
        let verdict = |ratio| check(&cell, "x", 3.0, ratio).verdict;
        assert_eq!(verdict(Some((2.5, 2.0, 2.9))), GateVerdict::Kept);
        assert_eq!(verdict(Some((2.5, 2.0, 3.1))), GateVerdict::Inconclusive);
        assert_eq!(verdict(Some((3.5, 3.1, 4.0))), GateVerdict::Broken);
        assert_eq!(verdict(None), GateVerdict::Inconclusive);
        assert_eq!(overall(&[]), GateVerdict::Inconclusive);
    }
}
