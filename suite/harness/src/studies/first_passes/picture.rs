//! A picture per photograph, with every engine's boxes in its colour.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::Cursor,
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
    detection::BBox,
    model::{ModelDescription, Precision},
};
use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder};

use crate::studies::first_passes::{analysis::Analysis, plots::colour};

/// JPEG, in per cent: boxes stay sharp and a picture stays below 150 KB.
const QUALITY: u8 = 82;

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
    for sample in analysis.samples() {
        let picture = sample.letterboxed(model)?;
        let rows = analysis.rows(model);
        let height = picture.height();
        let lines = u32::try_from(rows.len())? + u32::from(sample.faces.is_some());
        let mut canvas = RgbImage::from_pixel(
            picture.width(),
            height + LINE * lines + 6,
            Rgb([24, 24, 24]),
        );
        image::imageops::replace(&mut canvas, &picture, 0, 0);
        let mut canvas = Canvas(canvas);
        let mut baseline = i32::try_from(height + LINE)? - 2;
        let mut legend = |canvas: &mut Canvas, text: &str, colour: Rgb888| {
            let style = MonoTextStyle::new(&FONT_8X13, colour);
            let Ok(_) = Text::new(text, Point::new(8, baseline), style).draw(canvas);
            baseline += i32::try_from(LINE).unwrap_or_default();
        };
        if let Some(faces) = &sample.faces {
            for face in faces {
                canvas.draw_box(face, 0, Rgb888::WHITE);
            }
            let text = format!("known faces: {} (white)", faces.len());
            legend(&mut canvas, &text, Rgb888::WHITE);
        }
        for (number, row) in rows.iter().enumerate() {
            let (r, g, b) = {
                let c = colour(analysis, row);
                (c.0, c.1, c.2)
            };
            let colour = Rgb888::new(r, g, b);
            let Some(detections) = row.detections.get(&sample.name) else {
                legend(&mut canvas, &format!("{}: no outputs", row.label), colour);
                continue;
            };
            for detection in detections {
                // Each engine's box lies inside the one before, so that equal boxes are all seen.
                canvas.draw_box(&detection.bbox, 2 * i32::try_from(number)? + 2, colour);
            }
            let scores: Vec<String> = detections
                .iter()
                .map(|d| format!("{:.2}", d.score))
                .collect();
            let text = format!(
                "{}: {} found  {}",
                row.label,
                detections.len(),
                scores.join(" ")
            );
            legend(&mut canvas, &text, colour);
        }
        let mut bytes = Cursor::new(Vec::new());
        canvas
            .0
            .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
        pictures.insert(sample.name.clone(), bytes.into_inner());
    }
    Ok(pictures)
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
