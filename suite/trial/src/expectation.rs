//! What agreement is expected of a backend, and whether it was met.
//!
//! The default is strict: an int8 model gives the very integers of the golden run, a float model
//! the same numbers up to the rounding of f32. All else is declared in `known.toml`.

use std::fmt;

use firstpass_probe::{Arithmetic, Format};

use crate::{
    agreement::{Agreement, DetectionAgreement},
    known::{Bounds, Known},
    model::{ModelDescription, Precision},
};

/// The largest difference of a float model, relative to the root mean square of the output.
///
/// Engines sum the up to 2304 products of a convolution in different orders. One such sum in f32
/// is off by about √2304 · 2⁻²⁴ = 3e-6 of its size; over 60 layers the errors add up like a random
/// walk to about 2e-5, and the largest of 10⁴ values lies some four deviations out: 1e-4.
pub const FLOAT_MAX_RELATIVE: f64 = 1e-4;

/// The largest difference of a float model that counts for nothing, however small the output is: four
/// units in the last place of 1. Sigmoid, softmax and the like are computed to an absolute precision, so
/// that a score of 1e-5 has few digits.
pub const FLOAT_MAX_ABSOLUTE: f64 = 4.0 * f32::EPSILON as f64;

/// Whether a backend's outputs are as expected.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectationVerdict {
    /// Every quantized value equals the golden one.
    Exact,
    /// A float model within the rounding of f32.
    FloatRounding,
    /// As declared in `known.toml`: the name of the cause and the cause.
    Declared { name: String, reason: String },
    /// Not as expected: each fault in words.
    Unexpected(Vec<String>),
    /// It is what the others are compared with, for lack of golden outputs.
    Reference,
    /// It differs from an engine that the others are compared with, which may be the one at fault.
    Differs(Vec<String>),
}

impl ExpectationVerdict {
    pub fn is_expected(&self) -> bool {
        !matches!(self, Self::Unexpected(_))
    }

    /// Whether outputs differ more than they should.
    pub fn is_difference(&self) -> bool {
        matches!(self, Self::Unexpected(_) | Self::Differs(_))
    }

    /// The same where outputs were compared with those of another engine and not with golden ones.
    #[must_use]
    pub fn against_an_engine(self) -> Self {
        match self {
            Self::Unexpected(faults) => Self::Differs(faults),
            other => other,
        }
    }
}

impl fmt::Display for ExpectationVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::FloatRounding => f.write_str("equal up to f32 rounding"),
            Self::Declared { name, .. } => write!(f, "differs as declared ({name})"),
            Self::Reference => f.write_str("the reference"),
            Self::Differs(faults) => write!(f, "differs: {}", faults.join("; ")),
            Self::Unexpected(faults) => write!(f, "UNEXPECTED: {}", faults.join("; ")),
        }
    }
}

/// Judges the agreement of a backend with the golden outputs, and of the faces found in them.
pub fn judge(
    model: &ModelDescription,
    format: Format,
    agreements: &[Agreement],
    faces: Option<&DetectionAgreement>,
    known: &Known,
    cpu_flags: &[String],
) -> ExpectationVerdict {
    let mut faults: Vec<String> = agreements
        .iter()
        .filter(|a| a.not_finite > 0)
        .map(|a| format!("{}: {} values are not finite", a.output, a.not_finite))
        .collect();
    let of_other_shape = agreements.iter().filter(|a| a.other_shape > 0);
    faults.extend(
        of_other_shape.map(|a| format!("{}: another shape or type than expected", a.output)),
    );
    let declared = known.divergence(&model.name, format, cpu_flags);
    for agreement in agreements {
        let output = &agreement.output;
        match (
            declared.and_then(|d| d.outputs.get(output)),
            &agreement.steps,
        ) {
            (Some(bounds), Some(_)) => faults.extend(outside(agreement, *bounds)),
            (Some(_), None) => faults.push(format!(
                "{output}: a divergence in steps is declared, but the output has none"
            )),
            (None, Some(steps)) if steps.max > 0 => faults.push(format!(
                "{output}: differs by up to {} steps, {:.1} % exact",
                steps.max,
                100.0 * steps.share_within(0)
            )),
            (None, None)
                if agreement.max_relative > FLOAT_MAX_RELATIVE
                    && agreement.max_abs > FLOAT_MAX_ABSOLUTE =>
            {
                faults.push(format!(
                    "{output}: differs by {:.1e} of its root mean square, expected at most \
                 {FLOAT_MAX_RELATIVE:.0e}",
                    agreement.max_relative
                ));
            }
            (None, _) => {}
        }
    }
    if let Some(counted) = faces {
        let bounds = declared.map(|d| d.faces).unwrap_or_default();
        let counts = [
            ("missed", counted.missed, bounds.missed),
            ("extra", counted.extra, bounds.extra),
        ];
        for (what, count, [least, most]) in counts {
            if count < least || count > most {
                faults.push(format!(
                    "faces: {count} {what}, declared are {least} to {most}"
                ));
            }
        }
    }
    if !faults.is_empty() {
        return ExpectationVerdict::Unexpected(faults);
    }
    match (declared, model.precision) {
        (Some(divergence), _) => ExpectationVerdict::Declared {
            name: divergence.name.clone(),
            reason: divergence.reason.clone(),
        },
        // Only an output with steps tells its integers.
        (None, Precision::Int8) if agreements.iter().all(|a| a.steps.is_some()) => {
            ExpectationVerdict::Exact
        }
        (None, _) => ExpectationVerdict::FloatRounding,
    }
}

fn outside(agreement: &Agreement, bounds: Bounds) -> Vec<String> {
    let Some(steps) = &agreement.steps else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let [least, most] = bounds.max_steps;
    if steps.max < least || steps.max > most {
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
    if share < least || share > most {
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

/// Judges the arithmetic of a backend: an int8 model runs its convolutions on integers, unless
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
        return Err("the engine names no convolution".into());
    }
    let declared = known.float_arithmetic(&model.name, format);
    match (model.precision, declared, float) {
        (Precision::Fp32, _, _) if integer > 0 => Err(format!(
            "{integer} convolutions of a float model ran on integers"
        )),
        (Precision::Int8, None, 1..) => Err(format!(
            "{float} of {} convolutions ran on dequantized floats, and that is not declared",
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
        known::{Divergence, Exception, FaceBounds},
    };

    fn agreement(max: u64, exact: usize, values: usize) -> Agreement {
        Agreement {
            output: "y".into(),
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
                outputs: BTreeMap::from([("y".into(), bounds)]),
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
            known,
            &[],
        )
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
                &declared(),
                &[],
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

    #[test]
    fn a_divergence_of_other_processors_is_not_excused() {
        let on = |flags: &[String]| {
            let far = [agreement(7, 3, 10)];
            judge(
                &ModelDescription::for_tests(Precision::Int8),
                Format::ONNX,
                &far,
                None,
                &declared(),
                flags,
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
            &declared(),
            &[],
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
                &Known::default(),
                &[],
            )
        };
        assert_eq!(judge_float(1e-6, 1e-6), ExpectationVerdict::FloatRounding);
        assert!(!judge_float(1e-3, 1e-3).is_expected());
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
