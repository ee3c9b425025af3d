//! What agreement is expected of a backend, and whether it was met.
//!
//! The default is strict: an int8 model gives the very integers of the golden run, a float model
//! the same numbers up to the rounding of f32. All else is declared in `known.toml`.

use std::fmt;

use firstpass_probe::{Arithmetic, Dtype, Format};

use crate::{
    agreement::{Agreement, DetectionAgreement, Steps},
    known::{Bounds, Divergence, FloatBounds, Known},
    model::{ModelDescription, Precision},
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
fn most_rounding(dtype: Dtype) -> f64 {
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

/// Whether a backend's outputs are as expected.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectationVerdict {
    /// Every quantized value equals the golden one.
    Exact,
    /// A float model within the rounding of f32.
    FloatRounding,
    /// No more than [`STEP_ROUNDING`] of the values are off, by one step: the share that is.
    StepRounding(f64),
    /// Float outputs of a quantized model whose difference is no more than single steps of rounding within give:
    /// the signal to noise ratio, in dB.
    InnerRounding(f64),
    /// No farther from the referee than rules of rounding that published engines follow are from each other on
    /// this model.
    OtherRounding {
        /// Each difference in words.
        differences: Vec<String>,
        /// The rule by which the referee gives these very outputs, where one does.
        rule: Option<String>,
    },
    /// As declared in `known.toml`: the name of the cause and the cause.
    Declared { name: String, reason: String },
    /// Not as expected: each fault in words.
    Unexpected(Vec<String>),
    /// There are no golden outputs, and it differs from what stands in for them.
    Differs(Vec<String>),
    /// There is nothing to compare it with but engines of which some differ from each other: how it differs
    /// from each of them, and nothing where it agrees with all.
    Undecided(Vec<String>),
}

impl ExpectationVerdict {
    pub fn is_expected(&self) -> bool {
        !matches!(self, Self::Unexpected(_))
    }

    /// Whether outputs differ more than they should.
    pub fn is_difference(&self) -> bool {
        match self {
            Self::Unexpected(_) | Self::Differs(_) => true,
            Self::Undecided(how) => !how.is_empty(),
            Self::Exact
            | Self::FloatRounding
            | Self::StepRounding(_)
            | Self::InnerRounding(_)
            | Self::OtherRounding { .. }
            | Self::Declared { .. } => false,
        }
    }

    /// The same where outputs were compared with what stands in for golden ones.
    #[must_use]
    pub fn without_golden(self, precision: Precision, agreements: &[Agreement]) -> Self {
        match self {
            Self::Unexpected(faults)
                if faults.len() <= agreements.len() && apart(precision, agreements).is_empty() =>
            {
                let off = agreements.iter().filter_map(|a| a.steps.as_ref());
                let off = off.map(|steps| 1.0 - steps.share_within(0));
                let noise = agreements
                    .iter()
                    .filter(|a| is_inner_rounding(precision, a));
                let of_floats = agreements.iter().filter(|a| undeclared(a).is_some());
                match noise.map(|a| a.sqnr_db).reduce(f64::min) {
                    Some(sqnr) => Self::InnerRounding(sqnr),
                    None if of_floats.clone().all(has_fine_steps) => Self::FloatRounding,
                    None => Self::StepRounding(off.fold(0.0, f64::max)),
                }
            }
            Self::Unexpected(faults) => Self::Differs(faults),
            other => other,
        }
    }
}

impl ExpectationVerdict {
    /// The same where a referee says how far outputs move by rounding alone: `rules` is how those by each of its
    /// rules are off from those that `agreements` are with.
    #[must_use]
    pub fn within_rules(
        self,
        precision: Precision,
        agreements: &[Agreement],
        rules: &[Vec<Agreement>],
    ) -> Self {
        let is_rounding = || !rules.is_empty() && is_rounding(precision, agreements, rules);
        match self {
            // What is found in outputs (faces, classes) changes with them.
            Self::Differs(differences) if is_rounding() => Self::OtherRounding {
                differences,
                rule: None,
            },
            other => other,
        }
    }

    /// The same where a rule of the referee is known that gives these very outputs.
    #[must_use]
    pub fn following(self, rule: Option<String>) -> Self {
        match self {
            Self::OtherRounding { differences, .. } => Self::OtherRounding { differences, rule },
            other => other,
        }
    }
}

/// Whether every output is off by no more than [`OF_ROUNDING`] times what it is by one of the rules, or by no more
/// than is nothing anyway.
fn is_rounding(precision: Precision, agreements: &[Agreement], rules: &[Vec<Agreement>]) -> bool {
    unlike(agreements).is_empty()
        && agreements.iter().all(|agreement| {
            let mut by_rules = rules.iter().flatten();
            apart(precision, std::slice::from_ref(agreement)).is_empty()
                || by_rules
                    .any(|rule| rule.output == agreement.output && is_as_near(agreement, rule))
        })
}

/// Whether an output is off by about as much as by a rule of rounding: in its largest value, in the mean of squares,
/// and in how many values.
fn is_as_near(agreement: &Agreement, rule: &Agreement) -> bool {
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

impl fmt::Display for ExpectationVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::FloatRounding => f.write_str("equal up to f32 rounding"),
            Self::StepRounding(share) => write!(
                f,
                "equal up to rounding at halves (1 step in {:.1} % of the values)",
                100.0 * share
            ),
            Self::InnerRounding(db) => {
                write!(
                    f,
                    "equal up to single steps of rounding within ({db:.0} dB)"
                )
            }
            Self::OtherRounding { differences, rule } => {
                match rule {
                    Some(rule) => write!(f, "gives exactly what the referee gives by {rule}: ")?,
                    None => f.write_str("differs by no more than rules of rounding do: ")?,
                }
                f.write_str(&differences.join("; "))
            }
            Self::Declared { name, .. } => write!(f, "differs as declared ({name})"),
            Self::Differs(faults) => write!(f, "differs: {}", faults.join("; ")),
            Self::Undecided(how) if how.is_empty() => f.write_str("agrees with the others"),
            Self::Undecided(how) => f.write_str(&how.join("; ")),
            Self::Unexpected(faults) => write!(f, "UNEXPECTED: {}", faults.join("; ")),
        }
    }
}

/// How far the outputs of two engines, or of an engine and its reference, are apart by more than they may:
/// integers must be equal, and floats up to the rounding of f32. Nothing where they agree.
pub fn differences(agreements: &[Agreement]) -> Vec<String> {
    let mut found = unlike(agreements);
    found.extend(agreements.iter().filter_map(undeclared));
    found
}

/// Whether a difference of a float output is no more than single steps of rounding within give.
fn is_inner_rounding(precision: Precision, agreement: &Agreement) -> bool {
    let is_quantized = precision == Precision::Int8 && agreement.steps.is_none();
    is_quantized && agreement.sqnr_db >= INNER_ROUNDING_DB && undeclared(agreement).is_some()
}

/// Whether an output of floats is quantized to steps so fine, those of 16 bits, that the rounding of f32 is some of
/// them. Steps of 8 bits are far larger.
fn has_fine_steps(agreement: &Agreement) -> bool {
    agreement.steps.is_some()
        && agreement.dtype == Dtype::F32
        && agreement.max_relative > 0.0
        && agreement.max_relative <= FLOAT_MAX_RELATIVE
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
            "{output}: differs by up to {} step{}, {:.1} % exact",
            steps.max,
            if steps.max == 1 { "" } else { "s" },
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
            "{}: differs by up to {} steps{healed}, declared are {least} to {most}",
            agreement.output, steps.max
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        agreement::Steps,
        known::{Divergence, Exception, FaceBounds, FloatBounds},
    };

    fn agreement(max: u64, exact: usize, values: usize) -> Agreement {
        Agreement {
            output: "y".into(),
            dtype: Dtype::F32,
            values,
            same_bits: exact,
            not_finite: 0,
            other_shape: 0,
            max_abs: 0.0,
            max_relative: 0.0,
            sqnr_db: 0.0,
            cosine: 1.0,
            steps: Some(Steps {
                histogram: vec![exact, values - exact],
                max,
            }),
        }
    }

    #[test]
    fn rounding_at_halves_is_no_fault_but_against_golden_outputs() {
        let against_stand_ins = |agreement: Agreement| {
            let unexpected = ExpectationVerdict::Unexpected(vec!["y: differs".into()]);
            unexpected.without_golden(Precision::Int8, &[agreement])
        };
        let few = against_stand_ins(agreement(1, 99, 100));
        assert!(
            matches!(few, ExpectationVerdict::StepRounding(share) if (share - 0.01).abs() < 1e-9)
        );
        assert!(!few.is_difference());
        // More values than that, or further than a step, are another rule.
        for other in [agreement(1, 97, 100), agreement(2, 99, 100)] {
            assert!(!apart(Precision::Int8, std::slice::from_ref(&other)).is_empty());
            assert!(matches!(
                against_stand_ins(other),
                ExpectationVerdict::Differs(_)
            ));
        }
        assert!(apart(Precision::Int8, &[agreement(1, 99, 100)]).is_empty());
        assert_eq!(
            differences(&[agreement(1, 99, 100)]).len(),
            1,
            "golden outputs are exact"
        );
    }

    #[test]
    fn steps_of_16_bits_are_within_the_rounding_of_floats() {
        let off = |max_relative: f64, dtype: Dtype| Agreement {
            max_relative,
            max_abs: max_relative,
            dtype,
            ..agreement(3, 95, 100)
        };
        let judged = |agreement: &Agreement| {
            let unexpected = ExpectationVerdict::Unexpected(vec!["y: differs".into()]);
            unexpected.without_golden(Precision::Int8, std::slice::from_ref(agreement))
        };
        // Three steps of 16 bits.
        let fine = off(4.6e-5, Dtype::F32);
        assert_eq!(judged(&fine), ExpectationVerdict::FloatRounding);
        assert!(apart(Precision::Int8, std::slice::from_ref(&fine)).is_empty());
        assert!(!differences(&[fine]).is_empty(), "golden outputs are exact");
        // One of 8 bits; and integers, each of which counts.
        for other in [off(3.9e-3, Dtype::F32), off(4.6e-5, Dtype::I64)] {
            assert!(matches!(judged(&other), ExpectationVerdict::Differs(_)));
        }
    }

    #[test]
    fn steps_within_a_quantized_model_are_no_fault_of_a_float_output() {
        let float = |sqnr_db: f64| Agreement {
            steps: None,
            max_abs: 0.1,
            max_relative: 0.1,
            sqnr_db,
            ..agreement(0, 0, 100)
        };
        let judged = |precision, agreement| {
            let unexpected = ExpectationVerdict::Unexpected(vec!["y: differs".into()]);
            unexpected.without_golden(precision, &[agreement])
        };
        let within = judged(Precision::Int8, float(42.0));
        assert_eq!(within, ExpectationVerdict::InnerRounding(42.0));
        for (precision, sqnr_db) in [(Precision::Int8, 10.0), (Precision::Fp32, 42.0)] {
            let other = judged(precision, float(sqnr_db));
            assert!(
                matches!(other, ExpectationVerdict::Differs(_)),
                "{sqnr_db} dB"
            );
        }
    }

    #[test]
    fn what_rules_of_rounding_do_is_no_fault() {
        let off = |max: u64, exact: usize, sqnr_db: f64| Agreement {
            sqnr_db,
            ..agreement(max, exact, 100)
        };
        let judged = |own: Agreement, rules: &[Agreement]| {
            let rules: Vec<Vec<Agreement>> = rules.iter().map(|rule| vec![rule.clone()]).collect();
            let differs = ExpectationVerdict::Differs(vec!["y: differs".into()]);
            differs.within_rules(Precision::Int8, &[own], &rules)
        };
        let rules = [off(1, 99, 40.0), off(4, 62, 25.0)];
        for near in [off(4, 62, 25.0), off(8, 30, 20.0)] {
            let found = judged(near, &rules);
            assert!(matches!(found, ExpectationVerdict::OtherRounding { .. }));
            assert!(!found.is_difference());
        }
        let exactly = judged(off(4, 62, 25.0), &rules).following(Some("a=b".into()));
        let text = "gives exactly what the referee gives by a=b: y: differs";
        assert_eq!(exactly.to_string(), text);
        // Farther in one value, in more values, or in all together; and what no distance is told of.
        let shapeless = Agreement {
            other_shape: 1,
            ..off(4, 62, 25.0)
        };
        for far in [
            off(9, 62, 25.0),
            off(4, 20, 25.0),
            off(4, 62, 15.0),
            shapeless,
        ] {
            let found = judged(far, &rules);
            assert!(matches!(found, ExpectationVerdict::Differs(_)), "{found:?}");
        }
        // One output by a rule, and another by a step in few values, which no rule moves.
        let of = |output: &str, agreement: Agreement| Agreement {
            output: output.into(),
            ..agreement
        };
        let rule = vec![of("y", off(4, 62, 25.0)), of("z", off(0, 100, 99.0))];
        let both = |z: Agreement| {
            let own = [of("y", off(4, 62, 25.0)), of("z", z)];
            let differs = ExpectationVerdict::Differs(vec!["y: differs".into()]);
            differs.within_rules(Precision::Int8, &own, std::slice::from_ref(&rule))
        };
        assert!(!both(off(1, 99, 40.0)).is_difference());
        assert!(both(off(1, 90, 40.0)).is_difference());
        // Faces that differ where outputs do not are no rounding of a rule that nobody tried.
        let faces = || ExpectationVerdict::Differs(vec!["faces: 1 extra".into()]);
        let same = [off(0, 100, f64::INFINITY)];
        let untried = faces().within_rules(Precision::Int8, &same, &[]);
        assert!(untried.is_difference());
        // Where no rule moves anything, nothing is rounding.
        for rules in [&[][..], &[off(0, 100, f64::INFINITY)][..]] {
            let found = judged(off(1, 97, 30.0), rules);
            assert!(matches!(found, ExpectationVerdict::Differs(_)), "{found:?}");
        }
        let floats = |max_abs: f64, sqnr_db: f64| Agreement {
            steps: None,
            max_abs,
            max_relative: max_abs,
            sqnr_db,
            ..agreement(0, 0, 100)
        };
        let rules = [floats(0.2, 22.0)];
        let near = judged(floats(0.3, 18.0), &rules);
        assert!(matches!(near, ExpectationVerdict::OtherRounding { .. }));
        let far = judged(floats(0.5, 18.0), &rules);
        assert!(matches!(far, ExpectationVerdict::Differs(_)));
    }

    fn declared() -> Known {
        let bounds = Bounds {
            max_steps: [1, 9],
            exact_share: [0.2, 0.5],
        };
        Known {
            divergence: vec![Divergence {
                name: "int32-bias".into(),
                reason: "because".into(),
                models: vec!["m".into()],
                format: Format::ONNX,
                without: vec!["vnni".into()],
                with: Vec::new(),
                outputs: BTreeMap::from([("y".into(), bounds)]),
                floats: BTreeMap::new(),
                faces: FaceBounds {
                    missed: [0, 0],
                    extra: [1, 1],
                },
            }],
            float_arithmetic: vec![Exception {
                reason: "because".into(),
                models: vec!["m".into()],
                format: Format::ONNX,
            }],
            ..Known::default()
        }
    }

    fn verdict(agreement: Agreement, known: &Known) -> ExpectationVerdict {
        judge(
            &ModelDescription::for_tests(Precision::Int8),
            Format::ONNX,
            &[agreement],
            None,
            over_all(known, &[]),
        )
    }

    fn over_all<'a>(known: &'a Known, cpu_flags: &'a [String]) -> Standard<'a> {
        Standard {
            known,
            cpu_flags,
            is_complete: true,
        }
    }

    #[test]
    fn a_divergence_of_floats_must_occur_where_it_is_declared() {
        let bounds = FloatBounds {
            max_relative: [0.05, 0.3],
        };
        let mut known = declared();
        let divergence = &mut known.divergence[0];
        divergence.without.clear();
        divergence.with = vec!["bf16".into()];
        divergence.outputs.clear();
        divergence.floats = BTreeMap::from([("y".into(), bounds)]);
        divergence.faces = FaceBounds::default();
        let judged = |max_relative, flags: &[&str]| {
            let float = Agreement {
                steps: None,
                max_abs: max_relative,
                max_relative,
                ..agreement(0, 0, 100)
            };
            let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
            judge(
                &ModelDescription::for_tests(Precision::Fp32),
                Format::ONNX,
                &[float],
                None,
                over_all(&known, &flags),
            )
        };
        let bf16 = |off| judged(off, &["avx2", "bf16"]);
        assert!(matches!(bf16(0.1), ExpectationVerdict::Declared { .. }));
        assert!(!bf16(0.4).is_expected(), "moved");
        assert!(!bf16(1e-6).is_expected(), "healed");
        // Another processor computes in f32.
        assert!(!judged(0.1, &["avx2"]).is_expected());
        assert!(judged(1e-6, &["avx2"]).is_expected());
        // Of an output with steps, steps are declared.
        let steps = judge(
            &ModelDescription::for_tests(Precision::Int8),
            Format::ONNX,
            &[agreement(7, 3, 10)],
            None,
            over_all(&known, &["bf16".into()]),
        );
        assert!(!steps.is_expected());
    }

    #[test]
    fn faces_that_come_and_go_are_declared_too() {
        let with_extra = |extra| {
            let faces = DetectionAgreement {
                extra,
                ..DetectionAgreement::default()
            };
            judge(
                &ModelDescription::for_tests(Precision::Int8),
                Format::ONNX,
                &[agreement(7, 3, 10)],
                Some(&faces),
                over_all(&declared(), &[]),
            )
        };
        assert!(with_extra(1).is_expected());
        assert!(!with_extra(0).is_expected());
        assert!(!with_extra(2).is_expected());
    }

    #[test]
    fn an_undeclared_divergence_is_unexpected() {
        let none = Known::default();
        assert_eq!(
            verdict(agreement(0, 10, 10), &none),
            ExpectationVerdict::Exact
        );
        assert!(!verdict(agreement(1, 9, 10), &none).is_expected());
    }

    #[test]
    fn a_declared_divergence_must_stay_where_it_is() {
        let known = declared();
        assert!(verdict(agreement(7, 3, 10), &known).is_expected());
        for moved in [
            agreement(10, 3, 10),
            agreement(7, 1, 10),
            agreement(7, 6, 10),
        ] {
            assert!(!verdict(moved, &known).is_expected());
        }
        let healed = verdict(agreement(0, 10, 10), &known);
        assert!(healed.to_string().contains("healed"), "{healed}");
    }

    /// As a quick look has them.
    #[test]
    fn over_some_photographs_a_divergence_may_be_smaller_and_not_larger() {
        let known = declared();
        let over_some = |max, exact, known: &Known| {
            judge(
                &ModelDescription::for_tests(Precision::Int8),
                Format::ONNX,
                &[agreement(max, exact, 10)],
                None,
                Standard {
                    is_complete: false,
                    ..over_all(known, &[])
                },
            )
        };
        assert!(over_some(0, 10, &known).is_expected());
        assert!(over_some(9, 9, &known).is_expected());
        assert!(!over_some(10, 9, &known).is_expected());
        // An engine that declares nothing is exact on each photograph.
        assert!(!over_some(3, 9, &Known::default()).is_expected());
    }

    #[test]
    fn engines_are_apart_by_steps_or_by_more_than_rounding() {
        assert!(differences(&[agreement(0, 10, 10)]).is_empty());
        assert_eq!(
            differences(&[agreement(1, 9, 10)]),
            ["y: differs by up to 1 step, 90.0 % exact"]
        );
        let float = Agreement {
            steps: None,
            max_abs: 1.0,
            max_relative: 0.5,
            ..agreement(0, 0, 1)
        };
        assert!(differences(&[float])[0].contains("50 % of its scale"));
    }

    #[test]
    fn a_divergence_of_other_processors_is_not_excused() {
        let on = |flags: &[String]| {
            let far = [agreement(7, 3, 10)];
            judge(
                &ModelDescription::for_tests(Precision::Int8),
                Format::ONNX,
                &far,
                None,
                over_all(&declared(), flags),
            )
        };
        assert!(!on(&["vnni".into()]).is_expected());
    }

    #[test]
    fn a_divergence_of_another_format_is_not_excused() {
        let verdict = judge(
            &ModelDescription::for_tests(Precision::Int8),
            Format::ONNX_QOPERATOR,
            &[agreement(7, 3, 10)],
            None,
            over_all(&declared(), &[]),
        );
        assert!(!verdict.is_expected());
    }

    #[test]
    fn floats_may_differ_by_rounding_only() {
        let float = |max_relative, max_abs| Agreement {
            steps: None,
            max_relative,
            max_abs,
            ..agreement(0, 0, 1)
        };
        let judge_float = |max_relative, max_abs| {
            judge(
                &ModelDescription::for_tests(Precision::Fp32),
                Format::ONNX,
                &[float(max_relative, max_abs)],
                None,
                over_all(&Known::default(), &[]),
            )
        };
        assert_eq!(judge_float(1e-6, 1e-6), ExpectationVerdict::FloatRounding);
        assert!(!judge_float(1e-3, 1e-3).is_expected());
        let f16 = Agreement {
            dtype: Dtype::F16,
            ..float(1e-3, 1e-3)
        };
        assert!(differences(&[f16]).is_empty());
        let f16 = Agreement {
            dtype: Dtype::F16,
            ..float(2e-2, 1e-3)
        };
        assert!(differences(&[f16])[0].contains("rounding of f16"));
        // Of a score of 1e-5 only the first digits are computed.
        assert_eq!(judge_float(1e-2, 1e-7), ExpectationVerdict::FloatRounding);
        assert!(!judge_float(1e-2, 1e-6).is_expected());
    }

    #[test]
    fn values_that_are_not_finite_are_never_expected() {
        let broken = Agreement {
            not_finite: 1,
            ..agreement(0, 10, 10)
        };
        assert!(!verdict(broken, &Known::default()).is_expected());
    }

    #[test]
    fn float_arithmetic_of_an_int8_model_is_declared_or_a_fault() {
        let ran = |integer, float| {
            let mut arithmetic = Arithmetic::new("");
            (arithmetic.integer, arithmetic.float) = (integer, float);
            arithmetic
        };
        let int8 = |arithmetic: &Arithmetic, known: &Known| {
            judge_arithmetic(
                &ModelDescription::for_tests(Precision::Int8),
                Format::ONNX,
                arithmetic,
                known,
            )
        };
        let none = Known::default();
        assert!(int8(&ran(63, 0), &none).is_ok());
        assert!(int8(&ran(62, 1), &none).is_err());
        assert!(int8(&ran(0, 0), &none).is_err());
        assert!(int8(&ran(0, 63), &declared()).is_ok());
        assert!(int8(&ran(63, 0), &declared()).is_err());
    }
}
