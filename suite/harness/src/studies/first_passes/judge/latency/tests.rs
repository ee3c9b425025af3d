use firstpass_probe::{Format, Knobs, Pass, Span};
use firstpass_statistics::comparison::Verdict;
use firstpass_trial::{
    observation::{Observation, Process, Purpose},
    system_counters::SystemCounters,
};

use super::*;
use crate::studies::first_passes::judge::comparisons::Comparisons;

/// A completed process whose passes took these times.
pub(crate) fn observation(round: usize, times_ms: &[f64]) -> Observation {
    let span = |wall_ms: f64| Span {
        wall_ns: (wall_ms * 1e6) as u64,
        cpu_ns: (wall_ms * 2e6) as u64,
        ..Span::default()
    };
    let mut process = Process::new(0);
    process.main_ns = Some(5_000_000);
    process.started = Some(span(10.0));
    process.loaded = Some(span(20.0));
    process.prepared = Some(span(0.0));
    process.peak_memory_kib = Some(2048);
    process.passes = times_ms
        .iter()
        .map(|t| Pass {
            input: 0,
            digest: String::new(),
            memory_kib: None,
            span: span(*t),
        })
        .collect();
    Observation {
        cell: Cell {
            backend: "x".into(),
            model: "m".into(),
            format: Format::ONNX,
            knobs: Knobs::default(),
            cold_files: false,
            entry: 0,
        },
        purpose: Purpose::Latency,
        round,
        images: Vec::new(),
        system_counters: SystemCounters {
            load_average: 0.0,
            wall_ms: 0.0,
            others_cpu_ms: None,
            other_measurements: 0,
            steal_ms: None,
            iowait_ms: None,
            temperature_c: None,
            frequency_mhz: None,
        },
        eviction: None,
        process,
    }
}

/// First passes, then many at one level with a little noise.
pub(crate) fn times(first: &[f64], level: f64) -> Vec<f64> {
    let steady = (0..30).map(|n| level * [1.0, 1.01, 0.99, 1.005, 0.995][n % 5]);
    first.iter().copied().chain(steady).collect()
}

fn one(observations: &[Observation]) -> Latency {
    let mut latencies = summarise(observations);
    assert_eq!(latencies.len(), 1, "one cell gives one summary");
    latencies.remove(0)
}

#[test]
fn first_passes_do_not_enter_the_steady_figure() {
    let latency = one(&[
        observation(0, &times(&[900.0, 100.0], 10.0)),
        observation(1, &times(&[1100.0, 100.0], 10.0)),
    ]);
    let close = |found: Option<Estimate>, expected: f64| {
        let found = found.expect("a figure").median;
        assert!((found / expected - 1.0).abs() < 0.01, "{found}, {expected}");
    };
    close(latency.steady, 10.0);
    close(latency.pass.get(&1).copied(), 1000.0);
    let first = latency.first_over_steady.expect("a first pass");
    assert!((first.ratio() / 100.0 - 1.0).abs() < 0.01);
    assert_eq!(latency.warm_up_passes, Some(2));
    close(latency.warm_up_cost, 1080.0);
    // 5 to main, 10 start, 20 load, then pass 1.
    close(latency.cold_start, 1035.0);
    assert_eq!(latency.class(), "warm-up");
    assert_eq!(latency.steady_cpu_ratio.map(|s| s.median), Some(2.0));
    assert_eq!(latency.phases.last(), Some(&(Phase::RestOfWarmUp, 0.0)));
}

/// Processes whose passes take 10 ms after a first one of 50; where one was slowed, it took 1.5
/// times as long, and so did the reference work before it.
fn slowed(rounds: &[&[usize]]) -> Vec<Observation> {
    let of_round = |(round, slow): (usize, &&[usize])| {
        let mut observation = observation(round, &times(&[50.0], 10.0));
        let process = &mut observation.process;
        for (at, pass) in process.passes.iter_mut().enumerate() {
            let is_slow = slow.contains(&at);
            pass.span.reference_ns = if is_slow { 15_000 } else { 10_000 };
            if is_slow {
                pass.span.wall_ns += pass.span.wall_ns / 2;
            }
        }
        process.last_reference_ns = Some(10_000);
        observation
    };
    rounds.iter().enumerate().map(of_round).collect()
}

#[test]
fn passes_on_a_slowed_core_enter_no_figure() {
    let middle: Vec<usize> = (10..20).collect();
    let latency = one(&slowed(&[&[], &[0], &middle, &[]]));
    let median = |estimate: Option<&Estimate>| estimate.expect("a figure").median;
    assert!((median(latency.pass.get(&1)) - 50.0).abs() < 1e-9);
    let first: Vec<f64> = latency.by_round(Figure::FirstPass).into_values().collect();
    assert_eq!(first, [50.0; 3], "that of 75 ms is left out");
    assert!((median(latency.steady.as_ref()) - 10.0).abs() < 0.1);
    assert!(!latency.too_few_undisturbed);
    assert_eq!(latency.processes.len(), 4, "nothing is lost");
}

#[test]
fn without_enough_others_slowed_passes_count() {
    let latency = one(&slowed(&[&[0], &[0]]));
    assert!(latency.too_few_undisturbed);
    assert_eq!(latency.by_round(Figure::FirstPass).len(), 2);

    // Three rounds without a disturbance are too few to compare by, so that all six count.
    let rounds: [&[usize]; 6] = [&[], &[0], &[], &[0], &[], &[0]];
    let (a, mut b) = (slowed(&rounds), slowed(&rounds));
    b.iter_mut().for_each(|o| o.cell.backend = "y".into());
    let both = summarise(a.iter().chain(&b));
    assert_eq!(both[0].by_round(Figure::FirstPass).len(), 3);
    assert_eq!(both[0].rounds_with(&both[1], Figure::FirstPass).len(), 6);
    assert_eq!(both[0].rounds_with(&both[1], Figure::Steady).len(), 6);
}

#[test]
fn failed_processes_are_left_out() {
    let mut failed = observation(1, &[1.0, 1.0]);
    failed.process.outcome = firstpass_trial::observation::Outcome::NotStarted("x".into());
    let latency = one(&[observation(0, &times(&[20.0], 4.0)), failed]);
    assert_eq!(latency.processes.len(), 1);
}

#[test]
fn a_process_with_cold_files_has_no_steady_state() {
    let mut cold = observation(0, &[90.0, 50.0, 10.0]);
    cold.cell.cold_files = true;
    let latency = one(&[cold]);
    assert!(latency.steady.is_none() && latency.first_over_steady.is_none());
    assert!(latency.cold_start.is_some());
}

#[test]
fn processes_that_provably_differ_are_mixed() {
    let latency = one(&[
        observation(0, &times(&[], 10.0)),
        observation(1, &times(&[90.0], 10.0)),
        observation(2, &times(&[], 10.0)),
        observation(3, &times(&[80.0], 10.0)),
    ]);
    assert_eq!(latency.class(), "mixed (2 flat, 2 warm-up)");
}

#[test]
fn cells_are_compared_within_rounds() {
    let rounds = |level: f64| -> Vec<Observation> {
        // Round 2 is disturbed, for all.
        let levels = [1.0, 1.01, 3.0, 0.99, 1.0];
        (0..5)
            .map(|round| observation(round, &times(&[], level * levels[round])))
            .collect()
    };
    let other = |level: f64| {
        let mut rounds = rounds(level);
        rounds
            .iter_mut()
            .for_each(|o| o.cell.backend = format!("y{level}"));
        rounds
    };
    let all: Vec<Observation> = [rounds(10.0), other(13.0), other(10.0)].concat();
    let latencies = summarise(&all);
    let comparisons = Comparisons::of_run(&latencies);
    let [a, alike, slower] = &latencies[..] else {
        panic!("three cells")
    };
    let verdict = |a: &Latency, b: &Latency, figure| {
        comparisons.get(&a.cell, &b.cell, figure).map(|c| c.verdict)
    };
    assert_eq!(verdict(a, slower, Figure::Steady), Some(Verdict::Faster));
    assert_eq!(verdict(slower, a, Figure::Steady), Some(Verdict::Slower));
    assert_eq!(
        verdict(a, alike, Figure::ColdStart),
        Some(Verdict::NoDifference)
    );
}
