//! The rules of a referee: its knobs, and the sets of their values that are tried.

use firstpass_probe::{ALLOCATOR, Knob, Knobs, THREADS, WARM_UP};

/// The knob of a referee that is no rule: for a single layer it gives the lowest or the highest that sums
/// in f32 may be.
pub const F32_SUMS: &str = "f32-sums";

/// The knob of a referee that is no rule either: it moves floats by some roundings, as no engine does to the bit.
pub const F32_NOISE: &str = "f32-noise";

/// Of one set of rules.
const MOST_SETTINGS: usize = 2;

/// Every value of a referee's own knobs by itself and every two of them together; those that have their
/// default are not named, and the first has only these. A value that the referee names before another
/// comes before it, which decides between rules that agree as well.
pub fn rules(knobs: &[Knob]) -> Vec<Knobs> {
    let no_rules = [THREADS, ALLOCATOR, WARM_UP, F32_SUMS, F32_NOISE];
    let own = knobs
        .iter()
        .filter(|knob| !no_rules.contains(&knob.name.as_str()));
    let all = own.fold(vec![Knobs::default()], |all, knob| {
        let with = |value: &String| -> Vec<Knobs> {
            let set = |rules: &Knobs| {
                if *value == knob.default {
                    rules.clone()
                } else {
                    rules.clone().with(&knob.name, value)
                }
            };
            all.iter().map(set).collect()
        };
        knob.words().iter().flat_map(with).collect()
    });
    let few = |rules: &Knobs| rules.settings().count() <= MOST_SETTINGS;
    all.into_iter().filter(few).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::setting as name;

    #[test]
    fn every_rule_is_tried_by_itself_and_with_each_other_once() {
        let knobs = [
            Knob::threads(""),
            Knob::choice("rounding", &["even", "away"], ""),
            Knob::choice(WARM_UP, &["none", "full"], ""),
            Knob::choice("sums", &["exact", "pairs", "quads"], ""),
            Knob::choice(F32_SUMS, &["off", "lowest", "highest"], ""),
            Knob::choice(F32_NOISE, &["off", "first"], ""),
            Knob::choice("bias", &["float", "int"], ""),
        ];
        let rules = rules(&knobs);
        // None, four by themselves, and five pairs of different knobs.
        assert_eq!(rules.len(), 1 + 4 + 5);
        let names: Vec<String> = rules.iter().map(name).collect();
        assert_eq!(names[..2], ["default", "rounding=away"]);
        let place = |name: &str| names.iter().position(|n| n == name);
        assert!(place("sums=pairs") < place("sums=quads"));
        assert!(
            names.contains(&"rounding=away, sums=quads".to_owned()),
            "{names:?}"
        );
    }
}
