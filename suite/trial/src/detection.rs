//! Boxes from raw outputs: priors, decoding, non-maximum suppression and matching.
//!
//! FaceBoxes (Zhang et al., 2017) predicts, for each prior box, an offset and a score.

use anyhow::{Context, Result, ensure};
use firstpass_probe::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::ModelDescription;

/// A box in pixels: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct BBox {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

/// A found face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    pub bbox: BBox,
    /// From 0 to 1.
    pub score: f32,
}

/// How boxes are read from the outputs, as a `model.toml` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionSpec {
    /// The output with four offsets a prior.
    pub boxes: String,
    /// The output with one score a prior, or with one for each of some classes, of which a face is
    /// the last.
    pub scores: String,
    /// What the offsets of centre and of size are multiplied by.
    pub variances: [f32; 2],
    pub score_threshold: f32,
    /// Of two boxes that overlap by more than this (intersection over union), the better stays.
    pub nms_iou: f32,
    pub level: Vec<Level>,
}

/// One feature map with its priors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Pixels per cell.
    pub stride: usize,
    /// Sides of the square priors of each cell, in pixels.
    pub sizes: Vec<f32>,
    /// Of each size, as many priors in a row and in a column of a cell; one where nothing is said.
    /// A single one is in the middle of its cell, the first of several in its upper left corner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub densities: Vec<usize>,
}

impl Level {
    /// Each size, and the places of its priors in a cell, from 0 to 1, row by row.
    fn places(&self) -> impl Iterator<Item = (f32, f32, f32)> {
        self.sizes.iter().enumerate().flat_map(|(index, &side)| {
            let density = self.densities.get(index).copied().unwrap_or(1);
            let place = move |step: usize| match density {
                1 => 0.5,
                _ => step as f32 / density as f32,
            };
            (0..density).flat_map(move |row| {
                (0..density).map(move |column| (side, place(column), place(row)))
            })
        })
    }
}

/// A prior box: a square, by centre and side, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    pub x: f32,
    pub y: f32,
    pub side: f32,
}

impl From<[f32; 4]> for BBox {
    fn from([left, top, right, bottom]: [f32; 4]) -> Self {
        Self {
            left,
            top,
            right,
            bottom,
        }
    }
}

impl From<BBox> for [f32; 4] {
    fn from(b: BBox) -> Self {
        [b.left, b.top, b.right, b.bottom]
    }
}

impl BBox {
    pub fn width(&self) -> f32 {
        (self.right - self.left).max(0.0)
    }

    pub fn height(&self) -> f32 {
        (self.bottom - self.top).max(0.0)
    }

    /// Intersection over union, from 0 to 1.
    pub fn iou(&self, other: &Self) -> f32 {
        let overlap = Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        };
        let shared = overlap.width() * overlap.height();
        let union = self.width() * self.height() + other.width() * other.height() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }
}

impl DetectionSpec {
    /// The priors for an image, in the order of the outputs: level, row, column, size, place in the
    /// cell.
    pub fn priors(&self, (height, width): (usize, usize)) -> Vec<Prior> {
        let mut priors = Vec::new();
        for level in &self.level {
            for row in 0..height.div_ceil(level.stride) {
                for column in 0..width.div_ceil(level.stride) {
                    let at = |cell: usize, place: f32| (cell as f32 + place) * level.stride as f32;
                    priors.extend(level.places().map(|(side, x, y)| Prior {
                        x: at(column, x),
                        y: at(row, y),
                        side,
                    }));
                }
            }
        }
        priors
    }

    pub(crate) fn check(&self, model: &ModelDescription) -> Result<()> {
        ensure!(
            self.level.iter().all(|l| l.stride > 0),
            "the stride of a detection level must be positive"
        );
        ensure!(
            self.level
                .iter()
                .all(|l| l.densities.is_empty() || l.densities.len() == l.sizes.len()),
            "a detection level must have as many densities as sizes, or none"
        );
        let picture = model.picture().context(
            "[detection] is for a model of pictures: give its input a [input.preprocess]",
        )?;
        let priors = self.priors((picture.height, picture.width)).len();
        let elements = |name: &String| {
            let output = model.outputs.iter().find(|o| &o.name == name)?;
            Some(output.shape.as_ref()?.iter().product::<usize>())
        };
        let (boxes, scores) = (elements(&self.boxes), elements(&self.scores));
        ensure!(
            boxes == Some(priors * 4),
            "[detection] expects an output {:?} of 4 x {priors} values, but finds {boxes:?}",
            self.boxes
        );
        ensure!(
            scores.is_some_and(|count| count > 0 && priors > 0 && count % priors == 0),
            "[detection] expects an output {:?} of a multiple of {priors} values, but finds {scores:?}",
            self.scores
        );
        Ok(())
    }

    /// The faces in the outputs of one pass, best first.
    pub fn detect(&self, model: &ModelDescription, outputs: &[Tensor]) -> Vec<Detection> {
        let find = |name: &str| {
            let position = model.outputs.iter().position(|o| o.name == name);
            position.and_then(|p| outputs.get(p))
        };
        let values = |name: &str| find(name)?.f32s().ok();
        let (Some(boxes), Some(scores), Some(picture)) =
            (values(&self.boxes), values(&self.scores), model.picture())
        else {
            return Vec::new();
        };
        let priors = self.priors((picture.height, picture.width));
        // Other engines may give outputs of other shapes; `check` has seen only the described ones.
        let classes = (scores.len() / priors.len().max(1)).max(1);
        let detections = priors
            .iter()
            .zip(boxes.as_chunks::<4>().0)
            .zip(scores.chunks_exact(classes))
            .filter_map(|((prior, offsets), scores)| {
                let score = *scores.last()?;
                (score >= self.score_threshold).then(|| Detection {
                    bbox: decode(prior, offsets, self.variances),
                    score,
                })
            })
            .collect();
        suppress(detections, self.nms_iou)
    }
}

/// The box that `offsets` from a prior stand for.
pub fn decode(prior: &Prior, offsets: &[f32; 4], variances: [f32; 2]) -> BBox {
    let [dx, dy, dw, dh] = offsets;
    let x = prior.x + dx * variances[0] * prior.side;
    let y = prior.y + dy * variances[0] * prior.side;
    let half_width = prior.side * (dw * variances[1]).exp() / 2.0;
    let half_height = prior.side * (dh * variances[1]).exp() / 2.0;
    BBox {
        left: x - half_width,
        top: y - half_height,
        right: x + half_width,
        bottom: y + half_height,
    }
}

/// The offsets from a prior that stand for a box: the inverse of [`decode`].
pub fn encode(prior: &Prior, bbox: &BBox, variances: [f32; 2]) -> [f32; 4] {
    [
        ((bbox.left + bbox.right) / 2.0 - prior.x) / (variances[0] * prior.side),
        ((bbox.top + bbox.bottom) / 2.0 - prior.y) / (variances[0] * prior.side),
        (bbox.width() / prior.side).ln() / variances[1],
        (bbox.height() / prior.side).ln() / variances[1],
    ]
}

/// Greedy non-maximum suppression: keeps the best box, drops all that overlap it by more than
/// `max_iou`, and goes on with the rest. The result is sorted by falling score; equal scores keep
/// the order of their priors.
pub fn suppress(mut candidates: Vec<Detection>, max_iou: f32) -> Vec<Detection> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in candidates {
        if kept.iter().all(|k| k.bbox.iou(&candidate.bbox) <= max_iou) {
            kept.push(candidate);
        }
    }
    kept
}

/// How two sets of detections correspond.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matching {
    /// Index in the reference, index in the other, and their overlap (intersection over union).
    pub pairs: Vec<(usize, usize, f32)>,
    /// Of the reference, without a partner.
    pub missed: Vec<usize>,
    /// Of the other, without a partner.
    pub extra: Vec<usize>,
}

/// Pairs boxes one to one, the best overlap first, where it is at least `min_iou`.
pub fn match_boxes(reference: &[BBox], other: &[BBox], min_iou: f32) -> Matching {
    let mut candidates: Vec<(usize, usize, f32)> = Vec::new();
    for (i, a) in reference.iter().enumerate() {
        for (j, b) in other.iter().enumerate() {
            let iou = a.iou(b);
            if iou >= min_iou {
                candidates.push((i, j, iou));
            }
        }
    }
    candidates.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut pairs: Vec<(usize, usize, f32)> = Vec::new();
    for candidate in candidates {
        let taken = |p: &(usize, usize, f32)| p.0 == candidate.0 || p.1 == candidate.1;
        if !pairs.iter().any(taken) {
            pairs.push(candidate);
        }
    }
    pairs.sort_by_key(|p| p.0);
    Matching {
        missed: (0..reference.len())
            .filter(|i| pairs.iter().all(|p| p.0 != *i))
            .collect(),
        extra: (0..other.len())
            .filter(|j| pairs.iter().all(|p| p.1 != *j))
            .collect(),
        pairs,
    }
}

#[cfg(test)]
mod tests;
