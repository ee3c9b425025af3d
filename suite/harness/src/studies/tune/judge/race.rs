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
pub const LOOKS: [usize; 6] = [2, 4, 8, 16, 32, 64];

/// As many rounds as the last look is after: a race has no more.
pub const MOST_ROUNDS: usize = LOOKS[LOOKS.len() - 1];

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
        || figures(need).into_iter().any(|f| setting.is_worse(f))
        || against_default.iter().all(gains_nothing)
    {
        return Standing::Out;
    }
    // One whose steady time may yet turn out to be spoilt drops nobody.
    let is_steady_known = |s: &Setting| s.verdict(Figure::Steady) != Some(Verdict::Open);
    let against_best = best(ablation, need)
        .filter(|best| best.knobs != setting.knobs && is_steady_known(best))
        .map(|best| figures(need).map(|figure| verdict(ablation, setting, best, figure)));
    if let Some(verdicts) = &against_best
        && verdicts.iter().all(|v| *v == Verdict::Slower)
    {
        return Standing::Out;
    }
    let is_compared = against_best.is_none_or(|verdicts| !verdicts.contains(&Verdict::Open));
    if helps(setting, need) && is_compared && is_steady_known(setting) {
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

#[cfg(test)]
mod tests {
    use firstpass_statistics::comparison::is_look;

    use super::*;
    use crate::studies::tune::judge::{simulation, tests::ablation};

    fn setting<'a>(ablation: &'a Ablation, name: &str) -> &'a Setting {
        let setting = ablation.settings.iter().find(|s| s.name() == name);
        setting.unwrap_or_else(|| panic!("no setting {name}"))
    }

    #[test]
    fn looks_are_those_that_the_level_of_a_claim_is_spent_over() {
        assert!(LOOKS.into_iter().all(is_look));
    }

    #[test]
    fn a_setting_is_out_or_settled_or_open() {
        let mut judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=best", 20.0, 10.0, "same"),
            ("b=worse-than-best", 60.0, 10.0, "same"),
            ("c=worse-than-default", 150.0, 10.0, "same"),
            ("d=nothing", 100.0, 10.0, "same"),
            ("e=wrong", 10.0, 10.0, "other"),
            ("f=open", 20.0, 10.0, "same"),
        ]);
        for setting in &mut judged.settings {
            if setting.name() == "f=open" {
                for comparison in setting.against.values_mut() {
                    comparison.verdict = Verdict::Open;
                }
            }
        }
        for need in Need::ALL {
            let standing = |name| standing(&judged, setting(&judged, name), need);
            assert_eq!(standing("a=best"), Standing::Settled);
            for out in ["c=worse-than-default", "d=nothing", "e=wrong"] {
                assert_eq!(standing(out), Standing::Out, "{out}");
            }
            assert_eq!(standing("f=open"), Standing::Open);
        }
        let cold = standing(&judged, setting(&judged, "b=worse-than-best"), Need::Cold);
        assert_eq!(cold, Standing::Out);
        let names: Vec<String> = still_in_the_race(&judged)
            .iter()
            .map(|s| s.name())
            .collect();
        assert!(names.contains(&"a=best".to_owned()) && names.contains(&"f=open".to_owned()));
        assert!(!names.contains(&"d=nothing".to_owned()), "{names:?}");
    }

    #[test]
    fn where_everything_is_told_nothing_gets_more_rounds() {
        let judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=best", 20.0, 10.0, "same"),
            ("d=nothing", 100.0, 10.0, "same"),
        ]);
        assert!(still_in_the_race(&judged).is_empty());
    }

    /// What the race saves: the winner has all rounds, a hopeless setting the first ones.
    #[test]
    fn rounds_go_to_settings_that_may_win() {
        let judged = simulation::race(1);
        let rounds = |name: &str| {
            let latency = setting(&judged, name).latency.as_ref();
            latency.map_or(0, |latency| latency.processes.len())
        };
        assert!(rounds("hopeless=on") <= 4, "{}", rounds("hopeless=on"));
        assert!(rounds("cold=on") >= 8, "{}", rounds("cold=on"));
    }
}
