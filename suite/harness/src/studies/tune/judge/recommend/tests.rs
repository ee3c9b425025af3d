use super::*;
use crate::studies::tune::judge::tests::{ablation, ablation_of_rounds};

fn name(setting: Option<&Setting>) -> Option<String> {
    setting.map(Setting::name)
}

#[test]
fn each_need_has_a_recommendation_of_its_own() {
    let judged = ablation(&[
        ("", 100.0, 10.0, "same"),
        ("a=cold", 60.0, 10.0, "same"),
        ("a=serve", 11.0, 10.0, "same"),
    ]);
    assert_eq!(
        name(recommended(&judged, Need::Serve)).as_deref(),
        Some("a=serve")
    );
    let goals = goals(&judged, recommended(&judged, Need::Serve), Need::Serve);
    let reached: Vec<Reached> = goals.iter().map(Goal::reached).collect();
    assert_eq!(reached, [Reached::Met, Reached::Met]);
}

/// The core of every process has a speed of its own, as on a machine that others use.
#[test]
fn a_slower_core_hides_no_gain_of_a_service() {
    let judged = |first: f64| {
        let default = ("", 14.0, 10.0, "same", &[1.0, 1.4, 1.0, 2.0, 1.4, 1.0][..]);
        let setting = (
            "a=x",
            first,
            10.0,
            "same",
            &[1.4, 1.0, 1.0, 1.4, 2.0, 1.0][..],
        );
        ablation_of_rounds([default, setting])
    };
    assert_eq!(
        name(recommended(&judged(10.0), Need::Serve)).as_deref(),
        Some("a=x")
    );
    assert_eq!(name(recommended(&judged(14.0), Need::Serve)), None);
}

#[test]
fn a_shorter_steady_time_makes_no_first_pass_worse() {
    let judged = ablation(&[("", 20.0, 10.0, "same"), ("a=x", 18.0, 6.0, "same")]);
    let setting = &judged.settings[0];
    assert_eq!(
        setting.verdict(Figure::FirstOverSteady),
        Some(Verdict::Slower)
    );
    assert!(may_help(setting, Need::Serve));
    let judged = ablation(&[("", 20.0, 10.0, "same"), ("a=x", 30.0, 10.0, "same")]);
    assert!(!may_help(&judged.settings[0], Need::Serve));
}

#[test]
fn what_changes_outputs_or_costs_steady_time_is_not_recommended() {
    let judged = ablation(&[
        ("", 100.0, 10.0, "same"),
        ("a=right", 50.0, 10.0, "same"),
        ("b=wrong", 20.0, 10.0, "other"),
        ("c=trade", 20.0, 15.0, "same"),
    ]);
    for need in Need::ALL {
        assert_eq!(
            name(recommended(&judged, need)).as_deref(),
            Some("a=right"),
            "{need}"
        );
    }
}

#[test]
fn a_further_knob_has_to_be_told_to_be_better() {
    let judged = ablation(&[
        ("", 100.0, 10.0, "same"),
        ("a=x", 20.0, 10.0, "same"),
        ("a=x,b=y", 15.0, 10.0, "same"),
        ("a=x,b=y,c=z", 14.99, 10.0, "same"),
    ]);
    assert_eq!(
        name(recommended(&judged, Need::Serve)).as_deref(),
        Some("a=x, b=y")
    );
}

#[test]
fn the_fewest_warm_up_passes_that_suffice_are_recommended() {
    let judged = ablation(&[
        ("", 100.0, 10.0, "same"),
        ("warm-up=full", 14.0, 10.0, "same"),
        ("warm-up=full-2", 10.0, 10.0, "same"),
        ("warm-up=full-3", 9.99, 10.0, "same"),
    ]);
    let setting = recommended(&judged, Need::Serve).expect("warm-up passes help");
    assert_eq!(setting.name(), "warm-up=full-2");
    let steps: Vec<usize> = warm_up_steps(&judged, setting)
        .into_iter()
        .map(|(passes, _)| passes)
        .collect();
    assert_eq!(steps, [0, 1, 2, 3]);
    let suffices = |name: &str| {
        let setting = judged.settings.iter().find(|s| s.name() == name);
        setting.is_some_and(|s| warm_up_suffices(&judged, s))
    };
    assert!(suffices("warm-up=full-2"));
    assert!(!suffices("warm-up=full"), "a second one helps");
    assert!(!suffices("warm-up=full-3"), "no more were tried");
}

#[test]
fn where_nothing_helps_the_bound_is_known() {
    let judged = ablation(&[("", 100.0, 10.0, "same"), ("a=x", 100.0, 10.0, "same")]);
    for need in Need::ALL {
        match advise(&judged, need) {
            Advice::Nothing { bound: Some(bound) } => assert!(bound < 0.05, "{bound}"),
            other => panic!("{need}: {other:?}"),
        }
    }
    let wrong = ablation(&[("", 100.0, 10.0, "same"), ("a=x", 20.0, 10.0, "other")]);
    let advice = advise(&wrong, Need::Cold);
    assert!(
        matches!(advice, Advice::Nothing { bound: None }),
        "{advice:?}"
    );
}

#[test]
fn what_is_open_is_named_with_the_time_that_it_takes_to_tell() {
    let mut judged = ablation(&[
        ("", 100.0, 10.0, "same"),
        ("a=maybe", 60.0, 10.0, "same"),
        ("b=less", 80.0, 10.0, "same"),
    ]);
    let all = judged.settings.iter_mut();
    for comparison in all.flat_map(|s| s.against.values_mut()) {
        comparison.verdict = Verdict::Open;
        comparison.deviation = 0.1;
        comparison.interval = (comparison.ratio * 0.8, comparison.ratio * 1.25);
    }
    match advise(&judged, Need::Cold) {
        Advice::Open {
            seeming,
            budget_s,
            bound,
        } => {
            assert_eq!(seeming.name(), "a=maybe");
            assert!(budget_s.is_some_and(|s| s > 0.0), "{budget_s:?}");
            assert!(bound > 0.25, "{bound}");
        }
        other => panic!("{other:?}"),
    }
}

/// One round of one setting would never be measured by itself.
#[test]
fn a_forecast_is_of_what_the_study_does() {
    let open = |deviation: f64, others: usize| {
        let names: Vec<String> = (0..others).map(|n| format!("b=other-{n}")).collect();
        let mut settings = vec![("", 100.0, 10.0, "same"), ("a=maybe", 90.0, 10.0, "same")];
        settings.extend(names.iter().map(|name| (name.as_str(), 95.0, 10.0, "same")));
        let mut judged = ablation(&settings);
        let all = judged.settings.iter_mut();
        for comparison in all.flat_map(|s| s.against.values_mut()) {
            comparison.verdict = Verdict::Open;
            comparison.deviation = deviation;
        }
        judged
    };
    let forecast = |judged: &Ablation| match advise(judged, Need::Cold) {
        Advice::Open { budget_s, .. } => budget_s,
        other => panic!("{other:?}"),
    };
    let process = |judged: &Ablation| process_ms(&judged.default).unwrap_or_default() / 1e3;
    let alone = open(0.05, 0);
    let seen = alone.settings[0].against[&Figure::ColdStart].samples;
    let needed = alone.settings[0].against[&Figure::ColdStart].rounds_needed();
    let look = LOOKS.into_iter().find(|look| *look > seen).unwrap_or(0);
    assert!(needed.is_some_and(|n| n <= look), "{needed:?}");
    // Both races up to the next look, of the default and the setting.
    let seconds = forecast(&alone).expect("a study tells");
    let least = look as f64 * 1.9 * process(&alone) / LEAST_SHARE;
    assert!(seconds >= least, "{seconds} s, and {least} s at least");
    // Others that may win are measured as well.
    let among = open(0.05, 8);
    let with_others = forecast(&among).expect("a study tells");
    assert!(with_others > 4.0 * seconds, "{with_others} and {seconds}");
    // It ends after its last look.
    let noisy = open(1.5, 0);
    let needed = noisy.settings[0].against[&Figure::ColdStart].rounds_needed();
    assert!(
        needed.is_none_or(|n| n > LOOKS[LOOKS.len() - 1]),
        "{needed:?}"
    );
    assert_eq!(forecast(&noisy), None);
}

#[test]
fn a_goal_is_met_or_not_or_open() {
    let goal = |interval| Goal {
        name: "pass 1",
        limit: 1.2,
        ratio: 1.1,
        interval,
    };
    assert_eq!(goal((1.0, 1.2)).reached(), Reached::Met);
    assert_eq!(goal((1.1, 1.3)).reached(), Reached::Open);
    assert_eq!(goal((1.3, 1.4)).reached(), Reached::NotMet);
}
