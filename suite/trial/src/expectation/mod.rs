//! What agreement is expected of a backend, and whether it was met.
//!
//! The default is strict: an int8 model gives the very integers of the golden run, a float model
//! the same numbers up to the rounding of f32. All else is declared in `known.toml`.

mod declared;
mod rounding;
#[cfg(test)]
mod tests;
mod verdict;

use firstpass_probe::Dtype;

use crate::{
    agreement::{Agreement, steps_in_words},
    model::Precision,
};

pub use declared::{Standard, judge, judge_arithmetic};
pub use rounding::{
    ByRule, FLOAT_MAX_ABSOLUTE, FLOAT_MAX_RELATIVE, INNER_ROUNDING_DB, STEP_ROUNDING,
};
use rounding::{has_fine_steps, is_inner_rounding, most_rounding};
pub use verdict::ExpectationVerdict;

/// How far the outputs of two engines, or of an engine and its reference, are apart by more than they may:
/// integers must be equal, and floats up to the rounding of f32. Nothing where they agree.
pub fn differences(agreements: &[Agreement]) -> Vec<String> {
    let mut found = unlike(agreements);
    found.extend(agreements.iter().filter_map(undeclared));
    found
}

/// The same of two computations of which neither is golden: they may also be off by as much as rounding at halves
/// explains, and by what the rounding of f32 explains where that is more than a step.
pub fn apart(precision: Precision, agreements: &[Agreement]) -> Vec<String> {
    let rounds = |agreement: &&Agreement| {
        let steps = agreement.steps.as_ref();
        steps.is_some_and(|s| s.max <= 1 && 1.0 - s.share_within(0) <= STEP_ROUNDING)
            || has_fine_steps(agreement)
    };
    let mut found = unlike(agreements);
    let others = agreements.iter();
    let others = others.filter(|a| !rounds(a) && !is_inner_rounding(precision, a));
    found.extend(others.filter_map(undeclared));
    found
}

/// Values that no distance can be told of.
fn unlike(agreements: &[Agreement]) -> Vec<String> {
    let infinite = agreements.iter().filter(|a| a.not_finite > 0).map(|a| {
        format!(
            "{}: {} of {} values are NaN or infinite on one side only",
            a.output, a.not_finite, a.values
        )
    });
    let shape = agreements.iter().filter(|a| a.other_shape > 0);
    let shape = shape.map(|a| format!("{}: another shape or type than expected", a.output));
    infinite.chain(shape).collect()
}

/// How far an output is off of which nothing is declared; `None` where it is not.
fn undeclared(agreement: &Agreement) -> Option<String> {
    let output = &agreement.output;
    match &agreement.steps {
        Some(steps) if steps.max > 0 => Some(format!(
            "{output}: differs by up to {}, {:.1} % exact",
            steps_in_words(steps.max),
            100.0 * steps.share_within(0)
        )),
        None if agreement.max_relative > most_rounding(agreement.dtype)
            && agreement.max_abs > FLOAT_MAX_ABSOLUTE =>
        {
            let rounded = match agreement.dtype {
                dtype @ (Dtype::F16 | Dtype::BF16) => dtype,
                _ => Dtype::F32,
            };
            Some(format!(
                "{output}: differs by up to {} of its scale, and the rounding of {} explains {:.0e}",
                share_of_scale(agreement.max_relative),
                rounded.key(),
                most_rounding(rounded)
            ))
        }
        _ => None,
    }
}

/// A difference in units of the scale of an output, in words.
pub fn share_of_scale(share: f64) -> String {
    if share >= 0.01 {
        format!("{:.0} %", 100.0 * share)
    } else {
        format!("{share:.1e}")
    }
}
