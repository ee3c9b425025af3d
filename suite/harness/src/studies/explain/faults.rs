//! Whether the excess of operators goes with their page faults.

use firstpass_statistics::{comparison::LogSample, mean, median};

use crate::studies::explain::profiled::Profiled;

/// What is asked of a regression that is believed: the share of the variance that it explains.
const LEAST_R_SQUARED: f64 = 0.8;
/// By which share its slopes may differ over processes, and without the operator of most faults.
const SLOPE_TOLERANCE: f64 = 0.25;
const FEWEST_OPERATORS: usize = 8;
const FEWEST_PROCESSES: usize = 3;

/// The excess time of the operators in pass 1 against their excess faults: the logarithm of the slope in each
/// process.
pub(super) fn fault_ms(profiled: &Profiled) -> Option<LogSample> {
    let points = |process: usize| -> Option<Vec<(f64, f64)>> {
        let points = profiled.operators.iter().map(|(_, part)| {
            let faults = part.faults.get(process)?.excess(1);
            Some((faults, part.times.get(process)?.excess(1)))
        });
        points.collect()
    };
    let slopes: Option<Vec<f64>> = (0..profiled.profiles.len())
        .map(|process| believed_slope(points(process)?))
        .collect();
    let slopes = slopes.filter(|slopes| slopes.len() >= FEWEST_PROCESSES)?;
    let middle = median(slopes.iter().copied())?;
    let alike = |slope: &f64| (slope / middle - 1.0).abs() <= SLOPE_TOLERANCE;
    let believed = middle > 0.0 && slopes.iter().all(alike);
    believed.then(|| LogSample::of(slopes.iter().map(|slope| slope.ln())))?
}

/// `None` where it hangs on a single point, or explains too little.
fn believed_slope(mut points: Vec<(f64, f64)>) -> Option<f64> {
    if points.iter().filter(|(x, _)| *x > 0.0).count() < FEWEST_OPERATORS {
        return None;
    }
    let (slope, r_squared) = regression(&points)?;
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    points.pop();
    let (without, _) = regression(&points)?;
    let stable = (without / slope - 1.0).abs() <= SLOPE_TOLERANCE;
    (stable && r_squared >= LEAST_R_SQUARED).then_some(slope)
}

/// The slope of the least squares, and the share of the variance that it explains.
fn regression(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let x: Vec<f64> = points.iter().map(|p| p.0).collect();
    let y: Vec<f64> = points.iter().map(|p| p.1).collect();
    let (mean_x, mean_y) = (mean(&x)?, mean(&y)?);
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        let points = points.iter();
        points.map(|(x, y)| f(x - mean_x, y - mean_y)).sum()
    };
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    (xx > 0.0 && yy > 0.0).then(|| (xy / xx, xy * xy / (xx * yy)))
}
