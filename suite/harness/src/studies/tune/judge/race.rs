//! Who gets more rounds: settings that may still be recommended.
//!
//! After each look, a setting is out of the race for a need where it can no longer win it; out of both, it
//! gets no more rounds (successive halving: Karnin, Koren and Somekh, "Almost optimal exploration in
//! multi-armed bandits", ICML 2013; with claims instead of ranks, so that noise drops nobody). Looks are
//! those over which the level of a claim is spent.

use firstpass_probe::Need;
use firstpass_statistics::comparison::Verdict;

use crate::studies::{
    first_passes::judge::latency::Figure,
    tune::judge::{
        Ablation, OutputChange, Setting,
        recommend::{best, figures, helps},
    },
};

/// The rounds after which is looked, in all. Each is one of the looks that a comparison is planned for.
pub const LOOKS: [usize; 5] = [2, 4, 8, 16, 32];

/// How a setting stands for one need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It can no longer be recommended.
    Out,
    /// It helps, and how it compares with the best is told: more rounds would change nothing.
    Settled,
    /// More rounds may tell.
    Open,
}

/// How a setting stands for a need after a look.
pub fn standing(ablation: &Ablation, setting: &Setting, need: Need) -> Standing {
    let against_default = figures(need).map(|figure| setting.verdict(figure));
    let spoils = setting.failure.is_some()
        || setting.outputs != OutputChange::Same
        || setting.verdict(Figure::Steady).is_some() && !setting.is_harmless();
    let gains_nothing = |v: &Option<Verdict>| *v == Some(Verdict::NoDifference);
    if spoils
        || against_default.contains(&Some(Verdict::Slower))
        || against_default.iter().all(gains_nothing)
    {
        return Standing::Out;
    }
    let against_best = best(ablation, need)
        .filter(|best| best.knobs != setting.knobs)
        .map(|best| figures(need).map(|figure| verdict(ablation, setting, best, figure)));
    if let Some(verdicts) = &against_best
        && verdicts.iter().all(|v| *v == Verdict::Slower)
    {
        return Standing::Out;
    }
    let is_compared = against_best.is_none_or(|verdicts| !verdicts.contains(&Verdict::Open));
    let is_steady_known = setting.verdict(Figure::Steady) != Some(Verdict::Open);
    if helps(setting, need) && is_compared && is_steady_known {
        Standing::Settled
    } else {
        Standing::Open
    }
}

fn verdict(ablation: &Ablation, a: &Setting, b: &Setting, figure: Figure) -> Verdict {
    let comparison = ablation.compared(a, b, figure);
    comparison.map_or(Verdict::Open, |c| c.verdict)
}

/// The settings that get more rounds: all that are still in the race for a need in which something is
/// open. None where everything is told.
pub fn still_in_the_race(ablation: &Ablation) -> Vec<&Setting> {
    let is_open = |need: &Need| {
        let mut settings = ablation.settings.iter();
        settings.any(|s| standing(ablation, s, *need) == Standing::Open)
    };
    let open: Vec<Need> = Need::ALL.into_iter().filter(is_open).collect();
    let runs = |s: &&Setting| {
        let mut needs = open.iter();
        needs.any(|need| standing(ablation, s, *need) != Standing::Out)
    };
    ablation.settings.iter().filter(runs).collect()
}
