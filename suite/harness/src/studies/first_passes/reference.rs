//! With what the outputs of the engines on a model are compared, and how sure that is.

use anyhow::Result;
use firstpass_trial::{
    agreement::{Agreement, compare, pairs},
    expectation::{ByRule, apart},
    model::ModelDescription,
    observation::{Cell, Observation, Outcome},
    outputs::Outputs,
    setting::setting,
};
use serde::Serialize;

use crate::{record::Record, studies::first_passes::words::list};

/// What the outputs are compared with. What engines have in common may be wrong all the same: nobody is called
/// right for being near to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Golden outputs, and who gave them.
    Golden(String),
    /// The referee of this name, which computes what the file defines.
    Referee(String),
    /// Engines that agree with each other without their optimizations.
    Agreed {
        engines: Vec<String>,
        /// How the outputs of the referee differ from theirs, where it gives some that no engine gives: then it
        /// is as much under suspicion as they are.
        referee_differs: Vec<String>,
    },
    /// Several engines gave outputs, and nothing says who is right where they differ.
    Undecided {
        /// Engines that gave outputs without their optimizations: of fewer than two nobody knows whether they agree.
        unoptimized: usize,
    },
    /// Fewer than two gave outputs.
    Nothing,
}

/// The outputs that others are compared with, where there are some.
#[derive(Debug, Clone)]
pub struct Reference {
    pub kind: Kind,
    pub outputs: Option<Outputs>,
    /// What these are by other rules of rounding, where a referee gave both.
    pub by_rules: Vec<OutputsByRule>,
}

/// What outputs are compared with where there are no golden ones: `templates/said/explanation.md.j2` says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `referee`, `agreed`, `too-few`, `undecided` or `nothing`.
    kind: &'static str,
    /// Whether the referee also gave outputs by other rules of rounding.
    has_rules: bool,
    /// Who agrees.
    engines: Vec<String>,
}

/// What a referee gives by one of its rules of rounding.
#[derive(Debug, Clone)]
pub struct OutputsByRule {
    /// Its settings.
    pub name: String,
    /// See [`firstpass_trial::known::RoundingRule::halves`].
    pub halves: bool,
    pub outputs: Outputs,
}

/// What stands in for golden outputs in a record.
#[derive(Debug, Default)]
pub struct StandIns {
    /// The referee's name and its outputs.
    pub referee: Option<(String, Outputs)>,
    /// Its outputs by each of its rules of rounding.
    pub by_rules: Vec<OutputsByRule>,
    /// Each engine without its optimizations, by its label.
    pub plain: Vec<(String, Outputs)>,
}

impl Reference {
    pub fn golden(from: &str, outputs: Outputs) -> Self {
        Self {
            kind: Kind::Golden(from.into()),
            outputs: Some(outputs),
            by_rules: Vec::new(),
        }
    }

    /// The best of what there is: the referee, then engines that agree without their optimizations. `engines`
    /// is how many gave outputs.
    pub fn of(model: &ModelDescription, found: StandIns, engines: usize) -> Self {
        let agreeing = agreeing(model, &found.plain);
        let is_alone = |outputs: &Outputs| {
            let supports = |(_, plain): &(String, Outputs)| agree(model, outputs, plain);
            !agreeing.is_empty() && !found.plain.iter().any(supports)
        };
        let mut referee_differs = Vec::new();
        if let Some((name, outputs)) = found.referee {
            if !is_alone(&outputs) {
                return Self {
                    kind: Kind::Referee(name),
                    outputs: Some(outputs),
                    by_rules: found.by_rules,
                };
            }
            let of_engines = &found.plain[agreeing[0]].1;
            referee_differs = apart(
                model.precision,
                &compare(model, &pairs(of_engines, &outputs)),
            );
        }
        if let Some(&first) = agreeing.first() {
            let labels = agreeing.iter().map(|&place| found.plain[place].0.clone());
            return Self {
                kind: Kind::Agreed {
                    engines: labels.collect(),
                    referee_differs,
                },
                outputs: Some(found.plain[first].1.clone()),
                by_rules: Vec::new(),
            };
        }
        Self {
            kind: if engines > 1 {
                Kind::Undecided {
                    unoptimized: found.plain.len(),
                }
            } else {
                Kind::Nothing
            },
            outputs: None,
            by_rules: Vec::new(),
        }
    }

    /// How far each rule of rounding moves the outputs of a model.
    pub fn moved_by_rules(&self, model: &ModelDescription) -> Vec<Vec<Agreement>> {
        let Some(outputs) = &self.outputs else {
            return Vec::new();
        };
        let by_rules = self.by_rules.iter();
        let moved = by_rules.map(|by_rule| compare(model, &pairs(outputs, &by_rule.outputs)));
        moved.collect()
    }

    /// The rules of rounding for the outputs of an engine, after [`Self::moved_by_rules`].
    pub fn rules_for(
        &self,
        model: &ModelDescription,
        moved: &[Vec<Agreement>],
        own: &Outputs,
    ) -> Vec<ByRule> {
        let both = self.by_rules.iter().zip(moved);
        let rules = both.map(|(by_rule, moved)| ByRule {
            moved: moved.clone(),
            left: by_rule
                .halves
                .then(|| compare(model, &pairs(&by_rule.outputs, own))),
        });
        rules.collect()
    }

    /// The first rule of rounding by which the referee gives these very outputs, for all inputs that it has.
    pub fn rule_of(&self, own: &Outputs) -> Option<String> {
        let gives = |by_rule: &&OutputsByRule| {
            let both = pairs(&by_rule.outputs, own);
            !both.is_empty() && both.iter().all(|(by_rule, own)| by_rule == own)
        };
        let rule = self.by_rules.iter().find(gives);
        rule.map(|rule| rule.name.clone())
    }

    /// Whose outputs they are; `None` where there are none.
    pub fn name(&self) -> Option<String> {
        Some(match &self.kind {
            Kind::Golden(from) => from.clone(),
            Kind::Referee(_) => "the referee".into(),
            Kind::Agreed { engines, .. } => format!("{} without optimizations", words(engines)),
            Kind::Undecided { .. } | Kind::Nothing => return None,
        })
    }

    /// What was compared with what, for whoever reads a verdict; `None` with golden outputs, which need no
    /// explanation.
    pub fn explanation(&self) -> Option<Explanation> {
        let (kind, engines) = match &self.kind {
            Kind::Golden(_) => return None,
            Kind::Referee(_) => ("referee", Vec::new()),
            Kind::Agreed { engines, .. } => ("agreed", engines.clone()),
            Kind::Undecided { unoptimized: 0 | 1 } => ("too-few", Vec::new()),
            Kind::Undecided { .. } => ("undecided", Vec::new()),
            Kind::Nothing => ("nothing", Vec::new()),
        };
        Some(Explanation {
            kind,
            has_rules: !self.by_rules.is_empty(),
            engines,
        })
    }
}

fn words(labels: &[String]) -> String {
    list(&labels.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Whether outputs are equal, up to the rounding of f32, for all inputs that both have; no input in common is no
/// agreement.
pub fn agree(model: &ModelDescription, a: &Outputs, b: &Outputs) -> bool {
    let both = pairs(a, b);
    !both.is_empty() && apart(model.precision, &compare(model, &both)).is_empty()
}

/// The places of the most that all agree with each other; none where fewer than two do, or where as many others
/// agree on something else.
fn agreeing(model: &ModelDescription, outputs: &[(String, Outputs)]) -> Vec<usize> {
    let agree = |a: usize, b: usize| a == b || agree(model, &outputs[a].1, &outputs[b].1);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for first in 0..outputs.len() {
        let mut group: Vec<usize> = Vec::new();
        for other in 0..outputs.len() {
            let with_first = agree(first, other);
            if with_first && group.iter().all(|&member| agree(member, other)) {
                group.push(other);
            }
        }
        if group.len() > 1 && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    match &groups[..] {
        [] => Vec::new(),
        [largest, next, ..] if largest.len() == next.len() => Vec::new(),
        [largest, ..] => largest.clone(),
    }
}

/// What was kept of a model beside what the engines gave. `referees` are names of backends; `halves` says of which rules
/// of rounding [`OutputsByRule::halves`] holds.
///
/// # Errors
/// Fails where outputs are there and cannot be read.
pub fn stand_ins(
    record: &Record,
    model: &ModelDescription,
    referees: &[String],
    label: impl Fn(&Cell) -> String,
    halves: impl Fn(&str, &str) -> bool,
) -> Result<StandIns> {
    let names: Vec<String> = model.outputs.iter().map(|o| o.name.clone()).collect();
    let mut found = StandIns::default();
    for observation in observations(record, &model.name) {
        let cell = &observation.cell;
        if !observation.process.completed() {
            continue;
        }
        let Some(outputs) = record.outputs(cell, &names)? else {
            continue;
        };
        if referees.contains(&cell.backend) && !cell.is_default() {
            let name = setting(&cell.knobs);
            found.by_rules.push(OutputsByRule {
                halves: halves(&cell.backend, &name),
                name,
                outputs,
            });
        } else if referees.contains(&cell.backend) {
            found.referee = Some((cell.backend.clone(), outputs));
        } else {
            found.plain.push((label(cell), outputs));
        }
    }
    Ok(found)
}

/// Why the referee gives nothing for a model, with its name; `None` where it gave something or was not asked.
pub fn refusal<'a>(
    record: &'a Record,
    model: &str,
    referees: &[String],
) -> Option<(&'a str, &'a Outcome)> {
    let of_referee = |o: &&Observation| referees.contains(&o.cell.backend);
    let all: Vec<&Observation> = observations(record, model).filter(of_referee).collect();
    let failed = all.iter().find(|o| !o.process.completed())?;
    let gave_none = all.iter().all(|o| !o.process.completed());
    gave_none.then_some((failed.cell.backend.as_str(), &failed.process.outcome))
}

fn observations<'a>(record: &'a Record, model: &str) -> impl Iterator<Item = &'a Observation> {
    record.stand_ins().filter(move |o| o.cell.model == model)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use firstpass_probe::Tensor;
    use firstpass_trial::model::{OutputSpec, Precision};
    use minijinja::context;

    use super::*;
    use crate::page::template;

    /// One input with one output of these values.
    fn outputs(values: &[f32]) -> Outputs {
        let tensor =
            Tensor::new(&[values.len()], values.to_vec()).expect("one axis of their number");
        Outputs::from([("a".to_owned(), vec![tensor])])
    }

    fn model() -> ModelDescription {
        ModelDescription {
            outputs: vec![OutputSpec {
                name: "y".into(),
                ..OutputSpec::default()
            }],
            ..ModelDescription::for_tests(Precision::Fp32)
        }
    }

    fn kind(referee: Option<&[f32]>, plain: &[(&str, &[f32])]) -> Kind {
        let found = StandIns {
            referee: referee.map(|values| ("judge".to_owned(), outputs(values))),
            plain: plain
                .iter()
                .map(|(label, values)| ((*label).to_owned(), outputs(values)))
                .collect(),
            by_rules: Vec::new(),
        };
        Reference::of(&model(), found, 2).kind
    }

    fn agreed(labels: &[&str]) -> Kind {
        Kind::Agreed {
            engines: labels.iter().map(ToString::to_string).collect(),
            referee_differs: Vec::new(),
        }
    }

    const TRUTH: &[f32] = &[1.0, -2.0, 300.0];
    const OTHER: &[f32] = &[1.0, -3.0, 300.0];
    const ZERO: &[f32] = &[0.0, 0.0, 0.0];
    const WILD: &[f32] = &[1e9, -1e9, 1e9];

    #[test]
    fn the_referee_comes_before_any_number_of_engines() {
        let referee = || Kind::Referee("judge".into());
        assert_eq!(kind(Some(TRUTH), &[]), referee());
        let one = [("a", TRUTH), ("b", OTHER)];
        assert_eq!(kind(Some(TRUTH), &one), referee());
        assert_eq!(kind(Some(TRUTH), &[("b", OTHER), ("c", WILD)]), referee());
        // Whatever others have in common, as long as one engine gives the same.
        let most = [("a", OTHER), ("b", OTHER), ("c", OTHER), ("d", TRUTH)];
        assert_eq!(kind(Some(TRUTH), &most), referee());
    }

    /// Our own interpreter is a suspect like any engine.
    #[test]
    fn a_referee_that_is_alone_against_engines_that_agree_accuses_nobody() {
        let Kind::Agreed {
            engines,
            referee_differs,
        } = kind(Some(TRUTH), &[("a", OTHER), ("b", OTHER)])
        else {
            panic!("the engines stand in");
        };
        assert_eq!(engines, ["a", "b"]);
        assert!(
            referee_differs[0].starts_with("y: differs"),
            "{referee_differs:?}"
        );
    }

    #[test]
    fn two_that_agree_stand_in_whatever_a_third_gives() {
        assert_eq!(
            kind(None, &[("a", TRUTH), ("b", TRUTH)]),
            agreed(&["a", "b"])
        );
        for third in [ZERO, WILD, OTHER] {
            let found = kind(None, &[("a", third), ("b", TRUTH), ("c", TRUTH)]);
            assert_eq!(found, agreed(&["b", "c"]));
        }
    }

    #[test]
    fn nobody_is_right_for_being_nearest() {
        // With two engines an output of zeros was nearest to the other.
        let undecided = |unoptimized| Kind::Undecided { unoptimized };
        assert_eq!(kind(None, &[("a", ZERO), ("b", TRUTH)]), undecided(2));
        assert_eq!(
            kind(None, &[("a", TRUTH), ("b", OTHER), ("c", WILD)]),
            undecided(3)
        );
        // Two against two.
        let tied = [("a", TRUTH), ("b", TRUTH), ("c", OTHER), ("d", OTHER)];
        assert_eq!(kind(None, &tied), undecided(4));
        assert_eq!(kind(None, &[("a", TRUTH)]), undecided(1));
        let none = Reference::of(&model(), StandIns::default(), 1).kind;
        assert_eq!(none, Kind::Nothing);
    }

    #[test]
    fn each_kind_says_what_it_is_and_claims_no_more() -> Result<()> {
        let said = |kind: Kind| Reference {
            kind,
            outputs: None,
            by_rules: Vec::new(),
        };
        let agreed = said(agreed(&["a", "b"]));
        assert_eq!(
            agreed.name().as_deref(),
            Some("a and b without optimizations")
        );
        let explained = |reference: &Reference| -> Result<String> {
            let of = reference.explanation().context("no explanation")?;
            let text =
                "{% from 'said/explanation.md.j2' import explanation %}{{ explanation(of) }}";
            Ok(template::of_text("x.md.j2", text, context! { of })?)
        };
        assert!(explained(&agreed)?.contains("those that a and b give without"));
        assert!(explained(&agreed)?.contains("does not prove them right"));
        for (unoptimized, why) in [
            (2, "no two engines agree without"),
            (1, "fewer than two engines gave outputs without"),
            (0, "a longer `--budget`"),
        ] {
            let undecided = said(Kind::Undecided { unoptimized });
            assert_eq!(undecided.name(), None);
            let text = explained(&undecided)?;
            assert!(text.contains("cannot be told"), "{text}");
            assert!(text.contains(why), "{text}");
        }
        assert!(explained(&said(Kind::Nothing))?.contains("give the right ones with `--golden`."));
        let mut referee = said(Kind::Referee("r".into()));
        assert!(explained(&referee)?.ends_with("exactly and not fast."));
        referee.by_rules = vec![OutputsByRule {
            name: "half-even".into(),
            halves: false,
            outputs: Outputs::new(),
        }];
        assert!(explained(&referee)?.ends_with("is rounding, and no fault."));
        assert_eq!(said(Kind::Golden("x".into())).explanation(), None);
        Ok(())
    }
}
