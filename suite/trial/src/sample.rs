//! Photographs: reading, letterboxing, and turning them into a model's input.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::Tensor;
use image::{codecs::jpeg::JpegEncoder, imageops};
use serde::Deserialize;

use crate::{
    detection::BBox,
    model::{ModelDescription, Picture},
    tensor_files::{UNNAMED, is_tensors, read_named},
    workspace::read_toml,
};

pub use image::RgbImage;

/// A picture of more pixels is not read: they take four to eight bytes each.
const MOST_PIXELS: u64 = 100_000_000;

/// One photograph to run the models on, or a file of tensors in its place.
#[derive(Debug, Clone, Deserialize)]
pub struct Sample {
    pub name: String,
    pub file: PathBuf,
    #[serde(default)]
    pub description: String,
    /// Where the picture comes from.
    #[serde(default)]
    pub source: String,
    /// The faces in it, in pixels of the letterboxed picture, where they are known.
    pub faces: Option<Vec<BBox>>,
    /// Who says where the faces are.
    pub faces_from: Option<String>,
}

impl Sample {
    /// The photographs of `fixtures/images`, with absolute paths.
    ///
    /// # Errors
    /// Fails where `images.toml` cannot be read.
    pub fn fixtures(fixtures: &Path) -> Result<Vec<Self>> {
        #[derive(Deserialize)]
        struct Document {
            image: Vec<Sample>,
        }
        if !fixtures.exists() {
            return Ok(Vec::new());
        }
        let dir = fixtures.join("images");
        let mut document: Document = read_toml(&dir.join("images.toml"))?;
        for sample in &mut document.image {
            sample.file = dir.join(&sample.file);
        }
        Ok(document.image)
    }

    /// A photograph of the user's own, named after its file.
    pub fn from_file(file: &Path) -> Self {
        let name = file.file_stem().map(|s| s.to_string_lossy().into_owned());
        Self {
            name: name.unwrap_or_else(|| "photo".into()),
            file: file.into(),
            description: String::new(),
            source: String::new(),
            faces: None,
            faces_from: None,
        }
    }

    /// The photograph letterboxed to the size that the model takes.
    ///
    /// # Errors
    /// Fails on a file that cannot be read or decoded; the message names it.
    pub fn letterboxed(&self, model: &ModelDescription) -> Result<RgbImage> {
        let open = || {
            crate::regular_file::check(&self.file)
                .with_context(|| format!("cannot open the image {}", self.file.display()))?;
            let reader = image::ImageReader::open(&self.file)
                .with_context(|| format!("cannot open the image {}", self.file.display()))?;
            Ok::<_, anyhow::Error>(reader.with_guessed_format()?)
        };
        // Of a file that is no picture nothing is known.
        if let Ok((width, height)) = open()?.into_dimensions() {
            let pixels = u64::from(width) * u64::from(height);
            ensure!(
                pixels <= MOST_PIXELS,
                "the image {} has {width} × {height} = {pixels} pixels, and more than {MOST_PIXELS} are not read: \
                 give a smaller one",
                self.file.display()
            );
        }
        let picture = open()?
            .decode()
            .with_context(|| {
                format!(
                    "cannot read the image {}; give a PNG or JPEG file",
                    self.file.display()
                )
            })?
            .into_rgb8();
        ensure!(
            picture.width() > 0 && picture.height() > 0,
            "the image {} is empty",
            self.file.display()
        );
        let target = model.picture().with_context(|| {
            format!(
                "{} takes no pictures: its model.toml has no preprocess in [input]; give tensors with --sample \
                 FILE.npz, or say there how a picture becomes the input",
                model.name
            )
        })?;
        Ok(letterbox(
            &picture,
            u32::try_from(target.height)?,
            u32::try_from(target.width)?,
            target.preprocess.pad,
        ))
    }
}

impl Sample {
    /// Whether tensors lie in the file and no picture.
    pub fn is_tensors(&self) -> bool {
        is_tensors(&self.file)
    }

    /// The inputs of a model, by name.
    ///
    /// # Errors
    /// Fails on a file that cannot be read, on tensors that are not those that the model takes, and
    /// on a picture for a model that takes none.
    pub fn inputs(&self, model: &ModelDescription) -> Result<Vec<(String, Tensor)>> {
        if self.is_tensors() {
            return self.tensors(model);
        }
        let picture = self.letterboxed(model)?;
        let (Some(target), [input]) = (model.picture(), &model.inputs[..]) else {
            bail!("{} takes no pictures", model.name);
        };
        Ok(vec![(input.name.clone(), to_input(&picture, &target)?)])
    }
}

impl Sample {
    fn tensors(&self, model: &ModelDescription) -> Result<Vec<(String, Tensor)>> {
        let mut arrays = read_named(&self.file)?;
        let alone = model.inputs.len() == 1;
        let inputs = model.inputs.iter().map(|input| {
            let unnamed = if alone { arrays.remove(UNNAMED) } else { None };
            let tensor = unnamed.or_else(|| arrays.remove(&input.name));
            let tensor = tensor.with_context(|| {
                format!("{} holds no array {:?}", self.file.display(), input.name)
            })?;
            tensor
                .check_input(&input.tensor())
                .map_err(|e| anyhow::anyhow!("{}: {e}", self.file.display()))?;
            Ok((input.name.clone(), tensor))
        });
        inputs.collect()
    }
}

/// A picture as a JPEG file, of a quality in per cent.
///
/// # Errors
/// Fails on a picture that is larger than such files can be.
pub fn jpeg(picture: &RgbImage, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))?;
    Ok(bytes)
}

/// Scales `picture` to fit, keeping its aspect, and centres it on a border of grey `pad`. A
/// picture that has the size already is not touched.
fn letterbox(picture: &RgbImage, height: u32, width: u32, pad: u8) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let scale = (f64::from(width) / f64::from(picture.width()))
        .min(f64::from(height) / f64::from(picture.height()));
    let scaled = |side: u32, limit: u32| ((f64::from(side) * scale).round() as u32).clamp(1, limit);
    let (w, h) = (
        scaled(picture.width(), width),
        scaled(picture.height(), height),
    );
    let resized = imageops::resize(picture, w, h, imageops::FilterType::Triangle);
    let mut canvas = RgbImage::from_pixel(width, height, image::Rgb([pad; 3]));
    let (left, top) = (i64::from((width - w) / 2), i64::from((height - h) / 2));
    imageops::replace(&mut canvas, &resized, left, top);
    canvas
}

/// The model's input for a picture of the model's size: NCHW, normalised in f32 in the order that
/// [`crate::model::Preprocess`] states, so that it is bit-equal to what the golden run was given.
///
/// # Errors
/// Fails where the picture has another size.
pub fn to_input(picture: &RgbImage, target: &Picture) -> Result<Tensor> {
    let (mean, std) = (target.preprocess.mean, target.preprocess.std);
    let mut data = Vec::with_capacity(picture.len());
    for channel in 0..3 {
        data.extend(
            picture
                .pixels()
                .map(|pixel| (f32::from(pixel[channel]) / 255.0 - mean[channel]) / std[channel]),
        );
    }
    Ok(Tensor::new(&[1, 3, target.height, target.width], data)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Preprocess;

    fn spec(height: usize, width: usize) -> Picture {
        Picture {
            height,
            width,
            preprocess: Preprocess {
                mean: [0.5, 0.25, 0.0],
                std: [0.5, 1.0, 2.0],
                pad: 114,
            },
        }
    }

    #[test]
    fn channels_are_red_green_blue_planes() -> Result<()> {
        let picture = RgbImage::from_fn(2, 1, |x, _| {
            image::Rgb([255, 0, if x == 0 { 0 } else { 255 }])
        });
        let input = to_input(&picture, &spec(1, 2))?;
        assert_eq!(
            input.data(),
            &vec![1.0_f32, 1.0, -0.25, -0.25, 0.0, 0.5].into()
        );
        Ok(())
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        assert!(to_input(&RgbImage::new(3, 1), &spec(1, 2)).is_err());
    }

    /// A file of some bytes that says it holds a picture of this size.
    #[test]
    fn a_picture_of_too_many_pixels_is_not_read() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("large.png");
        let mut bytes =
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0".to_vec();
        let checksum = [0x0f, 0xb0, 0xe2, 0x15];
        bytes.extend(checksum);
        bytes.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
        std::fs::write(&file, bytes)?;
        let model = ModelDescription::for_tests(crate::model::Precision::Fp32);
        let error = Sample::from_file(&file)
            .letterboxed(&model)
            .expect_err("too large");
        assert!(error.to_string().contains("60000 × 60000"), "{error:#}");
        Ok(())
    }

    #[test]
    fn letterboxing_keeps_the_aspect_and_pads_the_rest() {
        let white = RgbImage::from_pixel(10, 10, image::Rgb([255; 3]));
        let boxed = letterbox(&white, 20, 40, 114);
        assert_eq!(boxed.dimensions(), (40, 20));
        assert_eq!(boxed.get_pixel(9, 10)[0], 114);
        assert_eq!(boxed.get_pixel(10, 10)[0], 255);
        assert_eq!(boxed.get_pixel(29, 10)[0], 255);
        assert_eq!(boxed.get_pixel(30, 10)[0], 114);
    }
}
