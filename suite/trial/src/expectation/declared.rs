//! Outputs and arithmetic against what is declared in `known.toml`.

use firstpass_probe::{Arithmetic, Format};

use super::{ExpectationVerdict, share_of_scale, undeclared, unlike};
use crate::{
    agreement::{Agreement, DetectionAgreement, steps_in_words},
    known::{Bounds, Divergence, FloatBounds, Known},
    model::{ModelDescription, Precision},
};

/// What a backend's outputs are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Standard<'a> {
    /// What the backend declares.
    pub known: &'a Known,
    /// Instruction sets of the processor, as the kernel names them.
    pub cpu_flags: &'a [String],
    /// Whether the outputs are those of all photographs of the fixtures: what is declared is declared over
    /// all, so that over some of them a divergence may be smaller than declared, and never larger.
    pub is_complete: bool,
}

/// Judges the agreement of a backend with the golden outputs, and of the faces found in them.
pub fn judge(
    model: &ModelDescription,
    format: Format,
    agreements: &[Agreement],
    faces: Option<&DetectionAgreement>,
    standard: Standard,
) -> ExpectationVerdict {
    let Standard {
        known,
        cpu_flags,
        is_complete,
    } = standard;
    let mut faults = unlike(agreements);
    let declared = known.divergence(&model.name, format, cpu_flags);
    for agreement in agreements {
        let output = &agreement.output;
        let bounds = declared.and_then(|d| d.outputs.get(output));
        let of_floats = declared.and_then(|d| d.floats.get(output));
        match (bounds, of_floats, &agreement.steps) {
            (Some(bounds), None, Some(_)) => {
                faults.extend(outside(agreement, *bounds, is_complete));
            }
            (None, Some(bounds), None) => {
                faults.extend(outside_of_floats(agreement, *bounds, is_complete));
            }
            (Some(_), _, None) => faults.push(format!(
                "{output}: a divergence in steps is declared, but the output has none"
            )),
            (_, Some(_), Some(_)) => faults.push(format!(
                "{output}: a divergence of floats is declared, but the output has steps"
            )),
            (None, None, _) => faults.extend(undeclared(agreement)),
        }
    }
    if let Some(counted) = faces {
        faults.extend(other_faces(counted, declared, is_complete));
    }
    if !faults.is_empty() {
        return ExpectationVerdict::Unexpected(faults);
    }
    match declared {
        Some(divergence) => ExpectationVerdict::Declared {
            name: divergence.name.clone(),
            reason: divergence.reason.clone(),
        },
        // Only an output with steps tells its integers.
        None if !agreements.is_empty() && agreements.iter().all(|a| a.steps.is_some()) => {
            ExpectationVerdict::Exact
        }
        None => ExpectationVerdict::FloatRounding,
    }
}

fn other_faces(
    counted: &DetectionAgreement,
    declared: Option<&Divergence>,
    is_complete: bool,
) -> Vec<String> {
    let bounds = declared.map(|d| d.faces).unwrap_or_default();
    let counts = [
        ("missed", counted.missed, bounds.missed),
        ("extra", counted.extra, bounds.extra),
    ];
    let outside = counts
        .into_iter()
        .filter(|(_, count, [least, most])| (is_complete && count < least) || count > most);
    outside
        .map(|(what, count, [least, most])| match most {
            0 => format!("faces: {count} {what}"),
            _ => format!("faces: {count} {what}, declared are {least} to {most}"),
        })
        .collect()
}

fn outside(agreement: &Agreement, bounds: Bounds, is_complete: bool) -> Vec<String> {
    let Some(steps) = &agreement.steps else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let [least, most] = bounds.max_steps;
    if (is_complete && steps.max < least) || steps.max > most {
        let healed = if steps.max == 0 {
            " (healed: remove the declaration)"
        } else {
            ""
        };
        faults.push(format!(
            "{}: differs by up to {}{healed}, declared are {least} to {most}",
            agreement.output,
            steps_in_words(steps.max)
        ));
    }
    let [least, most] = bounds.exact_share;
    let share = steps.share_within(0);
    if is_complete && (share < least || share > most) {
        faults.push(format!(
            "{}: {:.1} % exact, declared are {:.1} to {:.1} %",
            agreement.output,
            100.0 * share,
            100.0 * least,
            100.0 * most
        ));
    }
    faults
}

fn outside_of_floats(
    agreement: &Agreement,
    bounds: FloatBounds,
    is_complete: bool,
) -> Option<String> {
    let [least, most] = bounds.max_relative;
    let found = agreement.max_relative;
    ((is_complete && found < least) || found > most).then(|| {
        format!(
            "{}: differs by up to {} of its scale, declared are {} to {}",
            agreement.output,
            share_of_scale(found),
            share_of_scale(least),
            share_of_scale(most)
        )
    })
}

/// Judges the arithmetic of a backend: an int8 model runs its multiplications (convolutions and products of
/// matrices with quantized weights) on integers, unless
/// float arithmetic is declared, and then it must still occur. A float model runs on floats.
///
/// # Errors
/// The fault in words.
pub fn judge_arithmetic(
    model: &ModelDescription,
    format: Format,
    arithmetic: &Arithmetic,
    known: &Known,
) -> Result<(), String> {
    let (integer, float) = (arithmetic.integer, arithmetic.float);
    if integer + float == 0 {
        return Err("the engine names no multiplication".into());
    }
    let declared = known.float_arithmetic(&model.name, format);
    match (model.precision, declared, float) {
        (Precision::Fp32, _, _) if integer > 0 => Err(format!(
            "{integer} multiplications of a float model ran on integers"
        )),
        (Precision::Int8, None, 1..) => Err(format!(
            "{float} of {} multiplications ran on dequantized floats, and that is not declared",
            integer + float
        )),
        (Precision::Int8, Some(_), 0) => {
            Err("float arithmetic is declared but no longer occurs: remove the declaration".into())
        }
        _ => Ok(()),
    }
}
