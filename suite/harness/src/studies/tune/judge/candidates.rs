//! Which settings are worth measuring: every one by itself, then the promising ones together.

use std::collections::{BTreeMap, BTreeSet};

use firstpass_probe::{Description, Knob, Knobs, WARM_UP, warm_up_passes};

use crate::studies::{first_passes::judge::latency::Figure, tune::judge::Ablation};

/// How many knobs are measured by themselves again.
const BEST_SINGLES: usize = 3;

/// How many knobs are combined all at once: each more costs two settings to measure.
const MOST_COMBINED: usize = 5;

/// The warm-up passes that are tried with the best settings.
const WARM_UPS: [&str; 3] = ["full", "full-2", "full-3"];

/// Every word of every knob but its default, one at a time. A number has none: the number of threads
/// is what settings are compared at.
pub fn one_at_a_time(description: &Description) -> Vec<Knobs> {
    let others = |knob: &Knob| -> Vec<Knobs> {
        let words = knob.words().iter().filter(|word| **word != knob.default);
        words
            .map(|word| Knobs::default().with(&knob.name, word))
            .collect()
    };
    description.knobs.iter().flat_map(others).collect()
}

/// Which combinations are worth measuring, from the settings one at a time, of each promising knob its
/// best value: the best by themselves; the best with each other one, and the best two with each other
/// one, because knobs that mend the same are of no use together; the best all at once, and all but one.
/// With warm-up passes the default, the best, the best two, and the best all at once: so that a goal which
/// takes such passes is not reached by many knobs only.
///
/// `likely` are settings that helped on another model. They are tried unless one of them is known to do harm
/// here, so that there is something to say where the time was too short to try each setting.
pub fn combinations(ablations: &[&Ablation], likely: &[Knobs]) -> Vec<Knobs> {
    let mut best: BTreeMap<String, (f64, Knobs)> = BTreeMap::new();
    for setting in ablations.iter().flat_map(|a| &a.settings) {
        let harmless = ablations.iter().all(|a| {
            let same = a.settings.iter().find(|s| s.knobs == setting.knobs);
            same.is_none_or(|s| s.failure.is_none() && s.is_harmless())
        });
        let Some((knob, _)) = setting.knobs.settings().next() else {
            continue;
        };
        let Some(ratio) = setting.against.get(&Figure::ThreeAnswers).map(|c| c.ratio) else {
            continue;
        };
        // Warm-up passes mend first passes in any company, and are added to the best of it below.
        let warms_up = warm_up_passes(&setting.knobs).is_some_and(|passes| passes > 0);
        if !harmless || !setting.is_promising() || warms_up {
            continue;
        }
        let entry = best.entry(knob.to_owned());
        let entry = entry.or_insert_with(|| (ratio, setting.knobs.clone()));
        if ratio < entry.0 {
            *entry = (ratio, setting.knobs.clone());
        }
    }
    let mut singles: Vec<(f64, Knobs)> = best.into_values().collect();
    singles.sort_by(|a, b| a.0.total_cmp(&b.0));
    let singles: Vec<Knobs> = singles.into_iter().map(|(_, knobs)| knobs).collect();
    let together = &singles[..singles.len().min(MOST_COMBINED)];
    let all_but = |left_out: Option<usize>| {
        let kept = together.iter().enumerate();
        kept.filter(|(at, _)| Some(*at) != left_out)
            .fold(Knobs::default(), |all, (_, knobs)| all.and(knobs))
    };
    let mut combined: BTreeSet<Knobs> = singles.iter().take(BEST_SINGLES).cloned().collect();
    let mut to_warm_up = BTreeSet::from([Knobs::default(), all_but(None)]);
    if let [first, second, others @ ..] = &singles[..] {
        let both = first.clone().and(second);
        for other in others {
            combined.insert(first.clone().and(other));
            combined.insert(both.clone().and(other));
        }
        combined.insert(both.clone());
        combined.insert(all_but(None));
        combined.extend((0..together.len()).map(|at| all_but(Some(at))));
        to_warm_up.extend([first.clone(), both]);
    }
    let is_harmful = |knobs: &Knobs| {
        let settings = ablations.iter().flat_map(|a| &a.settings);
        let mut parts =
            settings.filter(|s| s.knobs.settings().all(|(k, v)| knobs.get(k) == Some(v)));
        parts.any(|s| s.failure.is_some() || !s.against.is_empty() && !s.is_harmless())
    };
    combined.extend(likely.iter().filter(|knobs| !is_harmful(knobs)).cloned());
    for knobs in to_warm_up {
        combined.extend(WARM_UPS.map(|word| knobs.clone().with(WARM_UP, word)));
    }
    combined.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use firstpass_probe::EngineInfo;

    use super::*;
    use crate::{page::numbers::setting, studies::tune::judge::tests::ablation};

    #[test]
    fn promising_knobs_are_combined() {
        let judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=good", 40.0, 10.0, "same"),
            ("a=better", 30.0, 10.0, "same"),
            ("b=good", 50.0, 10.0, "same"),
            ("c=wrong", 20.0, 10.0, "other"),
        ]);
        let names: Vec<String> = combinations(&[&judged], &[]).iter().map(setting).collect();
        assert_eq!(
            names,
            [
                "a=better",
                "a=better, b=good",
                "a=better, b=good, warm-up=full",
                "a=better, b=good, warm-up=full-2",
                "a=better, b=good, warm-up=full-3",
                "a=better, warm-up=full",
                "a=better, warm-up=full-2",
                "a=better, warm-up=full-3",
                "b=good",
                "warm-up=full",
                "warm-up=full-2",
                "warm-up=full-3",
            ]
        );
    }

    #[test]
    fn where_nothing_is_promising_warm_up_passes_are_tried_all_the_same() {
        let judged = ablation(&[("", 100.0, 10.0, "same"), ("a=x", 100.0, 10.0, "same")]);
        let names: Vec<String> = combinations(&[&judged], &[]).iter().map(setting).collect();
        assert_eq!(names, ["warm-up=full", "warm-up=full-2", "warm-up=full-3"]);
    }

    #[test]
    fn what_helped_elsewhere_is_tried_unless_it_does_harm_here() {
        let judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=slower", 100.0, 15.0, "same"),
            ("b=wrong", 20.0, 10.0, "other"),
        ]);
        let likely = ["a=slower,c=x", "b=wrong,c=x", "c=x,d=y"].map(|pairs| {
            let pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
            pairs.fold(Knobs::default(), |all, (k, v)| all.with(k, v))
        });
        let names = |ablations: &[&Ablation]| -> Vec<String> {
            let combined = combinations(ablations, &likely);
            combined.iter().map(setting).collect()
        };
        let warm_ups = ["warm-up=full", "warm-up=full-2", "warm-up=full-3"];
        assert_eq!(names(&[&judged]), [&["c=x, d=y"][..], &warm_ups].concat());
        assert_eq!(names(&[]).len(), likely.len() + warm_ups.len());
    }

    #[test]
    fn every_value_but_the_default_is_tried_by_itself() {
        let knobs = vec![
            Knob::threads(""),
            Knob::choice("fusion", &["on", "off", "some"], ""),
        ];
        let description = Description::new(EngineInfo::new("1", "x 1"), Vec::new(), knobs);
        let names: Vec<String> = one_at_a_time(&description).iter().map(setting).collect();
        assert_eq!(names, ["fusion=off", "fusion=some"]);
    }
}
