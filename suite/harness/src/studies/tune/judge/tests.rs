use firstpass_probe::THREADS;

use super::*;
use crate::studies::first_passes::judge::latency::tests::{observation, times};

/// How much longer everything takes in ten rounds.
const QUIET: [f64; 10] = [1.0, 1.004, 1.008, 1.0, 1.004, 1.008, 1.0, 1.004, 1.008, 1.0];

/// Rounds of a setting: its first pass and its steady time in ms, and how much longer both take in each round.
fn cell(knobs: &Knobs, first: f64, steady: f64, digest: &str, rounds: &[f64]) -> Vec<Observation> {
    let round = |(round, factor): (usize, &f64)| {
        observation(round, &times(&[first * factor], steady * factor))
    };
    let mut observations: Vec<Observation> = rounds.iter().enumerate().map(round).collect();
    let mut agreement = observation(0, &times(&[first], steady));
    agreement.purpose = Purpose::Agreement;
    observations.push(agreement);
    for observation in &mut observations {
        observation.cell.knobs = knobs.clone().with(THREADS, 1);
        for pass in &mut observation.process.passes {
            pass.digest = digest.into();
        }
    }
    observations
}

/// What is judged of such settings, each `knob=value,knob=value`.
pub(crate) fn ablation(cells: &[(&str, f64, f64, &str)]) -> Ablation {
    let cells = cells.iter();
    let quiet = cells
        .map(|(setting, first, steady, digest)| (*setting, *first, *steady, *digest, &QUIET[..]));
    ablation_of_rounds(quiet)
}

/// The same of rounds that take longer by these factors.
pub(crate) fn ablation_of_rounds<'a>(
    cells: impl IntoIterator<Item = (&'a str, f64, f64, &'a str, &'a [f64])>,
) -> Ablation {
    let observations: Vec<Observation> = cells
        .into_iter()
        .flat_map(|(setting, first, steady, digest, rounds)| {
            let pairs = setting.split(',').filter_map(|pair| pair.split_once('='));
            let knobs = pairs.fold(Knobs::default(), |all, (k, v)| all.with(k, v));
            cell(&knobs, first, steady, digest, rounds)
        })
        .collect();
    let mut record = crate::record::tests::record(observations);
    record.folder = "/nonexistent".into();
    let model = firstpass_trial::model::ModelDescription::for_tests(
        firstpass_trial::model::Precision::Int8,
    );
    let mut judged = judge(&record, &[model]).expect("no outputs are read");
    assert_eq!(judged.len(), 1);
    judged.remove(0)
}

fn setting<'a>(ablation: &'a Ablation, name: &str) -> &'a Setting {
    let found = ablation.settings.iter().find(|s| s.name() == name);
    found.unwrap_or_else(|| panic!("no setting {name}"))
}

#[test]
fn each_setting_is_seen_for_what_it_does() {
    let judged = ablation(&[
        ("", 100.0, 10.0, "same"),
        ("a=tuning", 20.0, 10.0, "same"),
        ("b=nothing", 100.0, 10.0, "same"),
        ("c=wrong", 20.0, 10.0, "other"),
        ("d=trade", 20.0, 15.0, "same"),
        ("e=worse", 150.0, 12.0, "same"),
    ]);
    assert!(setting(&judged, "b=nothing").does_nothing());
    assert!(!setting(&judged, "a=tuning").does_nothing());
    assert!(setting(&judged, "a=tuning").is_harmless());
    assert_eq!(setting(&judged, "c=wrong").outputs, OutputChange::Unknown);
    assert!(!setting(&judged, "c=wrong").is_harmless());
    assert!(!setting(&judged, "d=trade").is_harmless());
    let even = |name| judged.break_even(setting(&judged, name));
    assert_eq!(even("a=tuning"), Some(BreakEven::AlwaysAhead));
    assert_eq!(even("b=nothing"), Some(BreakEven::Untold));
    assert_eq!(even("e=worse"), Some(BreakEven::NeverAhead));
    // 80 ms ahead after pass 1, 5 ms lost with each further pass.
    match even("d=trade") {
        Some(BreakEven::AheadUntil(passes, _)) => {
            assert!((16.0..=18.0).contains(&passes), "{passes}");
        }
        other => panic!("{other:?}"),
    }
    let front: Vec<String> = pareto(&judged)
        .into_iter()
        .map(|s| s.map_or_else(|| "default".into(), Setting::name))
        .collect();
    assert_eq!(front, ["a=tuning"]);
}
