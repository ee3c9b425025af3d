//! How large a difference rounding explains.

use firstpass_probe::Dtype;

use super::{apart, undeclared, unlike};
use crate::{
    agreement::{Agreement, Steps},
    model::Precision,
};

/// The largest difference of a value of a float model, relative to its scale: see
/// [`Agreement::max_relative`].
///
/// Engines sum the up to 2304 products of a convolution in different orders. One such sum in f32
/// is off by about √2304 · 2⁻²⁴ = 3e-6 of its size; over 60 layers the errors add up like a random
/// walk to about 2e-5, and the largest of 10⁴ values lies some four deviations out: 1e-4. They are of
/// the size of the output's root mean square; a value that is larger, such as the one probability near 1
/// behind a softmax over thousands of classes, is off by as much of itself.
pub const FLOAT_MAX_RELATIVE: f64 = 1e-4;

/// The same where values have 16 bits. Engines sum in f32 and round the result of each layer, by half a unit in the
/// last place (2⁻¹¹, and 2⁻⁸ of a bfloat): over 60 layers that adds up like a random walk to √60 · 2⁻¹¹ / √3 = 2e-3,
/// and the largest of 10⁴ values lies some four deviations out.
const F16_MAX_RELATIVE: f64 = 1e-2;
const BF16_MAX_RELATIVE: f64 = 8e-2;

/// The largest difference of a value that rounding explains, relative to its scale.
pub(super) fn most_rounding(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => F16_MAX_RELATIVE,
        Dtype::BF16 => BF16_MAX_RELATIVE,
        _ => FLOAT_MAX_RELATIVE,
    }
}

/// The largest difference of a float model that counts for nothing, however small the output is: four
/// units in the last place of 1. Sigmoid, softmax and the like are computed to an absolute precision, so
/// that a score of 1e-5 has few digits.
pub const FLOAT_MAX_ABSOLUTE: f64 = 4.0 * f32::EPSILON as f64;

/// The share of values that may be off by one quantization step for nothing, where outputs are compared with those
/// of another computation and not with golden ones.
///
/// A value that falls next to the half between two steps is rounded up or down by the last bit of a sum in f32,
/// whose order no file defines. Scales are often so related that whole sums fall on halves: a few values in a
/// hundred, in a small graph. An engine whose rule of rounding is another one is off in many more.
pub const STEP_ROUNDING: f64 = 0.02;

/// The signal to noise ratio, in dB, of a float output of a quantized model from which on a difference is no
/// fault, where outputs are compared with those of another computation and not with golden ones.
///
/// The last bit of a float decides now and then which of two steps an inner tensor takes, and later layers
/// carry that on: one value of many thousands may then be off by far more than the rounding of f32. Such
/// differences stay below the noise of the quantization itself, which is some 30 dB for a network of 8 bits. An
/// engine that computes something else does not.
pub const INNER_ROUNDING_DB: f64 = 30.0;

/// How much farther than rules of rounding are from each other an engine may be for the same reason.
///
/// Rules are few, and an engine that rounds in two ways of its own (it adds in f32, and multiplies by an inverse) is
/// off by the square root of two, in the mean of squares, where rules differ in one. The largest of many values varies
/// by itself. Twice leaves room for both. A kernel that saturates, or an operator that was dropped, is off by many
/// times as much in all models but those that amplify a single step to the size of their outputs.
const OF_ROUNDING: f64 = 2.0;

/// What a rule of rounding of a referee does to the outputs of a model.
#[derive(Debug, Clone)]
pub struct ByRule {
    /// How far it moves them.
    pub moved: Vec<Agreement>,
    /// Where it sends halves elsewhere: how far the outputs of an engine are from those by it. Such a rule may move
    /// half of all values by a step, as some faults do.
    pub left: Option<Vec<Agreement>>,
}

/// Whether every output is off by no more than [`OF_ROUNDING`] times what it is by one of the rules, or by no more
/// than is nothing anyway; or whether it is so from what a rule gives that sends halves elsewhere.
pub(super) fn is_rounding(
    precision: Precision,
    agreements: &[Agreement],
    rules: &[ByRule],
) -> bool {
    let moved: Vec<&Agreement> = rules
        .iter()
        .filter(|rule| rule.left.is_none())
        .flat_map(|rule| &rule.moved)
        .collect();
    let is_near = |agreements: &[Agreement]| {
        unlike(agreements).is_empty()
            && agreements.iter().all(|agreement| {
                apart(precision, std::slice::from_ref(agreement)).is_empty()
                    || moved
                        .iter()
                        .any(|rule| rule.output == agreement.output && is_as_near(agreement, rule))
            })
    };
    let mut left = rules.iter().filter_map(|rule| rule.left.as_deref());
    is_near(agreements) || left.any(|left| !left.is_empty() && is_near(left))
}

/// Whether an output is off by about as much as by a rule of rounding: in its largest value, in the mean of squares,
/// and in how many values.
pub(super) fn is_as_near(agreement: &Agreement, rule: &Agreement) -> bool {
    let off = |steps: &Option<Steps>| steps.as_ref().map(|s| 1.0 - s.share_within(0));
    let largest = match (&agreement.steps, &rule.steps) {
        (Some(own), Some(rule)) => own.max as f64 <= OF_ROUNDING * rule.max as f64,
        _ => agreement.max_abs <= OF_ROUNDING * rule.max_abs,
    };
    let many = off(&agreement.steps)
        .zip(off(&rule.steps))
        .is_none_or(|(own, rule)| own <= OF_ROUNDING * rule);
    largest && many && agreement.sqnr_db >= rule.sqnr_db - 20.0 * OF_ROUNDING.log10()
}

/// Whether a difference of a float output is no more than single steps of rounding within give.
pub(super) fn is_inner_rounding(precision: Precision, agreement: &Agreement) -> bool {
    let is_quantized = precision == Precision::Int8 && agreement.steps.is_none();
    is_quantized && agreement.sqnr_db >= INNER_ROUNDING_DB && undeclared(agreement).is_some()
}

/// Whether an output of floats is quantized to steps so fine, those of 16 bits, that the rounding of f32 is some of
/// them. Steps of 8 bits are far larger.
pub(super) fn has_fine_steps(agreement: &Agreement) -> bool {
    agreement.steps.is_some()
        && agreement.dtype == Dtype::F32
        && agreement.max_relative > 0.0
        && agreement.max_relative <= FLOAT_MAX_RELATIVE
}
