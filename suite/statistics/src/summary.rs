//! Figures of one sample.

/// The median of a sample with its smallest and largest value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// `None` for an empty sample.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: median_of_sorted(&values)?,
            low: *values.first()?,
            high: *values.last()?,
        })
    }
}

/// The median; `None` for an empty sample.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    Spread::of(values).map(|s| s.median)
}

/// The mean; `None` for an empty sample.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The quantile at `share`, from 0 to 1, by linear interpolation; `None` for an empty sample.
pub fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, share)
}

pub(crate) fn median_of_sorted(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        None
    } else if values.len() % 2 == 1 {
        Some(values[middle])
    } else {
        Some(f64::midpoint(values[middle - 1], values[middle]))
    }
}

/// The quantile of a sorted sample, by linear interpolation between its values.
pub(crate) fn quantile_of_sorted(values: &[f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let position = share.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(values[below] + (values[above] - values[below]) * (position - below as f64))
}

/// Makes the median absolute deviation of normal noise its standard deviation.
pub(crate) const MAD_TO_SIGMA: f64 = 1.4826;

/// The standard deviation of the noise around a level that may itself change: from the median
/// absolute difference of neighbours, which few changes and few outliers do not move.
pub fn noise(series: &[f64]) -> f64 {
    let differences = series.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    median(differences).unwrap_or(0.0) * MAD_TO_SIGMA / std::f64::consts::SQRT_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(
            spread,
            Some(Spread {
                median: 2.0,
                low: 1.0,
                high: 3.0
            })
        );
    }

    #[test]
    fn quantiles() {
        let sorted = [0.0, 1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile_of_sorted(&sorted, 0.0), Some(0.0));
        assert_eq!(quantile_of_sorted(&sorted, 0.125), Some(0.5));
        assert_eq!(quantile_of_sorted(&sorted, 1.0), Some(4.0));
        assert_eq!(quantile_of_sorted(&[], 0.5), None);
    }

    #[test]
    fn noise_is_not_moved_by_a_step() {
        let flat: Vec<f64> = (0..100).map(|n| f64::from(n % 5)).collect();
        let step: Vec<f64> = flat
            .iter()
            .enumerate()
            .map(|(n, x)| if n < 50 { x + 1000.0 } else { *x })
            .collect();
        assert_eq!(noise(&flat), noise(&step));
    }
}
