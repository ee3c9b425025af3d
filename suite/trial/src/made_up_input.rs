//! Inputs that are made up: the same in every run, and like what models are made for.

use std::f64::consts::TAU;

use anyhow::Result;
use firstpass_probe::{Data, Dtype, Tensor, TensorSpec, bf16, f16};
use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};

/// Waves of which a picture is made up.
const WAVES: usize = 12;

/// The share of noise in a picture: what a sensor adds to a scene.
const NOISE: f64 = 0.15;

/// Below so many pixels a side a tensor is hardly a picture.
const SMALLEST_PICTURE: usize = 8;

/// The largest made-up number of an index, such as a token: every vocabulary has so many.
const LARGEST_INDEX: i64 = 99;

/// An input of values that are likely for its type and shape.
///
/// Floats of the shape `[n, 1 or 3, height, width]` are a picture of smooth waves with a little noise,
/// normalised to mean 0 and deviation 1, as classifiers and detectors take them; other floats are
/// normally distributed. Bytes are such a picture, or evenly distributed; other integers lie between 0
/// and 99.
///
/// # Errors
/// Fails on a shape that does not fit into memory.
pub fn random_input(spec: &TensorSpec, seed: u64) -> Result<Tensor> {
    let zeros = Tensor::zeros(spec)?;
    let count = zeros.data().len();
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut floats = || match picture_size(&spec.shape) {
        Some((height, width)) => pictures(&mut random, count, height, width),
        None => (0..count).map(|_| normal(&mut random)).collect(),
    };
    let data: Data = match spec.dtype {
        Dtype::F32 => floats()
            .into_iter()
            .map(|v| v as f32)
            .collect::<Vec<_>>()
            .into(),
        Dtype::F64 => floats().into(),
        Dtype::F16 => {
            let all = floats().into_iter().map(f16::from_f64);
            all.collect::<Vec<_>>().into()
        }
        Dtype::BF16 => {
            let all = floats().into_iter().map(bf16::from_f64);
            all.collect::<Vec<_>>().into()
        }
        Dtype::U8 => {
            let byte = |v: f64| (v * 48.0 + 128.0).clamp(0.0, 255.0) as u8;
            floats().into_iter().map(byte).collect::<Vec<_>>().into()
        }
        Dtype::I8 => {
            let byte = |v: f64| (v * 48.0).clamp(-128.0, 127.0) as i8;
            floats().into_iter().map(byte).collect::<Vec<_>>().into()
        }
        Dtype::I64 => {
            let all = (0..count).map(|_| random.random_range(0..=LARGEST_INDEX));
            all.collect::<Vec<_>>().into()
        }
        Dtype::I32 => {
            let all = (0..count).map(|_| random.random_range(0..=LARGEST_INDEX as i32));
            all.collect::<Vec<_>>().into()
        }
        Dtype::I16 => {
            let all = (0..count).map(|_| random.random_range(0..=LARGEST_INDEX as i16));
            all.collect::<Vec<_>>().into()
        }
        Dtype::U64 => {
            let all = (0..count).map(|_| random.random_range(0..=LARGEST_INDEX as u64));
            all.collect::<Vec<_>>().into()
        }
        Dtype::U32 => {
            let all = (0..count).map(|_| random.random_range(0..=LARGEST_INDEX as u32));
            all.collect::<Vec<_>>().into()
        }
        Dtype::U16 => {
            let all = (0..count).map(|_| random.random_range(0..=LARGEST_INDEX as u16));
            all.collect::<Vec<_>>().into()
        }
        Dtype::Bool => {
            let all = (0..count).map(|_| random.random_bool(0.5));
            all.collect::<Vec<_>>().into()
        }
    };
    Ok(Tensor::new(&spec.shape, data)?)
}

/// Height and width, where the shape is that of pictures with the channels before or after them.
fn picture_size(shape: &[usize]) -> Option<(usize, usize)> {
    let (height, width) = match *shape {
        [_, 1 | 3, height, width] | [1 | 3, height, width] | [_, height, width, 1 | 3] => {
            (height, width)
        }
        _ => return None,
    };
    (height >= SMALLEST_PICTURE && width >= SMALLEST_PICTURE).then_some((height, width))
}

/// So many values, plane by plane.
fn pictures(random: &mut ChaCha12Rng, count: usize, height: usize, width: usize) -> Vec<f64> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let waves: Vec<[f64; 4]> = (0..WAVES)
            .map(|number| {
                // Lower frequencies are stronger, as in photographs.
                let frequency = random.random_range(0.5..8.0);
                let direction = random.random_range(0.0..TAU);
                let strength = 1.0 / frequency;
                let phase = random.random_range(0.0..TAU) + number as f64;
                [
                    TAU * frequency * f64::cos(direction) / width as f64,
                    TAU * frequency * f64::sin(direction) / height as f64,
                    phase,
                    strength,
                ]
            })
            .collect();
        let power: f64 = waves.iter().map(|[_, _, _, s]| s * s / 2.0).sum();
        let scale = ((1.0 - NOISE * NOISE) / power).sqrt();
        for row in 0..height {
            for column in 0..width {
                let wave = waves.iter().map(|[x, y, phase, strength]| {
                    strength * (x * column as f64 + y * row as f64 + phase).sin()
                });
                values.push(scale * wave.sum::<f64>() + NOISE * normal(random));
            }
        }
    }
    values.truncate(count);
    values
}

/// Box and Muller's transform.
fn normal(random: &mut ChaCha12Rng) -> f64 {
    let radius: f64 = random.random_range(f64::MIN_POSITIVE..1.0);
    let angle: f64 = random.random_range(0.0..TAU);
    (-2.0 * radius.ln()).sqrt() * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[usize], dtype: Dtype) -> TensorSpec {
        TensorSpec {
            name: "x".into(),
            shape: shape.into(),
            dtype,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_values_of_every_type() -> Result<()> {
        for dtype in Dtype::ALL {
            for shape in [&[2, 3, 16, 24][..], &[7], &[]] {
                let spec = spec(shape, dtype);
                let first = random_input(&spec, 1)?;
                assert_eq!(first, random_input(&spec, 1)?);
                first.check_input(&spec)?;
                let other = random_input(&spec, 2)?;
                assert!(shape.is_empty() || first != other, "{dtype:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn pictures_are_normalised_and_smooth() -> Result<()> {
        let picture = random_input(&spec(&[1, 3, 64, 64], Dtype::F32), 5)?;
        let values = picture.data().to_f64s();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let power = values.iter().map(|v| v * v).sum::<f64>() / count;
        assert!(
            mean.abs() < 0.7 && (0.4..2.0).contains(&power),
            "{mean} {power}"
        );
        let steps = values.windows(2).map(|pair| (pair[1] - pair[0]).powi(2));
        // Neighbours of white noise would differ by 2.
        assert!(steps.sum::<f64>() / count < 0.3);
        Ok(())
    }
}
