//! Whether a quantity that should stay the same goes on growing, such as the memory of a process from pass to
//! pass.
//!
//! A slope tells little: a cache that is filled once grows at first, and so does every allocator. Here the series is
//! cut into levels at its change points, and what counts is when new highest levels come in its last half: none, ever
//! more rarely, or on and on (the Laplace test for the trend of a series of events, as in Cox and Lewis, *The
//! Statistical Analysis of Series of Events*, 1966).

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{
    change_points::change_points,
    mean, noise,
    steady::{PENALTY, PENALTY_PER_LOG},
};

/// Longer series are averaged to so many values, whose change points are found exactly.
const VALUES: usize = 512;

/// Fewer passes tell nothing.
pub const FEWEST: usize = 100;

/// The noise of one level is at most so many times that of the whole series.
const GREATEST_NOISE: f64 = 1.4;

/// Fewer rises in the last half do not tell whether they go on.
const FEWEST_RISES: usize = 5;

/// How often a rate is said to fall, or to be above none, where it is not.
const ERROR: f64 = 0.01;

/// The quantile of the normal distribution for [`ERROR`].
const NORMAL: f64 = 2.326;

/// The rate is taken from so many windows of the last half.
const WINDOWS: usize = 8;

/// What is told of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Growth {
    /// No level of the last half is higher than what was before. It grows by no more than so much a pass.
    Holds { at_most: f64 },
    /// It has grown in the last half, but ever more rarely, or not for long: the last time at this pass, by so much
    /// in all of the half.
    LevelsOff { last: usize, by: f64 },
    /// It has risen on and on to the end, by so much a pass, with a 99 % interval.
    Grows { per_pass: f64, interval: (f64, f64) },
    /// It has risen so many times in the last half, the last time at this pass, by so much in all: too few to say
    /// whether it goes on.
    Open { rises: usize, last: usize, by: f64 },
}

/// Judges a series in which less than `quantum` is no difference; for memory, a page. `None` where it is shorter than
/// [`FEWEST`].
pub fn growth(series: &[f64], quantum: f64) -> Option<Growth> {
    if series.len() < FEWEST {
        return None;
    }
    let per_value = series.len().div_ceil(VALUES);
    let values: Vec<f64> = series.chunks(per_value).filter_map(mean).collect();
    let half = values.len() / 2;
    let resolution = noise(&values).max(quantum);
    let rises: Vec<Rise> = rises(&values, resolution)
        .into_iter()
        .filter(|rise| rise.at >= half)
        .collect();
    let Some(last) = rises.last() else {
        let quarter = values.len() / 4;
        let (third, fourth) = values[half..].split_at(quarter);
        let risen = (mean(fourth)? - mean(third)?).max(0.0);
        let passes = (quarter * per_value) as f64;
        return Some(Growth::Holds {
            at_most: (risen + 2.0 * resolution) / passes,
        });
    };
    let by: f64 = rises.iter().map(|rise| rise.by).sum();
    let length = (values.len() - half) as f64;
    // Where in the half they come, from 0 to 1.
    let place = |rise: &Rise| (rise.at - half) as f64 / length;
    let count = rises.len() as f64;
    // Rises that come evenly have their centre in the middle, those of a rate that falls before it. Each counts by
    // its height.
    let centre = rises.iter().map(|rise| rise.by * place(rise)).sum::<f64>() / by;
    let squares: f64 = rises.iter().map(|rise| rise.by.powi(2)).sum();
    let error = (squares / 12.0).sqrt() / by;
    let falls = centre - 0.5 < -NORMAL * error;
    // So many rises that come evenly leave such a rest rarely.
    let is_over = place(last).powf(count) < ERROR;
    let at = last.at * per_value;
    if falls || is_over {
        return Some(Growth::LevelsOff { last: at, by });
    }
    let (per_pass, interval) = rate(&series[half * per_value..])?;
    if rises.len() >= FEWEST_RISES && interval.0 > 0.0 {
        return Some(Growth::Grows { per_pass, interval });
    }
    Some(Growth::Open {
        rises: rises.len(),
        last: at,
        by,
    })
}

/// A level that is higher than all before it.
struct Rise {
    at: usize,
    by: f64,
}

fn rises(values: &[f64], resolution: f64) -> Vec<Rise> {
    let penalty = PENALTY + PENALTY_PER_LOG * (values.len() as f64).ln();
    let deviation = resolution..=GREATEST_NOISE * resolution;
    let starts = change_points(values, deviation, penalty);
    let ends = starts.iter().copied().skip(1).chain([values.len()]);
    let first = starts.first().copied().unwrap_or(values.len());
    let mut highest = mean(&values[..first]).unwrap_or(0.0);
    let mut rises = Vec::new();
    for (at, end) in starts.iter().copied().zip(ends) {
        let level = mean(&values[at..end]).unwrap_or(highest);
        if level > highest + resolution / 2.0 {
            rises.push(Rise {
                at,
                by: level - highest,
            });
            highest = level;
        }
    }
    rises
}

/// By how much a series grows from value to value, with its interval, from its windows.
fn rate(series: &[f64]) -> Option<(f64, (f64, f64))> {
    let length = series.len() / (WINDOWS + 1);
    let levels: Vec<f64> = series.chunks_exact(length).filter_map(mean).collect();
    let rates: Vec<f64> = levels
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / length as f64)
        .collect();
    let (centre, count) = (mean(&rates)?, rates.len() as f64);
    let scatter: f64 = rates.iter().map(|rate| (rate - centre).powi(2)).sum();
    let error = (scatter / (count - 1.0) / count).sqrt();
    let quantile = StudentsT::new(0.0, 1.0, count - 1.0).ok()?;
    let half = quantile.inverse_cdf(1.0 - ERROR / 2.0) * error;
    Some((centre, (centre - half, centre + half)))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

    use super::*;

    const PAGE: f64 = 4.0;
    const START: f64 = 50_000.0;

    /// Memory in KiB, in pages, with some that come and go.
    fn planted(passes: usize, seed: u64, extra: impl Fn(f64) -> f64) -> Option<Growth> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let series: Vec<f64> = (0..passes)
            .map(|pass| {
                let flutter = f64::from(random.random_range(0..3_u8)) * PAGE;
                ((START + extra(pass as f64)) / PAGE).floor() * PAGE + flutter
            })
            .collect();
        growth(&series, PAGE)
    }

    fn each(passes: usize, extra: impl Fn(f64) -> f64, is_right: impl Fn(Growth) -> bool) {
        for seed in 0..20 {
            let found = planted(passes, seed, &extra).expect("enough passes");
            assert!(is_right(found), "seed {seed}: {found:?}");
        }
    }

    fn is_leak_of(per_pass: f64) -> impl Fn(Growth) -> bool {
        move |growth| match growth {
            Growth::Grows {
                per_pass: found, ..
            } => (found / per_pass - 1.0).abs() < 0.1,
            _ => false,
        }
    }

    fn is_no_leak(growth: Growth) -> bool {
        matches!(growth, Growth::Holds { .. } | Growth::LevelsOff { .. })
    }

    #[test]
    fn a_leak_is_told_with_its_rate() {
        each(5000, |pass| 0.25 * pass, is_leak_of(0.25));
        each(2000, |pass| 20.0 * pass, is_leak_of(20.0));
        // A megabyte now and then.
        each(
            8000,
            |pass| 1024.0 * (pass / 500.0).floor(),
            is_leak_of(1024.0 / 500.0),
        );
        // After it has been quiet for a while.
        each(6000, |pass| (pass - 2000.0).max(0.0), is_leak_of(1.0));
    }

    #[test]
    fn what_does_not_grow_holds_within_bounds() {
        for passes in [FEWEST, 1000, 5000, 20_000] {
            each(
                passes,
                |_| 0.0,
                |growth| match growth {
                    Growth::Holds { at_most } => at_most * passes as f64 <= 16.0 * PAGE,
                    _ => false,
                },
            );
        }
    }

    #[test]
    fn what_is_filled_once_is_no_leak() {
        // A step early on; a warm-up of a third of the passes; an approach to a plateau.
        each(
            3000,
            |pass| if pass < 900.0 { 0.0 } else { 8192.0 },
            is_no_leak,
        );
        each(3000, |pass| 10.0 * pass.min(1000.0), is_no_leak);
        each(
            3000,
            |pass| 40_000.0 * (1.0 - (-pass / 300.0).exp()),
            is_no_leak,
        );
        each(
            3000,
            |pass| 40_000.0 * (1.0 - (-pass / 700.0).exp()),
            |growth| !matches!(growth, Growth::Grows { .. }),
        );
        // Growth that ends within the last half.
        each(
            3000,
            |pass| 10.0 * pass.min(2000.0),
            |growth| matches!(growth, Growth::LevelsOff { last, .. } if last.abs_diff(2000) < 100),
        );
    }

    #[test]
    fn a_single_late_step_is_open() {
        each(
            3000,
            |pass| if pass < 2400.0 { 0.0 } else { 8192.0 },
            |growth| matches!(growth, Growth::Open { rises: 1, last, .. } if last.abs_diff(2400) < 20),
        );
    }

    #[test]
    fn memory_that_comes_and_goes_is_no_leak() {
        each(
            4000,
            |pass| {
                if ((pass / 90.0) as u64).is_multiple_of(2) {
                    0.0
                } else {
                    4096.0
                }
            },
            is_no_leak,
        );
    }

    #[test]
    fn few_passes_tell_nothing() {
        assert_eq!(planted(FEWEST - 1, 1, |pass| pass), None);
    }
}
