//! Whose arithmetic is an engine's? The outputs of engines, as a record has them, against those of a
//! referee under each of its rules.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use firstpass_probe::{Format, Knobs};
use serde::{Deserialize, Serialize};

use crate::record::{code::Code, sidecar::Sidecar};

/// Raised when the meaning of these files changes.
pub const VERSION: u32 = 1;

/// Where it is kept.
pub const SIDECAR: Sidecar = Sidecar {
    name: "referee",
    version: VERSION,
};

/// `run.json`: what the run was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefereeRun {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub code: Code,
    /// SHA-256 over the sources of each referee.
    pub referees: BTreeMap<String, String>,
    /// The photographs that engines were compared on.
    #[serde(rename = "photos")]
    pub samples: Vec<String>,
}

/// One output of an engine against the same of a referee under some rules, as one line of the referee's
/// file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub model: String,
    /// The referee's rules: its knobs, without those that have their default.
    pub rules: Knobs,
    /// The engine and the file that it read.
    pub backend: String,
    pub format: Format,
    pub output: String,
    /// Values compared, over all photographs.
    pub values: usize,
    /// Those that are the same quantization step.
    pub same: usize,
    /// The largest difference in steps.
    pub most_steps: u64,
}

/// A model that a referee does not compute: nothing is said of any engine there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub model: String,
    /// In the referee's own words.
    pub refused: String,
}

/// A line of a referee's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Compared(Box<Comparison>),
    Refused(Refusal),
}

/// All that was compared.
#[derive(Debug, Clone)]
pub struct Referee {
    pub run: RefereeRun,
    /// By referee.
    pub comparisons: BTreeMap<String, Vec<Comparison>>,
    /// Likewise.
    pub refusals: BTreeMap<String, Vec<Refusal>>,
}

/// Reads what was compared beside a record; `None` where nothing was.
///
/// # Errors
/// Fails where a file is there and cannot be read, or is of another version.
pub fn read(record: &Path) -> Result<Option<Referee>> {
    let Some((run, lines)) = SIDECAR.read(record)? else {
        return Ok(None);
    };
    let (mut comparisons, mut refusals) = (BTreeMap::new(), BTreeMap::new());
    for (referee, lines) in lines {
        let (mut compared, mut refused) = (Vec::new(), Vec::new());
        for line in lines {
            match line {
                Line::Compared(comparison) => compared.push(*comparison),
                Line::Refused(refusal) => refused.push(refusal),
            }
        }
        comparisons.insert(referee.clone(), compared);
        refusals.insert(referee, refused);
    }
    Ok(Some(Referee {
        run,
        comparisons,
        refusals,
    }))
}

/// How well an engine's outputs agree with a referee's under some rules.
#[derive(Debug, Clone, PartialEq)]
pub struct RulesVerdict {
    pub rules: Knobs,
    pub values: usize,
    pub same: usize,
    pub most_steps: u64,
}

impl RulesVerdict {
    pub fn is_exact(&self) -> bool {
        self.same == self.values
    }

    pub fn share(&self) -> f64 {
        self.same as f64 / self.values.max(1) as f64
    }
}

/// An engine on a model file, with the verdict of each set of rules, the best first.
#[derive(Debug, Clone)]
pub struct Engine {
    pub backend: String,
    pub format: Format,
    pub verdicts: Vec<RulesVerdict>,
}

/// The engines on each model. All outputs count together. Of rules that agree as well, those with the
/// fewest settings come first, so that the file as it is written comes before all; then those that were
/// tried first, which is the order in which the referee names them: what the standard defines before what
/// a library does.
pub fn judge(comparisons: &[Comparison]) -> BTreeMap<&str, Vec<Engine>> {
    // With the place of the first comparison.
    type OfRules<'a> = BTreeMap<&'a Knobs, (usize, RulesVerdict)>;
    let mut verdicts: BTreeMap<(&str, &str, Format), OfRules> = BTreeMap::new();
    for (place, comparison) in comparisons.iter().enumerate() {
        let engine = (
            comparison.model.as_str(),
            comparison.backend.as_str(),
            comparison.format,
        );
        let verdict = verdicts.entry(engine).or_default();
        let (_, verdict) = verdict.entry(&comparison.rules).or_insert_with(|| {
            let none = RulesVerdict {
                rules: comparison.rules.clone(),
                values: 0,
                same: 0,
                most_steps: 0,
            };
            (place, none)
        });
        verdict.values += comparison.values;
        verdict.same += comparison.same;
        verdict.most_steps = verdict.most_steps.max(comparison.most_steps);
    }
    let mut engines: BTreeMap<&str, Vec<Engine>> = BTreeMap::new();
    for ((model, backend, format), verdicts) in verdicts {
        let mut verdicts: Vec<(usize, RulesVerdict)> = verdicts.into_values().collect();
        verdicts.sort_by_key(|(place, verdict)| {
            let settings = verdict.rules.settings().count();
            (std::cmp::Reverse(verdict.same), settings, *place)
        });
        engines.entry(model).or_default().push(Engine {
            backend: backend.into(),
            format,
            verdicts: verdicts.into_iter().map(|(_, verdict)| verdict).collect(),
        });
    }
    engines
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn comparison(backend: &str, rules: &[(&str, &str)], same: usize) -> Comparison {
        let knobs = rules.iter();
        Comparison {
            model: "m".into(),
            rules: knobs.fold(Knobs::default(), |all, (name, value)| all.with(name, value)),
            backend: backend.into(),
            format: Format::ONNX,
            output: "y".into(),
            values: 10,
            same,
            most_steps: u64::from(same < 10),
        }
    }

    #[test]
    fn the_rules_that_agree_best_come_first_and_the_simplest_of_them() {
        let comparisons = [
            comparison("a", &[("rounding", "away")], 10),
            comparison("a", &[], 9),
            comparison("a", &[("rounding", "away"), ("sums", "pairs")], 10),
            comparison("b", &[], 10),
            comparison("b", &[("sums", "pairs")], 10),
        ];
        let judged = judge(&comparisons);
        let best: Vec<&RulesVerdict> = judged["m"]
            .iter()
            .map(|engine| &engine.verdicts[0])
            .collect();
        assert_eq!(best[0].rules, comparisons[0].rules);
        assert!(best[0].is_exact());
        assert_eq!(best[1].rules, Knobs::default());
        assert_eq!(judged["m"][0].verdicts[2].share(), 0.9);
    }

    /// Not those whose name comes first in the alphabet.
    #[test]
    fn of_rules_that_agree_as_well_the_first_that_was_tried_counts() {
        let [q, f] = ["qlinear", "fixed-point"];
        let tried = [
            comparison("a", &[], 9),
            comparison("a", &[("arithmetic", q)], 10),
            comparison("a", &[("arithmetic", f)], 10),
            comparison("a", &[("arithmetic", f), ("sums", "pairs")], 10),
            comparison("a", &[("arithmetic", q), ("sums", "pairs")], 10),
        ];
        let judged = judge(&tried);
        let rules: Vec<&Knobs> = judged["m"][0].verdicts.iter().map(|v| &v.rules).collect();
        let expected: Vec<&Knobs> = [1, 2, 3, 4, 0]
            .map(|place: usize| &tried[place].rules)
            .into();
        assert_eq!(rules, expected);
    }
}
