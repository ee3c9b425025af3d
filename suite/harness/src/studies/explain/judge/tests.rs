//! What is judged of made-up measurements, and these for the tests of pages.

use firstpass_probe::{Profile, ProfiledPass, Span};

use super::*;
use crate::studies::explain::tests::{operator, process, run};

const MS: u64 = 1_000_000;

/// Twelve passes of a convolution, a first-pass quantization and what lies between them: 100,
/// 60 and then 30 ms. In pass 2 the engine rewrites its graph.
pub(crate) fn profile(round: u64) -> Profile {
    let passes = (0..12).map(|n: u64| {
        let (conv, quantize, outside) = match n {
            0 => (50, 40, 10),
            1 => (20, 5, 35),
            _ => (20, 5, 5),
        };
        let noise = (round + n) % 3 * 1000;
        ProfiledPass {
            span: Span {
                wall_ns: (conv + quantize + outside) * MS + noise,
                minor_faults: if n == 0 { 1000 } else { 10 },
                ..Span::default()
            },
            self_ns: vec![conv * MS, quantize * MS + noise],
            minor_faults: if n == 0 { vec![700, 200] } else { vec![5, 5] },
            counts: BTreeMap::from([
                ("nodes".into(), if n == 0 { 10 } else { 400 }),
                ("passes run".into(), n + 1),
            ]),
        }
    });
    let operators = vec![operator("first", "conv"), operator("last", "quantize")];
    Profile::new("a hook", operators, passes.collect())
}

/// Five rounds in which hooks slow the passes by a tenth.
pub(crate) fn processes(profile: impl Fn(u64) -> Profile) -> Vec<ExplainProcess> {
    let mut processes = Vec::new();
    for round in 0..5 {
        let mut profiled = process(Variant::Profiled, round);
        let mut plain = process(Variant::Plain, round);
        let profile = profile(round as u64);
        let spans = profile.passes.iter().map(|pass| Span {
            wall_ns: pass.span.wall_ns * 10 / 11,
            ..pass.span
        });
        plain.passes = spans.collect();
        profiled.profile = Some(profile);
        processes.extend([profiled, plain]);
    }
    processes
}

pub(crate) fn explain(processes: Vec<ExplainProcess>) -> Explain {
    Explain {
        run: run(),
        processes: BTreeMap::from([("x".into(), processes)]),
    }
}

fn explanation_of(profile: impl Fn(u64) -> Profile) -> Explanation {
    let mut judged = judge(&explain(processes(profile)));
    assert!(judged.failures.is_empty());
    judged.explanations.remove(0)
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 0.01, "{found}, not {expected}");
}

#[test]
fn the_excess_is_split_by_kind_and_outside() {
    let found = explanation_of(profile);
    let kinds: Vec<&str> = found.kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["quantize", "conv"]);
    let (quantize, conv) = (&found.kinds[0].1, &found.kinds[1].1);
    for (part, times, steady) in [
        (quantize, [40.0, 5.0, 5.0], 5.0),
        (conv, [50.0, 20.0, 20.0], 20.0),
        (&found.outside, [10.0, 35.0, 5.0], 5.0),
        (&found.whole, [100.0, 60.0, 30.0], 30.0),
    ] {
        for (pass, time) in (1..).zip(times) {
            close(part.time(pass), time);
            close(found.excess(part, pass).mean, time - steady);
        }
        close(part.steady(), steady);
    }
    close(found.share(conv, 1).expect("slow"), 30.0 / 70.0);
    assert_eq!(found.share(conv, 3), None);
    assert_eq!(found.operators[0].0, operator("last", "quantize"));
    assert_eq!((found.processes, found.passes), (5, 12));
}

/// In each later pass another operator is disturbed: every operator has a steady state without
/// that, and the parts add up.
#[test]
fn a_disturbed_steady_state_leaves_shares_that_add_up() {
    let found = explanation_of(|round| {
        let mut profile = profile(round);
        for (number, pass) in profile.passes.iter_mut().enumerate().skip(6) {
            if number % 3 < 2 {
                pass.self_ns[number % 3] += 5 * MS;
                pass.span.wall_ns += 5 * MS;
            }
        }
        profile
    });
    close(found.whole.steady(), 30.0);
    let parts = found.kinds.iter().map(|(_, part)| part);
    let parts = parts.chain([&found.outside]);
    let shares: Option<Vec<f64>> = parts.map(|part| found.share(part, 1)).collect();
    close(shares.expect("slow").iter().sum(), 1.0);
}

#[test]
fn faults_are_split_alike() {
    let found = explanation_of(profile);
    let conv = &found.kinds[1].1;
    assert_eq!(
        (conv.faults(1), conv.excess_faults(1)),
        (Some(700.0), Some(695.0))
    );
    assert_eq!(found.outside.faults(1), Some(100.0));
    let undecided = explanation_of(|round| {
        let mut profile = profile(round);
        for pass in &mut profile.passes {
            pass.minor_faults.clear();
        }
        profile
    });
    assert_eq!(undecided.kinds[0].1.faults(1), None);
    assert_eq!(undecided.outside.faults(1), None);
    assert_eq!(undecided.whole.faults(1), Some(1000.0));
}

#[test]
fn what_lies_outside_is_explained_by_a_witness_only() {
    let found = explanation_of(profile);
    // 5 of 70 ms lie outside of operators; nothing tells what the graph was before pass 1.
    close(found.explained[0].expect("slow").mean, 65.0 / 70.0);
    // All of the excess lies outside; the nodes changed. That the engine counts its passes says
    // nothing.
    close(found.explained[1].expect("slow").mean, 1.0);
    assert_eq!(found.explained[2], None);

    let silent = explanation_of(|round| {
        let mut profile = profile(round);
        for pass in &mut profile.passes {
            pass.counts.remove("nodes");
        }
        profile
    });
    close(silent.explained[1].expect("slow").mean, 0.0);

    let told = explanation_of(|round| {
        let mut profile = profile(round);
        profile.passes[0].counts.insert("nodes before".into(), 5);
        profile
    });
    close(told.explained[0].expect("slow").mean, 1.0);
}

#[test]
fn counts_are_told_before_and_after() {
    let found = explanation_of(|round| {
        let mut profile = profile(round);
        profile.passes[0].counts.insert("nodes before".into(), 5);
        profile
    });
    let nodes = Count {
        name: "nodes".into(),
        before: Some(5.0),
        after: [10, 400, 400, 400].map(|n| Some(f64::from(n))).into(),
    };
    assert_eq!(found.counts[0], nodes);
    assert_eq!(found.counts.len(), 2);
}

#[test]
fn what_the_hooks_cost_is_a_ratio_within_rounds() {
    let profiler = explanation_of(profile).profiler;
    for comparison in [profiler.first, profiler.steady] {
        let comparison = comparison.expect("there are rounds");
        assert!((comparison.ratio - 1.1).abs() < 1e-6, "{comparison:?}");
        assert_eq!(comparison.samples, 5);
    }
}

/// Twenty operators whose first passes cost 2 µs a fault and a little else.
fn faulting(cost_ns: impl Fn(u64) -> u64) -> impl Fn(u64) -> Profile {
    move |round| {
        let number = |n: u64| 50 * n + (n * n + round) % 7;
        let passes = (0..12).map(|pass| {
            let self_ns: Vec<u64> = (0..20)
                .map(|n| MS + if pass == 0 { cost_ns(number(n)) } else { 0 })
                .collect();
            ProfiledPass {
                span: Span {
                    wall_ns: self_ns.iter().sum(),
                    ..Span::default()
                },
                minor_faults: (0..20)
                    .map(|n| if pass == 0 { number(n) } else { 0 })
                    .collect(),
                self_ns,
                counts: BTreeMap::new(),
            }
        });
        let operators = (0..20).map(|n| operator(&format!("{n}"), "conv"));
        Profile::new("a hook", operators.collect(), passes.collect())
    }
}

#[test]
fn a_fault_has_a_cost_only_where_that_is_well_determined() {
    let found = explanation_of(faulting(|faults| 2000 * faults + faults % 5 * 10_000));
    close(found.fault_ms.expect("well determined").mean, 0.002);
    let other = explanation_of(faulting(|faults| faults * 7919 % 1000 * 3000));
    assert_eq!(other.fault_ms, None);
    assert_eq!(explanation_of(profile).fault_ms, None);
}

/// Twelve passes of 200 ms on two layers; in pass 2 the first takes 11 ms longer and the other 11 ms less.
/// Both vary from process to process by `noise` ms, in turns.
fn shifted(noise: f64) -> impl Fn(u64) -> Profile {
    move |round| {
        let passes = (0..12).map(|pass| {
            let shift = if pass == 1 { 11.0 } else { 0.0 };
            let varied = if pass == 1 {
                noise * [-1.0, 1.0, -0.4, 0.7, -0.3][round as usize % 5]
            } else {
                0.0
            };
            let ns = |ms: f64| (ms * MS as f64) as u64;
            let self_ns = vec![ns(80.0 + shift + varied), ns(120.0 - shift + varied / 2.0)];
            ProfiledPass {
                span: Span {
                    wall_ns: self_ns.iter().sum(),
                    ..Span::default()
                },
                self_ns,
                minor_faults: Vec::new(),
                counts: BTreeMap::new(),
            }
        });
        let operators = vec![operator("moved", "conv"), operator("other", "quantize")];
        Profile::new("a hook", operators, passes.collect())
    }
}

/// Some engines measured in one run.
fn run_of(engines: Vec<Vec<ExplainProcess>>) -> Explain {
    let named = engines.into_iter().enumerate();
    Explain {
        processes: named
            .map(|(at, processes)| (format!("x{at}"), processes))
            .collect(),
        ..explain(Vec::new())
    }
}

#[test]
fn a_slower_layer_is_told_in_a_pass_that_is_not_slow() {
    let quiet = explanation_of(shifted(1.0));
    let verdict = |found: &Explanation| found.passes_over_steady[1].map(|pass| pass.verdict());
    assert_eq!(verdict(&quiet), Some(FirstPassVerdict::NotSlow));
    let layers: Vec<&str> = quiet.slower_layers[1]
        .iter()
        .map(|(o, _)| o.layer.as_str())
        .collect();
    assert_eq!(layers, ["moved"]);
    let (low, high) = quiet.slower_layers[1][0]
        .1
        .interval
        .expect("five processes");
    assert!(0.0 < low && low < 11.0 && 11.0 < high, "{low} {high}");
    assert!(quiet.slower_layers[0].is_empty() && quiet.slower_layers[2].is_empty());
    // The same excess among processes that differ by more than that is told of no layer.
    let noisy = explanation_of(shifted(40.0));
    assert!(
        noisy.slower_layers[1].is_empty(),
        "{:?}",
        noisy.slower_layers
    );
}

#[test]
fn one_process_is_judged_by_what_the_run_knows() {
    let interval = |noise: f64, engines: usize| {
        let one = processes(shifted(noise))
            .into_iter()
            .filter(|p| p.round == 0);
        let others = (0..engines).map(|_| processes(shifted(noise)));
        let judged = judge(&run_of([one.collect()].into_iter().chain(others).collect()));
        let one = &judged.explanations[0];
        assert_eq!(one.processes, 1);
        one.excess(&one.whole, 2).interval
    };
    let width = |(low, high): (f64, f64)| high - low;
    let quiet = width(interval(1.0, 4).expect("the run knows"));
    let noisy = width(interval(10.0, 4).expect("the run knows"));
    assert!(quiet > 0.0 && noisy > 5.0 * quiet, "{quiet}, {noisy}");
    assert_eq!(interval(1.0, 0), None, "nothing knows");
}

/// Two processes of an engine, with hooks that cost a tenth, in a run whose other engines vary more or
/// less.
#[test]
fn what_the_hooks_cost_is_as_sure_as_the_run_is_quiet() {
    let width = |noise: f64| {
        let two = processes(profile).into_iter().filter(|p| p.round < 2);
        let varied = |engine: u64| {
            let mut processes = processes(profile);
            for plain in processes.iter_mut().filter(|p| p.variant == Variant::Plain) {
                let varies = [1.0, -1.0, 0.5, 0.2, -0.7][(plain.round + engine as usize) % 5];
                for span in &mut plain.passes {
                    span.wall_ns = (span.wall_ns as f64 * (1.0 + noise * varies)) as u64;
                }
            }
            processes
        };
        let judged = judge(&run_of(
            [two.collect()]
                .into_iter()
                .chain((0..5).map(varied))
                .collect(),
        ));
        let steady = judged.explanations[0].profiler.steady.expect("two rounds");
        assert_eq!(steady.samples, 2);
        steady.half_width()
    };
    let (quiet, noisy) = (width(0.005), width(0.2));
    assert!(quiet < 0.05 && noisy > 0.1, "{quiet}, {noisy}");
}

#[test]
fn failures_are_kept_and_odd_profiles_do_no_harm() {
    let mut failed = process(Variant::Profiled, 0);
    failed.failure = Some("no profile".into());
    let mut ragged = process(Variant::Profiled, 1);
    let mut odd = profile(0);
    odd.passes[3].self_ns.clear();
    odd.passes[0].minor_faults.push(1);
    ragged.profile = Some(odd);
    let mut short = process(Variant::Profiled, 2);
    short.profile = Some(Profile::default());
    let judged = judge(&explain(vec![failed, ragged, short]));
    assert_eq!(judged.failures[0].reason, "no profile");
    assert_eq!(judged.explanations.len(), 1);
    assert_eq!(judged.explanations[0].processes, 1);
    assert_eq!(judged.explanations[0].profiler.first, None);
}
