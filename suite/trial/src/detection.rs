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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec() -> DetectionSpec {
        DetectionSpec {
            boxes: "loc".into(),
            scores: "conf".into(),
            variances: [0.1, 0.2],
            score_threshold: 0.5,
            nms_iou: 0.3,
            level: vec![
                Level {
                    stride: 32,
                    sizes: vec![32.0, 48.0],
                    densities: vec![],
                },
                Level {
                    stride: 64,
                    sizes: vec![100.0],
                    densities: vec![],
                },
            ],
        }
    }

    #[test]
    fn priors_run_by_level_row_column_size() {
        let priors = spec().priors((64, 96));
        assert_eq!(priors.len(), 2 * 3 * 2 + 2);
        assert_eq!(
            priors[0],
            Prior {
                x: 16.0,
                y: 16.0,
                side: 32.0
            }
        );
        assert_eq!(
            priors[1],
            Prior {
                x: 16.0,
                y: 16.0,
                side: 48.0
            }
        );
        assert_eq!(
            priors[2],
            Prior {
                x: 48.0,
                y: 16.0,
                side: 32.0
            }
        );
        assert_eq!(
            priors[6],
            Prior {
                x: 16.0,
                y: 48.0,
                side: 32.0
            }
        );
        assert_eq!(
            priors[12],
            Prior {
                x: 32.0,
                y: 32.0,
                side: 100.0
            }
        );
        assert_eq!(
            priors[13],
            Prior {
                x: 96.0,
                y: 32.0,
                side: 100.0
            }
        );
    }

    #[test]
    fn dense_priors_begin_in_the_corner_of_their_cell() {
        let mut spec = spec();
        spec.level.truncate(1);
        spec.level[0].densities = vec![2, 1];
        let priors = spec.priors((32, 64));
        let places: Vec<(f32, f32, f32)> = priors.iter().map(|p| (p.x, p.y, p.side)).collect();
        let first = [
            (0.0, 0.0, 32.0),
            (16.0, 0.0, 32.0),
            (0.0, 16.0, 32.0),
            (16.0, 16.0, 32.0),
            (16.0, 16.0, 48.0),
            (32.0, 0.0, 32.0),
        ];
        assert_eq!(places.len(), 2 * 5);
        assert_eq!(places[..6], first);
    }

    #[test]
    fn a_box_equal_to_its_prior_has_no_offsets() {
        let prior = Prior {
            x: 50.0,
            y: 60.0,
            side: 20.0,
        };
        let bbox = decode(&prior, &[0.0; 4], [0.1, 0.2]);
        assert_eq!(
            bbox,
            BBox {
                left: 40.0,
                top: 50.0,
                right: 60.0,
                bottom: 70.0
            }
        );
    }

    fn boxes() -> impl Strategy<Value = BBox> {
        (0f32..600.0, 0f32..400.0, 1f32..200.0, 1f32..200.0).prop_map(|(left, top, w, h)| BBox {
            left,
            top,
            right: left + w,
            bottom: top + h,
        })
    }

    fn detections() -> impl Strategy<Value = Vec<Detection>> {
        let one = (boxes(), 0f32..1.0).prop_map(|(bbox, score)| Detection { bbox, score });
        proptest::collection::vec(one, 0..40)
    }

    /// The definition, without any cleverness: a box stays if no better box that stays overlaps it.
    fn suppress_by_definition(all: &[Detection], max_iou: f32) -> Vec<Detection> {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&a, &b| all[b].score.total_cmp(&all[a].score).then(a.cmp(&b)));
        let mut alive = vec![true; all.len()];
        for (rank, &i) in order.iter().enumerate() {
            for &j in &order[rank + 1..] {
                if alive[i] && all[i].bbox.iou(&all[j].bbox) > max_iou {
                    alive[j] = false;
                }
            }
        }
        order
            .into_iter()
            .filter(|&i| alive[i])
            .map(|i| all[i])
            .collect()
    }

    proptest! {
        #[test]
        fn encoding_inverts_decoding(
            x in 0f32..640.0, y in 0f32..480.0, side in 16f32..400.0,
            offsets in proptest::array::uniform4(-5f32..5.0),
        ) {
            let prior = Prior { x, y, side };
            let bbox = decode(&prior, &offsets, [0.1, 0.2]);
            let back = encode(&prior, &bbox, [0.1, 0.2]);
            for (a, b) in offsets.iter().zip(back) {
                // Pixel coordinates of up to 1000 have an ulp of 6e-5, divided by 0.1 x 16 pixels.
                prop_assert!((a - b).abs() < 1e-3, "{offsets:?} became {back:?}");
            }
        }

        #[test]
        fn overlap_is_symmetric_and_bounded(a in boxes(), b in boxes()) {
            prop_assert_eq!(a.iou(&b), b.iou(&a));
            prop_assert!((0.0..=1.0).contains(&a.iou(&b)));
            prop_assert!((a.iou(&a) - 1.0).abs() < 1e-4);
        }

        #[test]
        fn suppression_is_the_definition(all in detections(), max_iou in 0.1f32..0.9) {
            prop_assert_eq!(suppress(all.clone(), max_iou), suppress_by_definition(&all, max_iou));
        }

        #[test]
        fn matching_is_one_to_one(a in proptest::collection::vec(boxes(), 0..12), b in proptest::collection::vec(boxes(), 0..12)) {
            let m = match_boxes(&a, &b, 0.3);
            prop_assert_eq!(m.pairs.len() + m.missed.len(), a.len());
            prop_assert_eq!(m.pairs.len() + m.extra.len(), b.len());
            let itself = match_boxes(&a, &a, 0.999);
            prop_assert!(itself.missed.is_empty() && itself.extra.is_empty());
        }
    }
}
