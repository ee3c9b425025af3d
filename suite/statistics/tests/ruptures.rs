//! The change points against those that the Python package ruptures finds in the same series.
//! `ruptures/README.md` says how the expectations are made.

use firstpass_statistics::change_points::{change_points, exact_change_points};
use serde::Deserialize;

/// A series and what is expected of it: change points are where new segments begin, without 0.
#[derive(Deserialize)]
struct Case {
    name: String,
    series: Vec<f64>,
    /// Bounds of the deviation.
    low: f64,
    high: f64,
    penalty: f64,
    /// By ruptures' PELT with the cost of [`change_points`].
    pelt: Vec<usize>,
    normal_penalty: f64,
    normal_min_size: usize,
    /// By ruptures' PELT with its own cost.
    normal: Vec<usize>,
    /// Where that is not the optimum, because it prunes too early.
    normal_optimum: Option<Vec<usize>>,
}

fn cases() -> Vec<Case> {
    let json = include_str!("ruptures/expected.json");
    serde_json::from_str(json).expect("the file is committed")
}

/// Fails with every series whose change points are not the expected ones.
fn assert_same<'a>(found: impl Iterator<Item = (&'a Case, Vec<usize>, &'a Vec<usize>)>) {
    let differences: Vec<String> = found
        .filter(|(_, ours, theirs)| ours != *theirs)
        .map(|(case, ours, theirs)| format!("{}: {ours:?}, expected {theirs:?}", case.name))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn bounded_variance_gives_the_change_points_of_ruptures() {
    assert_same(cases().iter().map(|case| {
        let found = change_points(&case.series, case.low..=case.high, case.penalty);
        (case, found, &case.pelt)
    }));
}

#[test]
fn unbounded_variance_gives_the_change_points_of_ruptures_or_better_ones() {
    assert_same(cases().iter().map(|case| {
        let (penalty, shortest) = (case.normal_penalty, case.normal_min_size);
        let found = exact_change_points(&case.series, 0.0..=f64::INFINITY, penalty, shortest);
        (
            case,
            found,
            case.normal_optimum.as_ref().unwrap_or(&case.normal),
        )
    }));
}
