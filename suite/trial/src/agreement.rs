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

/// No quantized tensor has more steps than this. A value beyond it is no matter of counting.
const MOST_COUNTED: u64 = 1_000_000_000;

/// A number of steps in words: `1 step`, `7 steps`, or that they are too many to be counted.
pub fn steps_in_words(steps: u64) -> String {
    match steps {
        1 => "1 step".into(),
        0..=MOST_COUNTED => format!("{steps} steps"),
        _ => "over a billion steps".into(),
    }
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
mod tests;
