use super::*;
use crate::model::StepSpec;

fn spec(activation: Activation) -> OutputSpec {
    OutputSpec {
        name: "y".into(),
        shape: Some(vec![4]),
        activation,
        steps: vec![
            StepSpec {
                elements: 2,
                scale: 0.5,
            },
            StepSpec {
                elements: 2,
                scale: 0.1,
            },
        ],
        step: None,
    }
}

#[test]
fn an_output_without_a_shape_may_have_one_step() {
    let open = OutputSpec {
        name: "y".into(),
        step: Some(0.5),
        ..OutputSpec::default()
    };
    let (a, b) = (tensor(&[0.5, 1.0, 7.5]), tensor(&[0.5, 2.0, 7.0]));
    let agreement = compare_output(&open, &[(&a, &b)]);
    let steps = agreement.steps.expect("it has a step");
    assert_eq!(
        (steps.max, steps.histogram[..3].to_vec()),
        (2, vec![1, 1, 1])
    );
}

fn tensor(data: &[f32]) -> Tensor {
    Tensor::new(&[data.len()], data.to_vec()).expect("one axis of their number")
}

#[test]
fn equal_outputs_agree_fully() {
    let a = tensor(&[1.0, -2.0, 0.3, 0.0]);
    let agreement = compare_output(&spec(Activation::None), &[(&a, &a)]);
    assert!(agreement.bit_equal());
    assert_eq!(agreement.max_abs, 0.0);
    assert_eq!(agreement.sqnr_db, f64::INFINITY);
    assert!((agreement.cosine - 1.0).abs() < 1e-12);
    assert_eq!(
        agreement.steps.map(|s| (s.max, s.histogram[0])),
        Some((0, 4))
    );
}

#[test]
fn each_run_of_elements_has_its_own_step() {
    let a = tensor(&[1.0, 1.0, 0.3, 0.0]);
    let b = tensor(&[1.5, 1.0, 0.6, 0.0]);
    let agreement = compare_output(&spec(Activation::None), &[(&a, &b)]);
    let steps = agreement.steps.expect("the output is quantized");
    assert_eq!(steps.max, 3);
    assert_eq!(steps.histogram[..4], [2, 1, 0, 1]);
    assert!((steps.share_within(0) - 0.5).abs() < 1e-12);
    assert!((steps.share_within(1) - 0.75).abs() < 1e-12);
}

#[test]
fn a_value_between_two_steps_is_another_value() {
    // The first two differ by f32's rounding and by two fifths of a step; the last two by a step and a half and by
    // less than an eighth.
    let a = tensor(&[1.0, 1.0, 0.3, 0.5]);
    let b = tensor(&[1.000_000_1, 1.2, 0.15, 0.51]);
    let agreement = compare_output(&spec(Activation::None), &[(&a, &b)]);
    let steps = agreement.steps.expect("the output is quantized");
    assert_eq!((steps.max, &steps.histogram[..3]), (2, &[2, 1, 1][..]));
}

#[test]
fn scores_are_compared_before_the_sigmoid() {
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let a = tensor(&[sigmoid(-9.0), sigmoid(2.0), sigmoid(0.0), sigmoid(-34.0)]);
    let b = tensor(&[sigmoid(-10.0), sigmoid(2.0), sigmoid(0.1), 0.0]);
    let agreement = compare_output(&spec(Activation::Sigmoid), &[(&a, &b)]);
    assert_eq!(
        agreement.steps.map(|s| s.histogram[..3].to_vec()),
        Some(vec![2, 1, 1])
    );
}

#[test]
fn a_value_beyond_all_steps_is_not_counted() {
    let steps = |other: f32| {
        let a = tensor(&[1.0, 1.0, 0.3, 0.5]);
        let b = tensor(&[1.0, 1.0, 0.3, other]);
        let steps = compare_output(&spec(Activation::None), &[(&a, &b)]).steps;
        steps_in_words(steps.expect("the output is quantized").max)
    };
    assert_eq!(steps(0.6), "1 step");
    assert_eq!(steps(0.5), "0 steps");
    assert_eq!(steps(100_000.5), "1000000 steps");
    assert_eq!(steps(1e30), "over a billion steps");
}

#[test]
fn nan_is_never_agreement() {
    let a = tensor(&[1.0, 1.0, 1.0, 1.0]);
    let b = tensor(&[f32::NAN, 1.0, 1.0, f32::INFINITY]);
    let agreement = compare_output(&spec(Activation::None), &[(&a, &b)]);
    assert_eq!(agreement.not_finite, 2);
    assert!(!agreement.bit_equal());
}

#[test]
fn the_same_nan_is_agreement_and_another_infinity_is_none() {
    let nan = f32::from_bits(f32::NAN.to_bits() | 1);
    let a = tensor(&[f32::NAN, f32::INFINITY, 1.0, 1.0]);
    let b = tensor(&[nan, f32::NEG_INFINITY, 1.0, 1.0]);
    assert_eq!(compare_output(&float(), &[(&a, &b)]).not_finite, 1);
}

fn float() -> OutputSpec {
    OutputSpec {
        name: "y".into(),
        ..OutputSpec::default()
    }
}

fn relative(a: &[f32], b: &[f32]) -> f64 {
    compare_output(&float(), &[(&tensor(a), &tensor(b))]).max_relative
}

/// With a distance in units of the reference, outputs of zero were nearest to all others.
#[test]
fn a_distance_is_the_same_in_both_directions() {
    let (large, zero) = ([100.0, -200.0, 50.0], [0.0; 3]);
    assert_eq!(relative(&large, &zero), relative(&zero, &large));
    assert!((relative(&large, &zero) - 1.0).abs() < 1e-12);
    let agreement = compare_output(&float(), &[(&tensor(&large), &tensor(&zero))]);
    assert_eq!(agreement.cosine, 0.0, "nothing is like zero");
    assert_eq!(relative(&zero, &zero), 0.0);
}

/// A probability near 1 among thousands near 0, whose root mean square is tiny.
#[test]
fn a_difference_is_seen_at_the_scale_of_its_value() {
    let mut softmax = vec![1e-7; 6625];
    softmax[7] = 0.9;
    let off = |at: usize, by: f32| {
        let mut other = softmax.clone();
        other[at] += by;
        relative(&softmax, &other)
    };
    assert!(off(7, 2e-6) < 3e-6, "{}", off(7, 2e-6));
    assert!(off(7, 1e-3) > 1e-3, "{}", off(7, 1e-3));
    // What should be near 0 is off by a hundredth of the largest.
    assert!(off(8, 1e-2) > 0.1, "{}", off(8, 1e-2));
}

#[test]
fn integers_are_compared_one_by_one() -> Result<(), firstpass_probe::Error> {
    let labels = |last: i64| Tensor::new(&[3], vec![7, 50_000, last]);
    let compared = |a: i64, b: i64| -> Result<_, firstpass_probe::Error> {
        let agreement = compare_output(&float(), &[(&labels(a)?, &labels(b)?)]);
        Ok(agreement.steps.map(|s| (s.max, s.histogram[0])))
    };
    assert_eq!(compared(50_000, 50_000)?, Some((0, 3)));
    assert_eq!(compared(50_000, 50_001)?, Some((1, 2)));
    let huge = 1_i64 << 60;
    assert_eq!(compared(huge, huge + 1)?, Some((1, 2)));
    Ok(())
}

#[test]
fn missed_and_extra_faces_are_counted() {
    let face = |left: f32, score| Detection {
        bbox: BBox {
            left,
            top: 0.0,
            right: left + 10.0,
            bottom: 10.0,
        },
        score,
    };
    let agreement = compare_detections(
        &[face(0.0, 0.9), face(100.0, 0.8)],
        &[face(1.0, 0.7), face(200.0, 0.8), face(300.0, 0.6)],
    );
    assert_eq!(
        (agreement.matched, agreement.missed, agreement.extra),
        (1, 1, 2)
    );
    assert!((agreement.max_score_difference - 0.2).abs() < 1e-6);
    assert!(!agreement.same_faces());
}
