//! Outputs that hold no numbers, and outputs that say nothing of the input: whose fault that is.

use firstpass_trial::{
    agreement::{compare, pairs},
    model::ModelDescription,
    outputs::Outputs,
};

use super::{OfModel, Row};
use crate::studies::first_passes::{
    reference::{Kind, Reference},
    sanity::{NotFinite, independent_of_input, not_finite},
};

/// Whose fault values are that are no numbers: the model's where the reference has the same, or for lack of one
/// all of several engines; else that of each engine that gives them. Returns what is the model's, in words.
pub(super) fn blame_not_finite(
    model: &ModelDescription,
    reference: &Reference,
    rows: &mut [Row],
) -> Vec<String> {
    let mut of_model: Vec<(&NotFinite, String)> = Vec::new();
    let own: Vec<_> = rows
        .iter()
        .map(|row| row.outputs.as_ref().map(|own| not_finite(model, own)))
        .collect();
    let given: Vec<_> = own.iter().flatten().collect();
    let all_alike = given.len() > 1 && given.windows(2).all(|pair| pair[0] == pair[1]);
    for (row, found) in rows.iter_mut().zip(&own) {
        for found in found.iter().flatten() {
            let text = match found.values {
                1 => format!("{}: its one value is NaN or infinite", found.output),
                values => format!(
                    "{}: {} of {values} values {} NaN or infinite",
                    found.output,
                    found.not_finite,
                    if found.not_finite == 1 { "is" } else { "are" }
                ),
            };
            let compared = row.agreement.iter().flatten();
            let is_shared = match reference.outputs {
                Some(_) => compared
                    .filter(|a| a.output == found.output)
                    .all(|a| a.not_finite == 0 && a.other_shape == 0),
                None => all_alike,
            };
            if !is_shared {
                row.not_finite.push(text);
                continue;
            }
            // An engine that was asked for fewer inputs gives fewer of them.
            match of_model
                .iter_mut()
                .find(|(of, _)| found.output == of.output)
            {
                Some((of, _)) if of.values >= found.values => {}
                Some(of) => *of = (found, text),
                None => of_model.push((found, text)),
            }
        }
    }
    of_model.into_iter().map(|(_, text)| text).collect()
}

/// Outputs in which what stands in for golden outputs has no number at all.
pub(super) fn without_numbers(model: &ModelDescription, reference: &Reference) -> Vec<String> {
    let (Some(outputs), false) = (
        &reference.outputs,
        matches!(reference.kind, Kind::Golden(_)),
    ) else {
        return Vec::new();
    };
    let found = not_finite(model, outputs).into_iter();
    let found = found.filter(|found| found.not_finite == found.values);
    found.map(|found| found.output).collect()
}

/// Who gives other values than the reference in outputs in which that has no number.
pub(super) fn numbers_on(
    model: &ModelDescription,
    reference: &Reference,
    undefined: &[String],
    rows: &[Row],
) -> Vec<String> {
    let Some(expected) = &reference.outputs else {
        return Vec::new();
    };
    let differs = |row: &&Row| {
        let Some(own) = &row.outputs else {
            return false;
        };
        let found = compare(model, &pairs(expected, own));
        let mut found = found.iter().filter(|a| undefined.contains(&a.output));
        found.any(|a| a.not_finite > 0)
    };
    let mut labels: Vec<String> = Vec::new();
    for row in rows.iter().filter(differs) {
        if !labels.contains(&row.label) {
            labels.push(row.label.clone());
        }
    }
    labels
}

/// Which outputs do not depend on the input: as the reference has it, or for lack of one every engine.
pub(super) fn independent(
    model: &ModelDescription,
    reference: &Reference,
    undefined: &[String],
    rows: &[Row],
) -> OfModel {
    let own = rows.iter().filter_map(|row| row.outputs.as_ref());
    let asked: Vec<&Outputs> = match &reference.outputs {
        Some(outputs) => vec![outputs],
        None => own.collect(),
    };
    let mut found = asked
        .iter()
        .map(|outputs| independent_of_input(model, outputs));
    let first = found.next().unwrap_or_default();
    let others: Vec<Vec<String>> = found.collect();
    let independent: Vec<String> = first
        .into_iter()
        .filter(|name| others.iter().all(|names| names.contains(name)))
        .collect();
    OfModel {
        says_little: independent.len() + undefined.len() == model.outputs.len()
            && !model.outputs.is_empty(),
        independent,
        ..OfModel::default()
    }
}
