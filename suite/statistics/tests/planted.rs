//! What the detector makes of series whose truth is known.

use std::time::Instant;

use firstpass_statistics::{
    planted::{Noise, Truth, seen},
    steady::{Class, Series},
};
use rand::{SeedableRng, rngs::ChaCha8Rng};

/// So many series of each kind.
const SERIES: usize = 1000;

/// The noise of the second halves of series of our own records: two cores of a shared machine, four
/// engines, times in ms.
fn measured() -> Noise {
    let json = include_str!("steady_times.json");
    let series: Vec<Vec<f64>> = serde_json::from_str(json).expect("the file is committed");
    Noise::of(series.iter().map(Vec::as_slice)).expect("the file holds series")
}

/// The share of planted series that are seen rightly, in per cent.
fn share(truth: Truth, passes: usize) -> f64 {
    100.0 * seen(truth, passes, &measured(), SERIES, 1) as f64 / SERIES as f64
}

#[test]
fn fewer_than_two_in_a_hundred_series_without_a_change_show_one() {
    for passes in [50, 100, 200, 500, 2000] {
        for truth in [Truth::Flat, Truth::Spike] {
            let rightly = share(truth, passes);
            assert!(rightly > 98.0, "{passes} passes, {truth}: {rightly} %");
        }
    }
}

#[test]
fn steps_of_a_tenth_are_found_within_three_passes() {
    for passes in [50, 100, 200, 500, 2000] {
        let rightly = share(Truth::Step, passes);
        assert!(rightly >= 95.0, "{passes} passes: {rightly} %");
    }
}

#[test]
fn slow_first_passes_are_counted() {
    for passes in [10, 50, 200, 1000] {
        let rightly = share(Truth::SlowFirstTwo, passes);
        assert!(rightly >= 95.0, "{passes} passes: {rightly} %");
    }
}

/// What is not flat must not pass for flat where there is enough of it.
#[test]
fn drift_and_flipping_are_not_flat() {
    for (truth, passes) in [
        (Truth::Drift, 100),
        (Truth::Drift, 1000),
        (Truth::Flipping, 200),
        (Truth::Flipping, 1000),
    ] {
        let rightly = share(truth, passes);
        assert!(rightly >= 95.0, "{truth}, {passes} passes: {rightly} %");
    }
}

/// Prints how long it takes, and asserts only what it says.
#[test]
fn a_million_passes() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut times, _) = Truth::SlowFirst.plant(1_000_000, &measured(), &mut random);
    times[0] = 9.0;
    times[600_000..].iter_mut().for_each(|t| *t /= 1.2);
    let began = Instant::now();
    let series = Series::of(&times).expect("times are positive");
    println!("a million passes take {:?}", began.elapsed());
    assert_eq!(series.class, Class::WarmUp);
    let found: Vec<usize> = series.change_points().collect();
    assert!(
        matches!(found[..], [1, step] if step.abs_diff(600_000) <= 3),
        "{found:?}"
    );
}
