//! The limits that a gate holds a record to, as they are written on the command line.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};

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
}
