//! Measured figures: medians over fresh processes, with their 95 % intervals.

use std::{fmt, time::Duration};

/// A median over processes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub median: f64,
    /// `None` where a single process was measured.
    pub interval: Option<(f64, f64)>,
    pub processes: usize,
}

/// A time. `Display` shows it in ms with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time(pub(crate) Estimate);

impl Time {
    /// The median over all processes.
    pub fn median(&self) -> Duration {
        duration(self.0.median)
    }

    /// The median over all processes, in ms.
    pub fn median_ms(&self) -> f64 {
        self.0.median
    }

    /// The ends of the 95 % interval of the median; `None` where a single process was measured.
    pub fn interval(&self) -> Option<(Duration, Duration)> {
        let (low, high) = self.0.interval?;
        Some((duration(low), duration(high)))
    }

    /// [`Time::interval`], in ms.
    pub fn interval_ms(&self) -> Option<(f64, f64)> {
        self.0.interval
    }

    /// How many processes it was measured in.
    pub fn processes(&self) -> usize {
        self.0.processes
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", digits(self.0.median))?;
        interval(f, self.0)
    }
}

/// A time in units of another one of the same process, so that the speed of the machine does not
/// matter. `Display` shows it with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(pub(crate) Estimate);

impl Ratio {
    /// The median over all processes.
    pub fn median(&self) -> f64 {
        self.0.median
    }

    /// The ends of the 95 % interval of the median; `None` where a single process was measured.
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.0.interval
    }

    /// How many processes it was measured in.
    pub fn processes(&self) -> usize {
        self.0.processes
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×", digits(self.0.median))?;
        interval(f, self.0)
    }
}

fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

fn interval(f: &mut fmt::Formatter<'_>, estimate: Estimate) -> fmt::Result {
    match estimate.interval {
        Some((low, high)) => write!(f, " ({}–{})", digits(low), digits(high)),
        None => Ok(()),
    }
}

/// Three significant digits, but no more than three decimals: an ms has a thousand µs.
pub(crate) fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        value if value < 0.1 => 3,
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_with_their_intervals() {
        let of = |median, interval| Estimate {
            median,
            interval,
            processes: 5,
        };
        let time = Time(of(24.44, Some((9.876, 101.2))));
        assert_eq!(time.to_string(), "24.4 ms (9.88–101)");
        assert_eq!(time.median(), Duration::from_micros(24_440));
        let ends = [9_876, 101_200].map(Duration::from_micros);
        assert_eq!(time.interval(), Some((ends[0], ends[1])));
        assert_eq!(Time(of(0.0042, None)).to_string(), "0.004 ms");
        assert_eq!(
            Ratio(of(1.043, Some((1.0, 1.1)))).to_string(),
            "1.04× (1.00–1.10)"
        );
    }
}
