//! How far the outputs of one engine are from a reference.

use firstpass_probe::{Data, Dtype, Tensor};

use crate::{
    detection::{BBox, Detection, match_boxes},
    model::{Activation, ModelDescription, OutputSpec},
    outputs::Outputs,
};

/// The agreement on one output over a number of photographs.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    pub output: String,
    /// The type of its values.
    pub dtype: Dtype,
    pub values: usize,
    /// Values whose bits are the same.
    pub same_bits: usize,
    /// Values of one that are NaN or infinite while those of the other are numbers, or not the same.
    pub not_finite: usize,
    /// Tensors of the other that are of another shape or type than the reference's; their values
    /// enter no other figure.
    pub other_shape: usize,
    pub max_abs: f64,
    /// The largest difference of a value relative to its scale: the value itself, of either, or the root mean
    /// square of the output, of either, whichever is the largest. It is the same whichever of the two is called
    /// the reference, and at most 2.
    pub max_relative: f64,
    /// Signal to quantization noise, `10·log10(Σ ref² / Σ (ref − other)²)`; infinite where equal.
    pub sqnr_db: f64,
    pub cosine: f64,
    /// In quantization steps, for an output of a quantized tensor; of integers the step is 1.
    pub steps: Option<Steps>,
}

/// Differences as whole quantization steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// How many values differ by 0, 1, 2, … steps; the last entry counts [`HISTOGRAM`] and more.
    pub histogram: Vec<usize>,
    pub max: u64,
}

/// Entries of [`Steps::histogram`], less one.
pub const HISTOGRAM: usize = 10;

impl Steps {
    /// The share of values that differ by at most so many steps.
    pub fn share_within(&self, steps: usize) -> f64 {
        let all: usize = self.histogram.iter().sum();
        let within: usize = self.histogram.iter().take(steps + 1).sum();
        if all == 0 {
            1.0
        } else {
            within as f64 / all as f64
        }
    }
}

impl Agreement {
    pub fn bit_equal(&self) -> bool {
        self.same_bits == self.values
    }
}

/// The outputs of two engines for the photographs that both have.
pub fn pairs<'a>(reference: &'a Outputs, other: &'a Outputs) -> Vec<(&'a [Tensor], &'a [Tensor])> {
    reference
        .iter()
        .filter_map(|(image, a)| Some((a.as_slice(), other.get(image)?.as_slice())))
        .collect()
}

/// Compares every output over pairs of (reference, other) outputs, one pair a photograph.
pub fn compare(model: &ModelDescription, pairs: &[(&[Tensor], &[Tensor])]) -> Vec<Agreement> {
    let outputs = model.outputs.iter().enumerate();
    outputs
        .map(|(number, spec)| {
            let of_output: Vec<(&Tensor, &Tensor)> = pairs
                .iter()
                .filter_map(|(a, b)| Some((a.get(number)?, b.get(number)?)))
                .collect();
            compare_output(spec, &of_output)
        })
        .collect()
}

/// By value; of tensors of one type.
fn equal_bits(a: &Data, b: &Data) -> Vec<bool> {
    match (a, b) {
        (Data::F32(a), Data::F32(b)) => {
            let both = a.iter().zip(b);
            both.map(|(a, b)| a.to_bits() == b.to_bits()).collect()
        }
        (Data::F64(a), Data::F64(b)) => {
            let both = a.iter().zip(b);
            both.map(|(a, b)| a.to_bits() == b.to_bits()).collect()
        }
        (Data::I64(a), Data::I64(b)) => a.iter().zip(b).map(|(a, b)| a == b).collect(),
        (Data::U64(a), Data::U64(b)) => a.iter().zip(b).map(|(a, b)| a == b).collect(),
        // Every other type is exact as a real number.
        _ => {
            let (a, b) = (a.to_f64s(), b.to_f64s());
            a.iter()
                .zip(&b)
                .map(|(a, b)| a.to_bits() == b.to_bits())
                .collect()
        }
    }
}

/// A value that both have, with the place of it in its tensor.
struct Pair {
    index: usize,
    reference: f64,
    other: f64,
    same_bits: bool,
}

impl Pair {
    /// The same value that is no number: two NaN, whatever their bits, or the same infinity.
    fn same_kind(&self) -> bool {
        (self.reference.is_nan() && self.other.is_nan()) || self.reference == self.other
    }

    fn difference(&self) -> f64 {
        (self.reference - self.other).abs()
    }
}

fn compare_output(spec: &OutputSpec, tensors: &[(&Tensor, &Tensor)]) -> Agreement {
    let (mut same_bits, mut not_finite, mut other_shape) = (0, 0, 0);
    let mut values = 0;
    let mut finite: Vec<Pair> = Vec::new();
    let mut of_integers = !tensors.is_empty();
    for (reference, other) in tensors {
        if reference.shape() != other.shape() || reference.dtype() != other.dtype() {
            other_shape += 1;
            continue;
        }
        of_integers &= is_integer(reference.dtype());
        let equal = equal_bits(reference.data(), other.data());
        let (a, b) = (reference.data().to_f64s(), other.data().to_f64s());
        finite.reserve(a.len());
        let both = a.into_iter().zip(b);
        for (index, ((reference, other), same)) in both.zip(equal).enumerate() {
            values += 1;
            same_bits += usize::from(same);
            let pair = Pair {
                index,
                reference,
                other,
                same_bits: same,
            };
            if reference.is_finite() && other.is_finite() {
                finite.push(pair);
            } else {
                not_finite += usize::from(!pair.same_kind());
            }
        }
    }
    let sum = |of: fn(&Pair) -> f64| finite.iter().map(of).sum::<f64>();
    let reference_power = sum(|p| p.reference * p.reference);
    let other_power = sum(|p| p.other * p.other);
    let noise = sum(|p| p.difference() * p.difference());
    let rms = (reference_power.max(other_power) / finite.len().max(1) as f64).sqrt();
    let relative = |pair: &Pair| {
        let scale = pair.reference.abs().max(pair.other.abs()).max(rms);
        if scale > 0.0 {
            pair.difference() / scale
        } else {
            0.0
        }
    };
    let norms = (reference_power * other_power).sqrt();
    Agreement {
        output: spec.name.clone(),
        dtype: tensors.first().map_or(Dtype::F32, |(a, _)| a.dtype()),
        values,
        same_bits,
        not_finite,
        other_shape,
        max_abs: finite.iter().map(Pair::difference).fold(0.0, f64::max),
        max_relative: finite.iter().map(relative).fold(0.0, f64::max),
        sqnr_db: 10.0 * (reference_power / noise).log10(),
        cosine: if norms > 0.0 {
            sum(|p| p.reference * p.other) / norms
        } else if noise > 0.0 {
            0.0
        } else {
            1.0
        },
        steps: in_steps(spec, &finite, of_integers),
    }
}

/// Whether all values of a type are whole numbers, each of which counts.
fn is_integer(dtype: Dtype) -> bool {
    !matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// `None` where the output is not of whole steps.
fn in_steps(spec: &OutputSpec, finite: &[Pair], of_integers: bool) -> Option<Steps> {
    let scales: Vec<f64> = spec
        .steps
        .iter()
        .flat_map(|s| std::iter::repeat_n(s.scale, s.elements))
        .collect();
    if scales.is_empty() && spec.step.is_none() && !of_integers {
        return None;
    }
    let mut histogram = vec![0; HISTOGRAM + 1];
    let mut max = 0;
    for pair in finite {
        let steps = match scales.get(pair.index).or(spec.step.as_ref()) {
            // Only tensors of f32 have steps.
            Some(scale) => steps_between(
                pair.reference as f32,
                pair.other as f32,
                *scale,
                spec.activation,
            ),
            // A large i64 may be another and the same f64.
            None => (pair.difference() as u64).max(u64::from(!pair.same_bits)),
        };
        max = max.max(steps);
        histogram[usize::try_from(steps).unwrap_or(HISTOGRAM).min(HISTOGRAM)] += 1;
    }
    Some(Steps { histogram, max })
}

/// The difference in whole steps of the quantized tensor that lies before the activation.
fn steps_between(a: f32, b: f32, scale: f64, activation: Activation) -> u64 {
    let before = |value: f32| match activation {
        Activation::None => f64::from(value),
        Activation::Sigmoid => logit(value),
    };
    let apart = (before(a) - before(b)).abs() / scale;
    // Who leaves out the last quantization gives numbers between the steps, and not what the file defines. What is found
    // through a sigmoid is not as exact.
    let is_between = activation == Activation::None && apart > OFF_THE_GRID && apart < 1.0;
    // A cast to an integer saturates; NaN would become 0, but counts as the most.
    match apart.round() {
        steps if steps.is_nan() => u64::MAX,
        0.0 if is_between => 1,
        steps => steps as u64,
    }
}

/// From this part of a step on a value is another: far more than f32 rounds the values of a quantized tensor by.
const OFF_THE_GRID: f64 = 0.125;

/// The inverse of the sigmoid, for scores at least 10⁻⁵ from 0 and 1; those nearer count as these.
///
/// Engines compute the sigmoid by approximations whose absolute error is about 10⁻⁷ (some give 0
/// for every logit below −18), so that a score nearer to 0 or 1 no longer tells its logit.
fn logit(score: f32) -> f64 {
    let p = f64::from(score).clamp(1e-5, 1.0 - 1e-5);
    p.ln() - (1.0 - p).ln()
}

/// The agreement of the faces found in one photograph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DetectionAgreement {
    pub matched: usize,
    /// Faces of the reference that the other did not find.
    pub missed: usize,
    /// Faces that only the other found.
    pub extra: usize,
    /// The worst overlap of a matched pair; `None` where no pair was matched.
    pub least_iou: Option<f32>,
    pub max_score_difference: f32,
}

impl DetectionAgreement {
    pub fn same_faces(&self) -> bool {
        self.missed == 0 && self.extra == 0
    }

    /// The agreement over two sets of photographs.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            matched: self.matched + other.matched,
            missed: self.missed + other.missed,
            extra: self.extra + other.extra,
            least_iou: match (self.least_iou, other.least_iou) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            max_score_difference: self.max_score_difference.max(other.max_score_difference),
        }
    }
}

/// Two boxes are of one face where they overlap by at least this (intersection over union), the
/// criterion of PASCAL VOC.
pub const SAME_FACE_IOU: f32 = 0.5;

/// Compares the faces that two engines found in one photograph.
pub fn compare_detections(reference: &[Detection], other: &[Detection]) -> DetectionAgreement {
    let boxes = |all: &[Detection]| all.iter().map(|d| d.bbox).collect::<Vec<_>>();
    let matching = match_boxes(&boxes(reference), &boxes(other), SAME_FACE_IOU);
    DetectionAgreement {
        matched: matching.pairs.len(),
        missed: matching.missed.len(),
        extra: matching.extra.len(),
        least_iou: matching.pairs.iter().map(|p| p.2).reduce(f32::min),
        max_score_difference: matching
            .pairs
            .iter()
            .map(|&(i, j, _)| (reference[i].score - other[j].score).abs())
            .fold(0.0, f32::max),
    }
}

/// Found, missed and false faces against boxes that are known.
pub fn against_known_faces(known: &[BBox], detections: &[Detection]) -> (usize, usize, usize) {
    let detections: Vec<BBox> = detections.iter().map(|d| d.bbox).collect();
    let matching = match_boxes(known, &detections, SAME_FACE_IOU);
    (
        matching.pairs.len(),
        matching.missed.len(),
        matching.extra.len(),
    )
}

#[cfg(test)]
mod tests {
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
}
