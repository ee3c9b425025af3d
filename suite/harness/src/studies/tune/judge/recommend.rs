//! What to recommend: one setting for a process that answers a few times, one for a service.
//!
//! A setting is recommended only where a comparison with the default claims that it helps. Where none
//! does, what is known all the same is a bound on what any setting gains, and how much longer it would
//! take to tell.

use firstpass_probe::{Knobs, Need, WARM_UP, warm_up_passes};
use firstpass_statistics::{
    comparison::{Comparison, Verdict},
    median,
};

use crate::studies::{
    first_passes::{
        judge::latency::{Figure, Latency},
        measure::OUTPUTS_SHARE,
    },
    tune::judge::{
        Ablation, COLD_START_GOAL, FIRST_GOAL, SECOND_GOAL, Setting,
        race::{LOOKS, still_in_the_race},
    },
};

/// The share of a budget that settings one at a time get.
pub const SCREENING: f64 = 0.55;

/// The share of a budget that every race has at least: the second has what the first leaves.
const LEAST_SHARE: f64 = 1.0 - SCREENING;

/// The answer to: which setting for this need?
#[derive(Debug)]
pub enum Advice<'a> {
    Use(&'a Setting),
    /// Some setting may help.
    Open {
        /// The one that seems to help most.
        seeming: &'a Setting,
        /// The `--budget` with which a study of this engine alone would probably tell; `None` where all its rounds
        /// would not.
        budget_s: Option<f64>,
        /// No setting gains more than this share.
        bound: f64,
    },
    /// No setting helps so much that it matters.
    Nothing {
        /// No setting gains more than this share; `None` where no setting keeps outputs and steady time.
        bound: Option<f64>,
    },
}

/// What settings for a need are judged by. The first is what it is about. Early passes of a service are taken in units
/// of the steady time of their own process: that a setting changes that is another question, and a process on a slower
/// core hides neither.
pub(crate) fn figures(need: Need) -> [Figure; 2] {
    match need {
        Need::Cold => [Figure::ColdStart, Figure::ThreeAnswers],
        Need::Serve => [Figure::FirstOverSteady, Figure::SecondOverSteady],
    }
}

/// Judges what is known of all settings of an engine for one need.
pub fn advise(ablation: &Ablation, need: Need) -> Advice<'_> {
    if let Some(setting) = recommended(ablation, need) {
        return Advice::Use(setting);
    }
    let possible = || ablation.settings.iter().filter(|s| may_help(s, need));
    let bound = possible()
        .filter_map(|s| Some(1.0 - s.against.get(&figures(need)[0])?.interval.0))
        .reduce(f64::max)
        .map(|gain| gain.max(0.0));
    let is_open = |s: &&Setting| {
        let told = [Some(Verdict::NoDifference), None];
        let seems_faster = score(s, need) < 0.0;
        seems_faster && figures(need).iter().any(|f| !told.contains(&s.verdict(*f)))
    };
    let seeming = possible().filter(is_open);
    let seeming = seeming.min_by(|a, b| score(a, need).total_cmp(&score(b, need)));
    match (seeming, bound) {
        (Some(seeming), Some(bound)) => Advice::Open {
            seeming,
            budget_s: budget_to_tell(ablation, seeming, need),
            bound,
        },
        _ => Advice::Nothing { bound },
    }
}

/// The setting to use: of those that are told to help, and are not told to be worse than the best of them, the
/// one that misses the fewest goals, then has the fewest knobs, then the fewest warm-up passes. A further
/// knob or pass is worth its trouble only where what it gives can be told.
pub fn recommended(ablation: &Ablation, need: Need) -> Option<&Setting> {
    let best = best(ablation, need)?;
    let missed = |s: &Setting| {
        let goals = goals(ablation, Some(s), need);
        goals
            .iter()
            .filter(|goal| goal.reached() == Reached::NotMet)
            .count()
    };
    let effort = |s: &Setting| {
        let passes = warm_up_passes(&s.knobs).unwrap_or(1);
        (missed(s), s.knobs.settings().count(), passes)
    };
    let helpful = ablation.settings.iter().filter(|s| helps(s, need));
    let as_good = helpful.filter(|s| {
        let worse = |figure: &Figure| {
            let comparison = ablation.compared(s, best, *figure);
            comparison.is_some_and(|c| c.verdict == Verdict::Slower)
        };
        !figures(need).iter().any(worse)
    });
    as_good.min_by(|a, b| {
        let by_effort = effort(a).cmp(&effort(b));
        by_effort.then(score(a, need).total_cmp(&score(b, need)))
    })
}

/// Of the settings that are told to help the one that seems best.
pub(crate) fn best(ablation: &Ablation, need: Need) -> Option<&Setting> {
    let helpful = ablation.settings.iter().filter(|s| helps(s, need));
    helpful.min_by(|a, b| score(a, need).total_cmp(&score(b, need)))
}

/// Told to be faster than the default by a figure of the need, slower by none, at no other cost.
pub(crate) fn helps(setting: &Setting, need: Need) -> bool {
    let faster = |f: &Figure| setting.verdict(*f) == Some(Verdict::Faster);
    setting.keeps_steady() && may_help(setting, need) && figures(need).iter().any(faster)
}

/// Nothing that was told speaks against it.
fn may_help(setting: &Setting, need: Need) -> bool {
    let is_worse = figures(need).into_iter().any(|f| setting.is_worse(f));
    setting.failure.is_none() && setting.is_harmless() && !is_worse
}

/// The lower the better; below 0 where it seems faster than the default. Of a cold start the first and the
/// third answer count alike; of a service its first request.
fn score(setting: &Setting, need: Need) -> f64 {
    let ratio = |figure| {
        setting
            .against
            .get(&figure)
            .map_or(f64::INFINITY, |c| c.ratio)
    };
    let [first, second] = figures(need);
    match need {
        Need::Cold => (ratio(first) * ratio(second)).ln(),
        Need::Serve => ratio(first).ln(),
    }
}

/// The budget with which a study of this engine alone would probably tell what is open of a setting. It measures no
/// setting by itself: a round is one process of each setting that may still win, and it judges at its looks only.
fn budget_to_tell(ablation: &Ablation, setting: &Setting, need: Need) -> Option<f64> {
    let [first, second] = figures(need);
    let figures = [first, second, Figure::Steady];
    let comparisons = figures.iter().filter_map(|f| setting.against.get(f));
    let open = comparisons.filter(|c| c.verdict == Verdict::Open);
    let rounds: Option<Vec<usize>> = open.map(Comparison::rounds_needed).collect();
    let rounds = rounds?.into_iter().max()?;
    let look = LOOKS.into_iter().find(|look| *look >= rounds)?;
    let default = process_ms(&ablation.default)?;
    // One that was not timed yet takes about as long as the default.
    let round = |settings: &[&Setting]| {
        let processes = settings.iter().map(|s| s.latency.as_ref());
        let ms = processes.map(|latency| latency.and_then(process_ms).unwrap_or(default));
        default + ms.sum::<f64>()
    };
    let all: Vec<&Setting> = ablation.settings.iter().collect();
    let first_rounds = LOOKS[0] as f64 * round(&all) / (1.0 - OUTPUTS_SHARE);
    let later_rounds = (look - LOOKS[0]) as f64 * round(&still_in_the_race(ablation));
    Some((first_rounds + later_rounds) / LEAST_SHARE / 1e3)
}

/// What a process of a cell takes from its spawn to its last pass.
fn process_ms(latency: &Latency) -> Option<f64> {
    let processes = latency.processes.iter();
    median(processes.filter_map(|p| {
        let later: f64 = p.times.get(1..)?.iter().sum();
        Some(p.cold_start? + later)
    }))
}

/// What a setting should reach, and how far it is known to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    pub name: &'static str,
    /// At most this many times what it is compared with.
    pub limit: f64,
    pub ratio: f64,
    /// The 95 % interval of the ratio.
    pub interval: (f64, f64),
}

/// Whether a goal is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Met,
    NotMet,
    Open,
}

impl Goal {
    fn of(name: &'static str, limit: f64, comparison: Comparison) -> Self {
        Self {
            name,
            limit,
            ratio: comparison.ratio,
            interval: comparison.interval,
        }
    }

    pub fn reached(&self) -> Reached {
        let (low, high) = self.interval;
        if high <= self.limit {
            Reached::Met
        } else if low > self.limit {
            Reached::NotMet
        } else {
            Reached::Open
        }
    }
}

/// The goals of a need, of a setting or (`None`) of the default. The cold start of the default has none: it
/// is what others are compared with.
pub fn goals(ablation: &Ablation, setting: Option<&Setting>, need: Need) -> Vec<Goal> {
    let latency = match setting {
        Some(setting) => setting.latency.as_ref(),
        None => Some(&ablation.default),
    };
    match need {
        Need::Cold => {
            let cold = setting.and_then(|s| s.against.get(&Figure::ColdStart));
            let goal = cold.map(|c| Goal::of("cold start", COLD_START_GOAL, *c));
            goal.into_iter().collect()
        }
        Need::Serve => {
            let first = latency.and_then(|l| l.first_over_steady);
            let second = latency.and_then(|l| l.second_over_steady);
            let first = first.map(|pass| Goal::of("pass 1", FIRST_GOAL, pass.0));
            let second = second.map(|pass| Goal::of("pass 2", SECOND_GOAL, pass.0));
            first.into_iter().chain(second).collect()
        }
    }
}

/// The same settings with other numbers of warm-up passes, the fewest first: what each further one gives,
/// and what it costs at the start. `None` stands for the default.
pub fn warm_up_steps<'a>(
    ablation: &'a Ablation,
    setting: &Setting,
) -> Vec<(usize, Option<&'a Setting>)> {
    let others = |knobs: &Knobs| -> Knobs {
        let settings = knobs.settings();
        settings.filter(|(name, _)| *name != WARM_UP).collect()
    };
    let base = others(&setting.knobs);
    let same = ablation
        .settings
        .iter()
        .filter(|s| others(&s.knobs) == base);
    let same = same.filter(|s| s.latency.is_some());
    let mut steps: Vec<(usize, Option<&Setting>)> = same
        .filter_map(|s| Some((warm_up_passes(&s.knobs)?, Some(s))))
        .collect();
    if base == Knobs::default() {
        steps.push((0, None));
    }
    steps.sort_by_key(|(passes, _)| *passes);
    steps
}

/// Whether more warm-up passes than a setting has were tried and none of them is told to be better.
pub fn warm_up_suffices(ablation: &Ablation, setting: &Setting) -> bool {
    let own = warm_up_passes(&setting.knobs);
    let steps = warm_up_steps(ablation, setting).into_iter();
    let mut more = steps
        .filter(|(passes, _)| Some(*passes) > own)
        .filter_map(|(_, other)| other)
        .peekable();
    let is_better = |other: &Setting| {
        figures(Need::Serve).into_iter().any(|figure| {
            let comparison = ablation.compared(setting, other, figure);
            comparison.is_some_and(|c| c.verdict == Verdict::Slower)
        })
    };
    more.peek().is_some() && !more.any(is_better)
}

#[cfg(test)]
mod tests {
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
            comparison.deviation = 0.5;
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
            needed.is_some_and(|n| n > LOOKS[LOOKS.len() - 1]),
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
}
