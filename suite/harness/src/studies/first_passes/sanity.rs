//! What outputs say of themselves: whether they are numbers, and whether they depend on the input.

use firstpass_probe::Tensor;
use firstpass_trial::{
    agreement::{Agreement, compare},
    expectation::differences,
    model::ModelDescription,
    outputs::Outputs,
};

/// How many values of an output are NaN or infinite, over all inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFinite {
    pub output: String,
    pub not_finite: usize,
    pub values: usize,
}

/// Every output that holds values which are no numbers.
pub fn not_finite(model: &ModelDescription, outputs: &Outputs) -> Vec<NotFinite> {
    let of_output = |(number, name): (usize, &String)| {
        let tensors = outputs.values().filter_map(|tensors| tensors.get(number));
        let (mut not_finite, mut values) = (0, 0);
        for tensor in tensors {
            let all = tensor.data().to_f64s();
            values += all.len();
            not_finite += all.iter().filter(|value| !value.is_finite()).count();
        }
        NotFinite {
            output: name.clone(),
            not_finite,
            values,
        }
    };
    let names = model.outputs.iter().map(|output| &output.name);
    let found = names.enumerate().map(of_output);
    found.filter(|found| found.not_finite > 0).collect()
}

/// The outputs that are the same for all inputs, up to the rounding of f32; of a single input those that are 0
/// everywhere. That engines agree on these says little.
pub fn independent_of_input(model: &ModelDescription, outputs: &Outputs) -> Vec<String> {
    let mut inputs = outputs.values();
    let Some(first) = inputs.next() else {
        return Vec::new();
    };
    let others: Vec<(&[Tensor], &[Tensor])> = inputs
        .map(|other| (first.as_slice(), other.as_slice()))
        .collect();
    let no_numbers = not_finite(model, outputs);
    let names = model.outputs.iter().map(|output| output.name.clone());
    if others.is_empty() {
        let is_zero = |tensor: &Tensor| {
            let values = tensor.data().to_f64s();
            values.len() > 1 && values.iter().all(|value| *value == 0.0)
        };
        let zeros = names.zip(first).filter(|(_, tensor)| is_zero(tensor));
        return zeros.map(|(name, _)| name).collect();
    }
    let is_same = |agreement: &Agreement| {
        agreement.values > 0 && differences(std::slice::from_ref(agreement)).is_empty()
    };
    let compared = compare(model, &others);
    let same = names.zip(&compared).filter(|(_, a)| is_same(a));
    // Of values that are no numbers worse is said than that.
    let is_number = |name: &String| no_numbers.iter().all(|found| found.output != *name);
    same.map(|(name, _)| name).filter(is_number).collect()
}

#[cfg(test)]
mod tests {
    use firstpass_trial::model::{OutputSpec, Precision};

    use super::*;

    fn model() -> ModelDescription {
        let output = |name: &str| OutputSpec {
            name: name.into(),
            ..OutputSpec::default()
        };
        ModelDescription {
            outputs: vec![output("y"), output("z")],
            ..ModelDescription::for_tests(Precision::Fp32)
        }
    }

    fn outputs(inputs: &[[&[f32]; 2]]) -> Outputs {
        let tensor = |values: &[f32]| {
            Tensor::new(&[values.len()], values.to_vec()).expect("one axis of their number")
        };
        let named = inputs.iter().enumerate();
        named
            .map(|(number, [y, z])| (number.to_string(), vec![tensor(y), tensor(z)]))
            .collect()
    }

    #[test]
    fn values_that_are_no_numbers_are_counted_by_output() {
        let found = not_finite(
            &model(),
            &outputs(&[[&[1.0, f32::NAN], &[1.0]], [&[f32::INFINITY, 2.0], &[1.0]]]),
        );
        assert_eq!(
            found,
            [NotFinite {
                output: "y".into(),
                not_finite: 2,
                values: 4
            }]
        );
        assert!(not_finite(&model(), &outputs(&[[&[1.0], &[2.0]]])).is_empty());
    }

    #[test]
    fn an_output_that_is_the_same_for_every_input_is_named() {
        let same = |inputs| independent_of_input(&model(), &outputs(inputs));
        assert_eq!(same(&[[&[1.0, 2.0], &[3.0]], [&[1.0, 2.0], &[4.0]]]), ["y"]);
        // Hardly.
        assert_eq!(
            same(&[[&[1.0, 2.0], &[3.0]], [&[1.00001, 2.0], &[4.0]]]),
            ["y"]
        );
        assert!(same(&[[&[1.0, 2.0], &[3.0]], [&[1.1, 2.0], &[4.0]]]).is_empty());
        // Of one input only zeros tell.
        assert_eq!(same(&[[&[0.0, 0.0], &[3.0]]]), ["y"]);
        assert!(same(&[[&[1.0, 1.0], &[0.0]]]).is_empty());
        assert!(same(&[]).is_empty());
        assert!(same(&[[&[f32::NAN], &[3.0]], [&[f32::NAN], &[4.0]]]).is_empty());
    }
}
