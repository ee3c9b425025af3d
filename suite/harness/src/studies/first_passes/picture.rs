//! A picture per photograph, with the boxes of the engines: one box for all engines that find the same.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::{Path, PathBuf},
};

use anyhow::Result;
use embedded_graphics::{
    Drawable,
    mono_font::{MonoTextStyle, ascii::FONT_8X13},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{DrawTarget, OriginDimensions, Pixel, Point, Size},
    primitives::{PrimitiveStyle, Rectangle, StyledDrawable},
    text::Text,
};
use firstpass_probe::file_name;
use firstpass_trial::{
    detection::{BBox, Detection},
    model::{ModelDescription, Precision},
    sample::jpeg,
};
use image::{Rgb, RgbImage};

use crate::{
    page::numbers::counted,
    studies::first_passes::{
        analysis::{Analysis, Row},
        plots::look,
    },
};

/// JPEG, in per cent: boxes stay sharp and a picture stays below 150 KB.
const QUALITY: u8 = 82;

/// The colour of a box that every engine finds.
const ALL: Rgb888 = Rgb888::new(240, 228, 66);

/// Boxes that overlap by so much are of the same face.
const SAME: f32 = 0.8;

/// Pixels that a line of the legend takes.
const LINE: u32 = 18;

/// The model whose boxes are drawn: the first int8 detector, or else the first detector.
pub(crate) fn pictured_model(analysis: &Analysis) -> Option<&ModelDescription> {
    let detectors = || analysis.models().iter().filter(|m| m.detection.is_some());
    detectors()
        .find(|m| m.precision == Precision::Int8)
        .or_else(|| detectors().next())
}

/// The pictures as JPEG files, by photograph.
pub(crate) fn pictures(analysis: &Analysis) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut pictures = BTreeMap::new();
    let Some(model) = pictured_model(analysis) else {
        return Ok(pictures);
    };
    // Made-up inputs are nothing to look at.
    for sample in analysis.samples().iter().filter(|s| !s.is_tensors()) {
        let picture = sample.letterboxed(model)?;
        let rows = analysis.rows(model);
        let found: Vec<(&Row, &[Detection])> = rows
            .iter()
            .filter_map(|row| Some((row, row.detections.get(&sample.name)?.as_slice())))
            .collect();
        let boxes = group(&found);
        let mut legend: Vec<(String, Rgb888)> = Vec::new();
        if let Some(faces) = &sample.faces {
            let text = format!("known faces: {} (white)", faces.len());
            legend.push((text, Rgb888::WHITE));
        }
        let is_of_all = |boxed: &&Boxed| boxed.rows.len() == found.len();
        let of_all = boxes.iter().filter(is_of_all).count();
        if of_all > 0 {
            let text = format!("every engine: {} (yellow)", counted(of_all, "face"));
            legend.push((text, ALL));
        }
        for row in rows {
            let own = found.iter().position(|(of, _)| of.label == row.label);
            let text = match own {
                None => "no outputs".into(),
                Some(own) => {
                    let further = boxes.iter().filter(|b| b.rows.contains(&own));
                    match further.filter(|b| !is_of_all(b)).count() {
                        0 => continue,
                        n => format!("{n} that not every engine finds"),
                    }
                }
            };
            let colour = rgb(look(analysis, row).colour);
            legend.push((format!("{}: {text}", row.label), colour));
        }
        let height = picture.height();
        let mut canvas = RgbImage::from_pixel(
            picture.width(),
            height + LINE * u32::try_from(legend.len())? + 6,
            Rgb([24, 24, 24]),
        );
        image::imageops::replace(&mut canvas, &picture, 0, 0);
        let mut canvas = Canvas(canvas);
        for face in sample.faces.iter().flatten() {
            canvas.draw_box(face, 0, Rgb888::WHITE);
        }
        for boxed in &boxes {
            let colour = match boxed.rows.first() {
                Some(first) if !is_of_all(&boxed) => rgb(look(analysis, found[*first].0).colour),
                _ => ALL,
            };
            canvas.draw_box(&boxed.bbox, 2, colour);
        }
        let mut baseline = i32::try_from(height + LINE)? - 2;
        for (text, colour) in legend {
            let style = MonoTextStyle::new(&FONT_8X13, colour);
            let Ok(_) = Text::new(&text, Point::new(8, baseline), style).draw(&mut canvas);
            baseline += i32::try_from(LINE)?;
        }
        pictures.insert(sample.name.clone(), jpeg(&canvas.0, QUALITY)?);
    }
    Ok(pictures)
}

/// A face, and the engines that find it, by their place among those with outputs.
struct Boxed {
    bbox: BBox,
    rows: Vec<usize>,
}

/// One box for each face, however many engines find it: boxes that overlap by [`SAME`] are one.
fn group(found: &[(&Row, &[Detection])]) -> Vec<Boxed> {
    let mut boxes: Vec<Boxed> = Vec::new();
    for (at, (_, detections)) in found.iter().enumerate() {
        for detection in *detections {
            let same = boxes
                .iter_mut()
                .find(|boxed| !boxed.rows.contains(&at) && boxed.bbox.iou(&detection.bbox) >= SAME);
            match same {
                Some(boxed) => boxed.rows.push(at),
                None => boxes.push(Boxed {
                    bbox: detection.bbox,
                    rows: vec![at],
                }),
            }
        }
    }
    boxes
}

fn rgb(colour: plotters::style::RGBColor) -> Rgb888 {
    Rgb888::new(colour.0, colour.1, colour.2)
}

/// An image that `embedded-graphics` draws on.
struct Canvas(RgbImage);

impl Canvas {
    /// Draws a box, moved inwards by `inset` pixels.
    fn draw_box(&mut self, bbox: &BBox, inset: i32, colour: Rgb888) {
        let corner =
            |x: f32, y: f32, by: i32| Point::new(x.round() as i32 + by, y.round() as i32 + by);
        let rectangle = Rectangle::with_corners(
            corner(bbox.left, bbox.top, inset),
            corner(bbox.right, bbox.bottom, -inset),
        );
        let Ok(()) = rectangle.draw_styled(&PrimitiveStyle::with_stroke(colour, 2), self);
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(point, colour) in pixels {
            // What lies outside of the picture is not drawn.
            if let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

/// Where the picture of a photograph lies, below the folder of the report.
pub(crate) fn picture_path(sample: &str) -> PathBuf {
    Path::new("pictures").join(format!("{}.jpg", file_name(sample)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::first_passes::plots::tests::row;

    #[test]
    fn boxes_that_engines_agree_on_are_one() {
        let face = |left: f32| Detection {
            bbox: BBox {
                left,
                top: 0.0,
                right: left + 10.0,
                bottom: 10.0,
            },
            score: 0.9,
        };
        let rows = [row("a", []), row("b", [])];
        let of_each = [vec![face(0.0), face(50.0)], vec![face(0.5)]];
        let found: Vec<(&Row, &[Detection])> = rows
            .iter()
            .zip(&of_each)
            .map(|(row, detections)| (row, detections.as_slice()))
            .collect();
        let boxes = group(&found);
        let rows: Vec<&[usize]> = boxes.iter().map(|b| b.rows.as_slice()).collect();
        assert_eq!(rows, [&[0, 1][..], &[0]]);
    }
}
