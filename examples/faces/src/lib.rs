//! From a photograph to the input of FaceBoxes, and from its outputs to faces, for any engine.
//!
//! FaceBoxes (Zhang et al., 2017) predicts for each of its priors, which are squares in fixed places, a score and
//! the offsets of a box. The numbers here are those of `model.toml` of the models.

use std::{fmt, path::Path};

use anyhow::{Context, Result, ensure};
use image::{Rgb, RgbImage, imageops};

/// The shape of the model's input: NCHW, RGB.
pub const SHAPE: [usize; 4] = [1, 3, 480, 640];

const HEIGHT: u32 = SHAPE[2] as u32;
const WIDTH: u32 = SHAPE[3] as u32;
/// A pixel becomes `(pixel / 255 - MEAN) / STD`.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];
/// The grey around a photograph of another aspect.
const PAD: u8 = 114;

/// Pixels between the priors of a level, and the sides of those at each place.
const LEVELS: [(u32, [f32; 3]); 3] = [
    (32, [32.0, 48.0, 72.0]),
    (64, [104.0, 144.0, 192.0]),
    (128, [256.0, 320.0, 400.0]),
];
/// What the offsets of centre and of size are multiplied by.
const VARIANCES: [f32; 2] = [0.1, 0.2];
const LEAST_SCORE: f32 = 0.5;
/// Of two boxes that overlap by more than this (intersection over union) the better stays.
const MOST_OVERLAP: f32 = 0.3;

/// A face, in pixels of the photograph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    /// From 0 to 1.
    pub score: f32,
    /// Left, top, right, bottom.
    pub bbox: [f32; 4],
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x0, y0, x1, y1] = self.bbox;
        write!(f, "{:.4} {x0:.1} {y0:.1} {x1:.1} {y1:.1}", self.score)
    }
}

/// A photograph, scaled to fit the model's input and centred in it.
#[derive(Debug, Clone)]
pub struct Photo {
    /// The model's input, of [`SHAPE`].
    pub input: Vec<f32>,
    scale: f32,
    left: u32,
    top: u32,
}

impl Photo {
    /// Reads a PNG or JPEG file.
    ///
    /// # Errors
    /// Fails on a file that is no such picture; the message names it.
    pub fn read(path: &Path) -> Result<Self> {
        let picture = image::open(path);
        let picture = picture.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::new(&picture.into_rgb8()))
    }

    fn new(picture: &RgbImage) -> Self {
        let scale = |side: u32, limit: u32| f64::from(limit) / f64::from(side);
        let scale = scale(picture.width(), WIDTH).min(scale(picture.height(), HEIGHT));
        let scaled = |side: u32, limit| ((f64::from(side) * scale).round() as u32).clamp(1, limit);
        let width = scaled(picture.width(), WIDTH);
        let height = scaled(picture.height(), HEIGHT);
        let (left, top) = ((WIDTH - width) / 2, (HEIGHT - height) / 2);
        let mut canvas = RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([PAD; 3]));
        // A picture of the right size comes out of this unchanged.
        let resized = imageops::resize(picture, width, height, imageops::FilterType::Triangle);
        imageops::replace(&mut canvas, &resized, left.into(), top.into());
        let plane = |c: usize| {
            let pixels = canvas.pixels();
            pixels.map(move |pixel| (f32::from(pixel[c]) / 255.0 - MEAN[c]) / STD[c])
        };
        Self {
            input: (0..3).flat_map(plane).collect(),
            scale: scale as f32,
            left,
            top,
        }
    }

    /// The faces in the outputs of one pass, best first: `loc` has four offsets a prior, `conf` a score.
    ///
    /// # Errors
    /// Fails on outputs of other lengths.
    pub fn faces(&self, loc: &[f32], conf: &[f32]) -> Result<Vec<Face>> {
        let priors = priors();
        ensure!(
            loc.len() == 4 * priors.len() && conf.len() == priors.len(),
            "{} offsets and {} scores are not those of {} priors",
            loc.len(),
            conf.len(),
            priors.len()
        );
        let boxes = priors.iter().zip(loc.as_chunks().0).zip(conf);
        let mut found: Vec<Face> = boxes
            .filter(|(_, score)| **score >= LEAST_SCORE)
            .map(|((prior, offsets), score)| Face {
                score: *score,
                bbox: decode(prior, offsets),
            })
            .collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut kept: Vec<Face> = Vec::new();
        for face in found {
            let is_apart = |k: &Face| overlap(&k.bbox, &face.bbox) <= MOST_OVERLAP;
            if kept.iter().all(is_apart) {
                kept.push(face);
            }
        }
        let [left, top] = [self.left as f32, self.top as f32];
        for face in &mut kept {
            let [x0, y0, x1, y1] = face.bbox;
            let of_photo = [x0 - left, y0 - top, x1 - left, y1 - top];
            face.bbox = of_photo.map(|pixels| pixels / self.scale);
        }
        Ok(kept)
    }
}

/// Centre and side of every prior, in the order of the outputs: level, row, column, side.
fn priors() -> Vec<[f32; 3]> {
    let mut priors = Vec::new();
    for (stride, sides) in LEVELS {
        let centre = |cell: u32| (cell as f32 + 0.5) * stride as f32;
        for row in 0..HEIGHT.div_ceil(stride) {
            for column in 0..WIDTH.div_ceil(stride) {
                priors.extend(sides.map(|side| [centre(column), centre(row), side]));
            }
        }
    }
    priors
}

fn decode(&[x, y, side]: &[f32; 3], &[dx, dy, dw, dh]: &[f32; 4]) -> [f32; 4] {
    let [centre, size] = VARIANCES;
    let (x, y) = (x + dx * centre * side, y + dy * centre * side);
    let half = |d: f32| side * (d * size).exp() / 2.0;
    [x - half(dw), y - half(dh), x + half(dw), y + half(dh)]
}

/// Intersection over union of two boxes, from 0 to 1.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0).max(0.0) * (y1 - y0).max(0.0);
    let both = [
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ];
    area(both) / (area(*a) + area(*b) - area(both))
}
