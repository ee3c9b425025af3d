//! Axes with round numbers.

/// From values to pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    values: (f64, f64),
    pixels: (f64, f64),
    logarithmic: bool,
}

impl Axis {
    /// Both ends of the values are positive.
    pub(crate) fn logarithmic(values: (f64, f64), pixels: (f64, f64)) -> Self {
        Self {
            values,
            pixels,
            logarithmic: true,
        }
    }

    /// From zero.
    pub(crate) fn linear(high: f64, pixels: (f64, f64)) -> Self {
        Self {
            values: (0.0, high),
            pixels,
            logarithmic: false,
        }
    }

    /// The same values elsewhere.
    pub(crate) fn between(self, pixels: (f64, f64)) -> Self {
        Self { pixels, ..self }
    }

    /// Where a value is; one beyond an end is at the end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let (low, high) = self.values;
        let share = if self.logarithmic {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        let (begin, end) = self.pixels;
        begin + share.clamp(0.0, 1.0) * (end - begin)
    }

    /// Round values that are at least this many pixels apart, with their text.
    pub(crate) fn ticks(&self, apart: f64) -> Vec<(f64, String)> {
        if !self.logarithmic {
            return self.steps(apart);
        }
        for every in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
            let ticks: Vec<(f64, String)> = (-9..=9)
                .flat_map(|power| every.iter().map(move |digit| tick(*digit, power)))
                .filter(|(value, _)| self.holds(*value))
                .collect();
            if self.least_distance(&ticks) >= apart {
                // A short axis holds few of these.
                return if ticks.len() < 3 {
                    let steps = self.steps(apart);
                    if steps.len() > ticks.len() {
                        steps
                    } else {
                        ticks
                    }
                } else {
                    ticks
                };
            }
        }
        let decades = (-9..=9).filter(|power| power % 2 == 0);
        decades
            .map(|power| tick(1.0, power))
            .filter(|(value, _)| self.holds(*value))
            .collect()
    }

    /// Multiples of 1, 2 or 5 of a power of ten.
    fn steps(&self, apart: f64) -> Vec<(f64, String)> {
        for power in -9..=9 {
            for digit in [1.0, 2.0, 5.0] {
                let (step, _) = tick(digit, power);
                if self.values.1 / step > 1000.0 {
                    continue;
                }
                let digits = usize::try_from(-power).unwrap_or(0);
                let ticks: Vec<(f64, String)> = (0..=1000)
                    .map(|n| f64::from(n) * step)
                    .filter(|value| self.holds(*value))
                    .map(|value| (value, format!("{value:.digits$}")))
                    .collect();
                if self.least_distance(&ticks) >= apart {
                    return ticks;
                }
            }
        }
        Vec::new()
    }

    fn holds(&self, value: f64) -> bool {
        (self.values.0..=self.values.1).contains(&value)
    }

    fn least_distance(&self, ticks: &[(f64, String)]) -> f64 {
        let distances = ticks
            .windows(2)
            .map(|pair| (self.at(pair[1].0) - self.at(pair[0].0)).abs());
        distances.fold(f64::INFINITY, f64::min)
    }
}

/// A digit of a place, and how it is written.
fn tick(digit: f64, power: i32) -> (f64, String) {
    let digits = usize::try_from(-power).unwrap_or(0);
    let value = digit * 10f64.powi(power);
    (value, format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: Axis, apart: f64) -> Vec<String> {
        axis.ticks(apart)
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    #[test]
    fn values_have_places() {
        let axis = Axis::logarithmic((1.0, 100.0), (0.0, 200.0));
        assert!((axis.at(10.0) - 100.0).abs() < 1e-9);
        assert_eq!(axis.at(0.0), 0.0);
        let axis = Axis::linear(50.0, (100.0, 0.0));
        assert_eq!((axis.at(25.0), axis.at(99.0)), (50.0, 0.0));
    }

    #[test]
    fn ticks_are_round_and_do_not_crowd() {
        let axis = Axis::logarithmic((0.3, 40.0), (0.0, 300.0));
        let all = ["0.5", "1", "2", "5", "10", "20"];
        assert_eq!(texts(axis, 20.0), all);
        assert_eq!(texts(axis, 60.0), ["0.3", "1", "3", "10", "30"]);
        let wide = Axis::logarithmic((0.5, 20_000.0), (0.0, 100.0));
        assert_eq!(texts(wide, 30.0), ["1", "100", "10000"]);
        let narrow = Axis::logarithmic((52.0, 68.0), (0.0, 300.0));
        assert_eq!(texts(narrow, 60.0), ["55", "60", "65"]);
        let linear = Axis::linear(1.3, (0.0, 300.0));
        assert_eq!(texts(linear, 60.0), ["0.0", "0.5", "1.0"]);
    }
}
