//! Figures of processes, brought to one speed of the core.
//!
//! On a shared machine one process gets a core of its own, and the next a core that another tenant uses as well. Reference
//! work beside every pass tells which. Its time explains a part of what makes the processes of a cell differ, and this
//! part is taken out before cells are compared (analysis of covariance: Fisher, "Statistical Methods for Research
//! Workers", 1932).
//!
//! How strongly a figure follows the reference work is learned from the run itself, over the processes of each cell:
//! the median of all slopes between two processes (Theil 1950, Sen 1968). Each cell is brought to the fastest core that
//! it had. Only what differs within a cell is taken out, so that an engine whose passes always slow the reference work
//! gains nothing. Times in tables stay as measured.

use std::collections::BTreeMap;

use firstpass_statistics::median;

use super::latency::{Figure, Latency};

/// Fewer processes, beyond one for each cell, do not tell how a figure follows the core.
const FEWEST: usize = 10;

/// A correction that makes the processes of the run less unlike by less than this share is an accident.
const LEAST_GAIN: f64 = 0.1;

/// No work suffers more from a neighbour than in this power of what the reference work does.
const STEEPEST: f64 = 1.5;

/// Slopes are between processes that are at most so many apart in their cell: with thousands, all pairs would be
/// millions.
const APART: usize = 10;

/// Two cores are alike where the logarithms of their times differ by less: a slope between them says nothing.
const ALIKE: f64 = 0.01;

/// One process of a cell, as logarithms.
struct Point {
    /// How much slower the core was than the fastest that its cell had.
    core: f64,
    time: f64,
}

/// Gives each process the factors that bring its figures to the fastest core that its cell had.
pub fn correct(latencies: &mut [Latency]) {
    for figure in Figure::EVERY {
        let cells: Vec<Vec<Option<Point>>> = latencies.iter().map(|l| points(l, figure)).collect();
        let Some(slope) = slope(&cells) else {
            continue;
        };
        for (latency, points) in latencies.iter_mut().zip(&cells) {
            for (process, point) in latency.processes.iter_mut().zip(points) {
                if let Some(point) = point {
                    let factor = (-slope * point.core).exp();
                    process.core_correction.insert(figure, factor);
                }
            }
        }
    }
}

/// By process; `None` where its core or its time is not known.
fn points(latency: &Latency, figure: Figure) -> Vec<Option<Point>> {
    let point = |process| {
        let (core, time) = (figure.core(process)?.ln(), figure.of_any(process)?.ln());
        (core.is_finite() && time.is_finite()).then_some(Point { core, time })
    };
    let mut points: Vec<Option<Point>> = latency.processes.iter().map(point).collect();
    let known = points.iter().flatten();
    let fastest = known.map(|p| p.core).fold(f64::INFINITY, f64::min);
    for point in points.iter_mut().flatten() {
        point.core -= fastest;
    }
    points
}

/// How strongly a figure follows the core, where it does.
fn slope(cells: &[Vec<Option<Point>>]) -> Option<f64> {
    let cells: Vec<Vec<&Point>> = cells
        .iter()
        .map(|cell| cell.iter().flatten().collect())
        .filter(|cell: &Vec<_>| cell.len() > 1)
        .collect();
    let processes: usize = cells.iter().map(Vec::len).sum();
    if processes < cells.len() + FEWEST {
        return None;
    }
    let mut slopes = Vec::new();
    for cell in &cells {
        for (at, one) in cell.iter().enumerate() {
            for other in cell[at + 1..].iter().take(APART) {
                let apart = other.core - one.core;
                if apart.abs() > ALIKE {
                    slopes.push(((other.time - one.time) / apart, apart.abs()));
                }
            }
        }
    }
    let slope = weighted_median(slopes)?.clamp(0.0, STEEPEST);
    (scatter(&cells, slope)? < (1.0 - LEAST_GAIN) * scatter(&cells, 0.0)?).then_some(slope)
}

/// How far processes are from the median of their cell, when what the core explains is taken out.
fn scatter(cells: &[Vec<&Point>], slope: f64) -> Option<f64> {
    let mut deviations = Vec::new();
    for cell in cells {
        let left = cell.iter().map(|point| point.time - slope * point.core);
        let centre = median(left.clone())?;
        deviations.extend(left.map(|time| (time - centre).abs()));
    }
    median(deviations)
}

/// Half of the weight lies on either side of it.
fn weighted_median(mut weighted: Vec<(f64, f64)>) -> Option<f64> {
    weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    let mut below = 0.0;
    weighted.into_iter().find_map(|(value, weight)| {
        below += weight;
        (2.0 * below >= all).then_some(value)
    })
}

/// The factor of a figure of a process; 1 where nothing is known.
pub fn factor(corrections: &BTreeMap<Figure, f64>, figure: Figure) -> f64 {
    corrections.get(&figure).copied().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use firstpass_statistics::comparison::Verdict;
    use firstpass_trial::observation::Observation;

    use super::*;
    use crate::studies::first_passes::judge::{
        comparisons::Comparisons,
        latency::{
            summarise,
            tests::{observation, times},
        },
    };

    /// By how much the core was slower in each round of the first engine; the second had others.
    const CORES: [[f64; 6]; 2] = [
        [1.0, 1.15, 1.05, 1.0, 1.12, 1.18],
        [1.1, 1.0, 1.17, 1.16, 1.0, 1.03],
    ];

    /// What changes the times of a round beside the core.
    const NOISE: [[f64; 6]; 2] = [
        [0.004, 0.0, 0.003, 0.005, 0.001, 0.0],
        [0.001, 0.005, 0.0, 0.0, 0.004, 0.003],
    ];

    /// Two engines, whose passes take 10 and 11 ms on a core of their own and follow it with this power.
    fn run(power: f64) -> Vec<Latency> {
        let levels = [10.0, 11.0];
        let mut all: Vec<Observation> = Vec::new();
        for (engine, (level, cores)) in levels.into_iter().zip(CORES).enumerate() {
            for (round, core) in cores.into_iter().enumerate() {
                let slower = f64::powf(core, power) * (1.0 + NOISE[engine][round]);
                let mut one = observation(round, &times(&[50.0 * slower], level * slower));
                one.cell.backend = format!("engine-{engine}");
                let reference = (3000.0 * core) as u64;
                let process = &mut one.process;
                let steps = [
                    &mut process.started,
                    &mut process.loaded,
                    &mut process.prepared,
                ];
                for span in steps.into_iter().flatten() {
                    span.reference_ns = reference;
                }
                for pass in &mut process.passes {
                    pass.span.reference_ns = reference;
                }
                process.last_reference_ns = Some(reference);
                all.push(one);
            }
        }
        summarise(&all)
    }

    fn steady(latencies: &[Latency]) -> firstpass_statistics::comparison::Comparison {
        let comparisons = Comparisons::of_run(latencies);
        comparisons
            .get(&latencies[0].cell, &latencies[1].cell, Figure::Steady)
            .expect("they are compared")
    }

    #[test]
    fn what_the_core_explains_hides_no_difference() {
        let compared = steady(&run(1.0));
        assert_eq!(compared.verdict, Verdict::Faster);
        assert!((compared.ratio - 10.0 / 11.0).abs() < 0.01, "{compared:?}");
        let mut uncorrected = run(1.0);
        for process in uncorrected.iter_mut().flat_map(|l| &mut l.processes) {
            process.core_correction.clear();
        }
        assert_eq!(steady(&uncorrected).verdict, Verdict::Open);
    }

    #[test]
    fn where_times_do_not_follow_the_core_nothing_is_corrected() {
        let latencies = run(0.0);
        let mut processes = latencies.iter().flat_map(|l| &l.processes);
        assert!(processes.all(|p| p.core_correction.is_empty()));
        assert_eq!(steady(&latencies).verdict, Verdict::Faster);
    }

    #[test]
    fn times_in_tables_stay_as_measured() {
        let latencies = run(1.0);
        let first = latencies[0].by_round(Figure::FirstPass);
        assert!((first[&1] - 57.6).abs() < 0.2, "{first:?}");
    }

    #[test]
    fn an_engine_that_slows_the_reference_work_gains_nothing() {
        let plain = steady(&run(1.0)).ratio;
        let mut latencies = run(1.0);
        for process in &mut latencies[1].processes {
            let core = process.core.as_mut().expect("it was measured");
            core.start *= 1.3;
            core.steady *= 1.3;
            core.passes.iter_mut().for_each(|pass| *pass *= 1.3);
        }
        correct(&mut latencies);
        assert!((steady(&latencies).ratio / plain - 1.0).abs() < 1e-3);
    }
}
