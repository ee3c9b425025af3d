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
mod tests;
