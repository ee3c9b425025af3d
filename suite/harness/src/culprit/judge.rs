//! Whether a part of a model shows what is looked for.

use std::collections::BTreeMap;

use firstpass_probe::{Knobs, Tensor};
use firstpass_trial::{
    agreement::{Agreement, compare},
    expectation::apart,
    model::{ModelDescription, OutputSpec, StepSpec},
};

use crate::culprit::{Tensors, candidate::Candidate, first_pass::SlowFirst};

/// What is wrong with a model. Engines are named by their places among all that were started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Symptom {
    /// The outputs of an engine are not those of the reference.
    Differs(usize),
    /// Each of these engines fails, in these words: see [`super::engines::signature`].
    Fails(BTreeMap<usize, String>),
    /// The first pass of an engine takes many times as long as a steady one.
    SlowFirst(SlowFirst),
}

/// Whose outputs are right, or at least compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The referee, by the rules by which it computes the whole file.
    Referee(Knobs),
    /// Engines that agree with each other without their optimizations.
    Agreed(Vec<usize>),
    /// An engine without its optimizations: nobody says that it is right.
    Itself(usize),
}

/// How outputs differ from those of a reference, in words; nothing where they agree.
pub(crate) fn differences(
    description: &ModelDescription,
    candidate: &Candidate,
    expected: &Tensors,
    got: &Tensors,
) -> Vec<String> {
    apart(
        description.precision,
        &agreements(description, candidate, expected, got),
    )
}

/// The agreement on every output that both have.
pub(crate) fn agreements(
    description: &ModelDescription,
    candidate: &Candidate,
    expected: &Tensors,
    got: &Tensors,
) -> Vec<Agreement> {
    let both = candidate.outputs.iter();
    let both: Vec<(&String, &Tensor, &Tensor)> = both
        .filter_map(|name| Some((name, expected.get(name)?, got.get(name)?)))
        .collect();
    let outputs = both.iter().map(|(name, expected, _)| {
        let values = expected.data().len();
        let of_file = description.outputs.iter();
        let mut of_file = of_file.filter(|output| output.name == **name);
        let declared = of_file.find(|output| {
            let covered: usize = output.steps.iter().map(|step| step.elements).sum();
            covered == values || output.step.is_some()
        });
        declared.cloned().unwrap_or_else(|| OutputSpec {
            name: (*name).clone(),
            steps: Vec::from_iter(candidate.step(name).map(|scale| StepSpec {
                elements: values,
                scale: scale.into(),
            })),
            ..OutputSpec::default()
        })
    });
    let model = ModelDescription {
        outputs: outputs.collect(),
        ..description.clone()
    };
    let expected: Vec<Tensor> = both
        .iter()
        .map(|(_, tensor, _)| (*tensor).clone())
        .collect();
    let got: Vec<Tensor> = both
        .iter()
        .map(|(_, _, tensor)| (*tensor).clone())
        .collect();
    compare(&model, &[(&expected, &got)])
}
