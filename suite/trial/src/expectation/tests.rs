use std::collections::BTreeMap;

use firstpass_probe::{Arithmetic, Dtype, Format};

use super::*;
use crate::{
    agreement::{Agreement, DetectionAgreement, Steps},
    known::{Bounds, Divergence, Exception, FaceBounds, FloatBounds, Known},
    model::{ModelDescription, Precision},
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
    assert!(matches!(few, ExpectationVerdict::StepRounding(share) if (share - 0.01).abs() < 1e-9));
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

/// A rule that moves outputs so far.
fn moves(moved: Vec<Agreement>) -> ByRule {
    ByRule { moved, left: None }
}

/// A rule that sends halves elsewhere moves half of the values by a step, as an engine does that leaves out a
/// quantization: only who rounds by it is excused.
#[test]
fn a_rule_of_halves_excuses_only_who_follows_it() {
    let off = |max: u64, exact: usize| Agreement {
        sqnr_db: 30.0,
        ..agreement(max, exact, 100)
    };
    let judged = |left: Agreement, others: &[ByRule]| {
        let halves = ByRule {
            moved: vec![off(1, 50)],
            left: Some(vec![left]),
        };
        let rules = [&[halves], others].concat();
        let differs = ExpectationVerdict::Differs(vec!["y: differs".into()]);
        differs.within_rules(Precision::Int8, &[off(1, 50)], &rules)
    };
    // The outputs by the rule, or all but those that are next to a half.
    assert!(!judged(off(0, 100), &[]).is_difference());
    assert!(!judged(off(1, 99), &[]).is_difference());
    // Half of the values are others than by the rule.
    assert!(judged(off(1, 49), &[]).is_difference());
    assert!(judged(off(1, 97), &[]).is_difference());
    // As far from the outputs by the rule as another rule moves them.
    let other = [moves(vec![off(1, 90)])];
    assert!(!judged(off(1, 85), &other).is_difference());
    assert!(judged(off(1, 75), &other).is_difference());
}

#[test]
fn what_rules_of_rounding_do_is_no_fault() {
    let off = |max: u64, exact: usize, sqnr_db: f64| Agreement {
        sqnr_db,
        ..agreement(max, exact, 100)
    };
    let judged = |own: Agreement, rules: &[Agreement]| {
        let rules: Vec<ByRule> = rules.iter().map(|rule| moves(vec![rule.clone()])).collect();
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
    let rule = moves(vec![of("y", off(4, 62, 25.0)), of("z", off(0, 100, 99.0))]);
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
