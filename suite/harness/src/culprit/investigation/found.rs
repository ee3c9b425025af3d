//! What was found to be wrong, and with what outputs were compared.

use std::collections::BTreeMap;

use firstpass_probe::Knobs;
use firstpass_trial::{
    agreement::{Agreement, compare, pairs},
    expectation::{ExpectationVerdict, apart, differences as beyond_rounding},
    model::ModelDescription,
    observation::Outcome,
    outputs::Outputs,
};
use serde::Serialize;

use crate::{
    culprit::{Reference, Symptom, engines::signature},
    studies::first_passes::reference::{self, Kind},
};

/// What is wrong with the model.
#[derive(Debug)]
pub struct Found {
    /// Of each engine, in the order of `Engines::all`.
    pub verdicts: Vec<Verdict>,
    /// With what outputs were compared.
    pub compared: reference::Reference,
    /// What the outputs of a part of the model can be compared with.
    pub reference: Option<Reference>,
    /// The worst first.
    pub symptoms: Vec<Symptom>,
    /// How what the file defines, after the referee, differs from golden outputs; nothing where it does not.
    pub golden_against_referee: Vec<String>,
    /// By what the referee gives the golden outputs, where it does not as the file is written.
    pub golden_rule: Option<ByGoldenRule>,
}

/// How the referee computes where it gives golden outputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ByGoldenRule {
    /// Its settings, as they are typed.
    pub name: String,
    /// What is computed so, and by whom.
    pub reason: String,
    #[serde(skip)]
    pub rules: Knobs,
}

/// How an engine did.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Agrees,
    /// From the reference, in words.
    Differs(Vec<String>),
    /// By no more than rules of rounding that published engines follow, which is no fault.
    Rounds {
        /// From the reference, in words.
        differences: Vec<String>,
        /// The rule by which the referee gives its very outputs, where one does.
        rule: Option<String>,
    },
    /// With its optimizations from itself without, where nothing says who is right.
    DiffersFromItself(Vec<String>),
    Fails(Outcome),
    /// It gave outputs, and there is nothing to compare them with.
    Open,
    /// It reads no file of this model, or is not here.
    NotAsked(String),
}

impl Found {
    /// What the outputs of parts are compared with, for a symptom.
    pub fn reference_of(&self, symptom: &Symptom) -> Option<Reference> {
        match (symptom, &self.reference) {
            (Symptom::Fails(_) | Symptom::SlowFirst(_), reference) => reference.clone(),
            (Symptom::Differs(_), Some(reference)) => Some(reference.clone()),
            (Symptom::Differs(place), None) => match self.verdicts.get(*place) {
                Some(Verdict::DiffersFromItself(_)) => Some(Reference::Itself(*place)),
                _ => None,
            },
        }
    }
}

pub(super) fn agreements_of(
    model: &ModelDescription,
    compared: &reference::Reference,
    got: &Outputs,
) -> Option<Vec<Agreement>> {
    let expected = compared.outputs.as_ref()?;
    Some(compare(model, &pairs(expected, got)))
}

pub(super) fn differences_of(
    model: &ModelDescription,
    compared: &reference::Reference,
    agreements: &[Agreement],
) -> Vec<String> {
    match compared.kind {
        Kind::Golden(_) => beyond_rounding(agreements),
        _ => apart(model.precision, agreements),
    }
}

/// How outputs compare with those of a reference; `None` where that has none.
pub(super) fn against(
    model: &ModelDescription,
    compared: &reference::Reference,
    got: &Outputs,
) -> Option<Verdict> {
    let agreements = agreements_of(model, compared, got)?;
    let differences = differences_of(model, compared, &agreements);
    if differences.is_empty() {
        return Some(Verdict::Agrees);
    }
    let rules = compared.rules_for(model, &compared.moved_by_rules(model), got);
    let verdict = ExpectationVerdict::Differs(differences.clone())
        .within_rules(model.precision, &agreements, &rules)
        .following(compared.rule_of(got));
    Some(match verdict {
        ExpectationVerdict::OtherRounding { differences, rule } => {
            Verdict::Rounds { differences, rule }
        }
        _ => Verdict::Differs(differences),
    })
}

/// Differences first, then those who fail, all together where no engine gives outputs.
pub(super) fn symptoms(verdicts: &[Verdict]) -> Vec<Symptom> {
    let places = verdicts.iter().enumerate();
    let mut found: Vec<Symptom> = places
        .clone()
        .filter(|(_, verdict)| {
            matches!(verdict, Verdict::Differs(_) | Verdict::DiffersFromItself(_))
        })
        .map(|(place, _)| Symptom::Differs(place))
        .collect();
    let failed = places.filter_map(|(place, verdict)| match verdict {
        Verdict::Fails(outcome) => Some((place, signature(outcome))),
        _ => None,
    });
    let failed: BTreeMap<usize, String> = failed.collect();
    let gave = |verdict: &Verdict| !matches!(verdict, Verdict::Fails(_) | Verdict::NotAsked(_));
    if failed.len() > 1 && !verdicts.iter().any(gave) {
        found.push(Symptom::Fails(failed.clone()));
    }
    let alone = failed.into_iter();
    found.extend(alone.map(|one| Symptom::Fails(BTreeMap::from([one]))));
    found
}
