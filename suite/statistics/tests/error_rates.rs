//! How often the judging errs, on the noise of two records: one of a noisy hour, one of a quiet one.

use std::time::Instant;

use firstpass_statistics::{
    error_rates::{self, Rate},
    joint::{Joint, Passes},
    planted::{Noise, Truth, seen},
    steady::{Class, Series},
};
use rand::{SeedableRng, rngs::ChaCha8Rng};

const CELLS: usize = 300;
const RUNS: usize = 1000;

/// The noise of the second halves of series of two records: two cores of a shared machine, four engines,
/// times in ms.
fn noise(json: &str) -> Noise {
    let series: Vec<Vec<f64>> = serde_json::from_str(json).expect("the file is committed");
    Noise::of(series.iter().map(Vec::as_slice)).expect("the file holds series")
}

fn noisy_hour() -> Noise {
    noise(include_str!("noisy_hour.json"))
}

fn quiet_hour() -> Noise {
    noise(include_str!("quiet_hour.json"))
}

fn all_are_kept(rates: &[Rate]) {
    for rate in rates {
        println!("{rate}");
    }
    let broken = rates.iter().filter(|rate| !rate.is_kept());
    let broken: Vec<String> = broken.map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn on_the_noise_of_a_noisy_hour() {
    all_are_kept(&error_rates::of_cells(&noisy_hour(), CELLS, 1));
}

#[test]
fn on_the_noise_of_a_quiet_hour() {
    all_are_kept(&error_rates::of_cells(&quiet_hour(), CELLS, 1));
}

#[test]
fn comparisons_under_the_stopping_rule() {
    all_are_kept(&error_rates::of_comparisons(RUNS, 1));
}

/// A rate must be able to be broken: with ten times the noise hardly anything is seen.
#[test]
fn too_much_noise_breaks_a_rate() {
    let rates = error_rates::of_cells(&noisy_hour().times(10.0), 50, 1);
    assert!(rates.iter().any(|rate| !rate.is_kept()));
}

#[test]
fn long_series_are_judged_as_well_as_short_ones() {
    for (truth, processes, passes, needed) in [
        (Truth::Flat, 5, 1000, 98.0),
        (Truth::Step, 1, 500, 95.0),
        (Truth::SlowFirst, 5, 1000, 95.0),
        (Truth::Drift, 1, 1000, 95.0),
        (Truth::Flipping, 1, 1000, 95.0),
    ] {
        let cells = 200;
        let seen = seen(truth, processes, passes, &noisy_hour(), cells, 1);
        let share = 100.0 * seen as f64 / cells as f64;
        assert!(
            share >= needed,
            "{truth}, {processes} × {passes}: {share} %"
        );
    }
}

/// Prints how long it takes, and asserts only what it says.
#[test]
fn a_million_passes() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut cell, _) = Truth::SlowFirst.plant(1, 1_000_000, &noisy_hour(), &mut random);
    let times = &mut cell[0];
    times[0] = 9.0;
    times[600_000..].iter_mut().for_each(|t| *t /= 1.2);
    let began = Instant::now();
    let series = Series::of(times).expect("times are positive");
    println!("a million passes take {:?}", began.elapsed());
    assert_eq!(series.class, Class::WarmUp);
    let changes: Vec<usize> = series.change_points().collect();
    assert!(
        matches!(changes[..], [1, step] if step.abs_diff(600_000) <= 3),
        "{changes:?}"
    );
}

/// Prints how long it takes, and asserts only what it says.
#[test]
fn five_hundred_cells_of_ten_processes() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let noise = noisy_hour();
    let cells: Vec<_> = (0..500)
        .map(|_| Truth::SlowFirstTwo.plant(10, 50, &noise, &mut random).0)
        .collect();
    let began = Instant::now();
    for cell in &cells {
        let passes: Vec<Passes> = cell.iter().map(|times| Passes::of(times)).collect();
        let joint = Joint::of(&passes).expect("times are positive");
        assert_eq!(joint.warm_up_passes(), Some(2));
    }
    println!("500 cells of 10 processes take {:?}", began.elapsed());
}
