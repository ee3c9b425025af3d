//! Inputs that are made up: the same in every run, and like what models are made for.

use std::f64::consts::TAU;

use anyhow::Result;
use firstpass_probe::{Data, Dtype, Tensor, TensorSpec, bf16, f16};
use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};

use crate::{
    input_role::{Kind, Role},
    input_size::check_size,
};

/// Waves of which a picture is made up.
const WAVES: usize = 12;

/// The share of noise in a picture: what a sensor adds to a scene.
const NOISE: f64 = 0.15;

/// Below so many pixels a side a tensor is hardly a picture.
const SMALLEST_PICTURE: usize = 8;

/// Made-up integers of which nothing is known are below this.
const INTEGERS: u64 = 100;

/// The usual rate of speech, in samples a second.
const SPEECH: f64 = 16_000.0;

/// The inputs of a model, of values that are likely for their types, shapes and roles.
///
/// # Errors
/// Fails on a shape that does not fit into memory.
pub fn made_up(specs: &[TensorSpec], roles: &[Role], seed: u64) -> Result<Vec<Tensor>> {
    let inputs = specs.iter().enumerate().map(|(place, spec)| {
        let role = roles.get(place).copied().unwrap_or(Role::UNKNOWN);
        of_role(spec, role, specs, seed * 1000 + place as u64)
    });
    inputs.collect()
}

/// One of the inputs `all` of a model.
fn of_role(spec: &TensorSpec, role: Role, all: &[TensorSpec], seed: u64) -> Result<Tensor> {
    check_size([spec])?;
    let count: usize = spec.shape.iter().product();
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let last = spec.shape.last().copied().unwrap_or(1).max(1);
    // No value is beyond the table, whatever the name says.
    let rows = role.rows.unwrap_or(u64::MAX).max(1);
    let most = (rows - 1) as f64;
    let alike = |value: f64| vec![value.min(most); count];
    let values: Vec<f64> = match role.kind {
        Kind::Unknown if is_integer(spec.dtype) && spec.shape.is_empty() => alike(1.0),
        Kind::Unknown => return random_input(spec, seed),
        Kind::Index => (0..count)
            .map(|_| random.random_range(0..rows) as f64)
            .collect(),
        Kind::TokenType => (0..count)
            .map(|_| random.random_range(0..rows.min(2)) as f64)
            .collect(),
        Kind::Position => (0..count)
            .map(|at| ((at % last) as f64).min(most))
            .collect(),
        Kind::Mask | Kind::Factor => alike(1.0),
        Kind::Ignored | Kind::State => alike(0.0),
        Kind::Length => alike(length(spec, all)),
        Kind::PictureSize => picture(all).into_iter().cycle().take(count).collect(),
        Kind::SamplingRate => alike(SPEECH),
        Kind::Threshold => alike(0.5),
    };
    Ok(Tensor::new(&spec.shape, of_type(spec.dtype, &values))?)
}

fn is_integer(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::I64 | Dtype::I32 | Dtype::I16 | Dtype::U64 | Dtype::U32 | Dtype::U16
    )
}

fn of_type(dtype: Dtype, values: &[f64]) -> Data {
    let values = values.iter();
    match dtype {
        Dtype::F32 => values.map(|&v| v as f32).collect::<Vec<_>>().into(),
        Dtype::F64 => values.copied().collect::<Vec<_>>().into(),
        Dtype::F16 => values.map(|&v| f16::from_f64(v)).collect::<Vec<_>>().into(),
        Dtype::BF16 => values
            .map(|&v| bf16::from_f64(v))
            .collect::<Vec<_>>()
            .into(),
        Dtype::I64 => values.map(|&v| v as i64).collect::<Vec<_>>().into(),
        Dtype::I32 => values.map(|&v| v as i32).collect::<Vec<_>>().into(),
        Dtype::I16 => values.map(|&v| v as i16).collect::<Vec<_>>().into(),
        Dtype::U64 => values.map(|&v| v as u64).collect::<Vec<_>>().into(),
        Dtype::U32 => values.map(|&v| v as u32).collect::<Vec<_>>().into(),
        Dtype::U16 => values.map(|&v| v as u16).collect::<Vec<_>>().into(),
        Dtype::U8 => values.map(|&v| v as u8).collect::<Vec<_>>().into(),
        Dtype::I8 => values.map(|&v| v as i8).collect::<Vec<_>>().into(),
        Dtype::Bool => values.map(|&v| v != 0.0).collect::<Vec<_>>().into(),
    }
}

/// How long the series are beside which an input of lengths stands: the longest axis but the first, which is the
/// batch, of the input before it or else of the next.
fn length(spec: &TensorSpec, all: &[TensorSpec]) -> f64 {
    let place = all.iter().position(|other| other.name == spec.name);
    let (before, after) = all.split_at(place.unwrap_or(0));
    let nearest = before.iter().rev().chain(after);
    let series = |other: &&TensorSpec| other.name != spec.name && other.shape.len() > 1;
    let longest = nearest
        .filter(series)
        .find_map(|other| other.shape.iter().skip(1).max());
    longest.copied().unwrap_or(1) as f64
}

/// Height and width of the picture among the inputs.
fn picture(all: &[TensorSpec]) -> [f64; 2] {
    let found = all.iter().find_map(|input| picture_size(&input.shape));
    let (height, width) = found.unwrap_or((1, 1));
    [height as f64, width as f64]
}

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
    check_size([spec])?;
    let count: usize = spec.shape.iter().product();
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
            let all = (0..count).map(|_| random.random_range(0..INTEGERS as i64));
            all.collect::<Vec<_>>().into()
        }
        Dtype::I32 => {
            let all = (0..count).map(|_| random.random_range(0..INTEGERS as i32));
            all.collect::<Vec<_>>().into()
        }
        Dtype::I16 => {
            let all = (0..count).map(|_| random.random_range(0..INTEGERS as i16));
            all.collect::<Vec<_>>().into()
        }
        Dtype::U64 => {
            let all = (0..count).map(|_| random.random_range(0..INTEGERS));
            all.collect::<Vec<_>>().into()
        }
        Dtype::U32 => {
            let all = (0..count).map(|_| random.random_range(0..INTEGERS as u32));
            all.collect::<Vec<_>>().into()
        }
        Dtype::U16 => {
            let all = (0..count).map(|_| random.random_range(0..INTEGERS as u16));
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
    fn values_fit_their_roles() -> Result<()> {
        let named = |name: &str, shape: &[usize], dtype| TensorSpec {
            name: name.into(),
            ..spec(shape, dtype)
        };
        let specs = [
            named("ids", &[1, 12], Dtype::I64),
            named("types", &[1, 12], Dtype::I64),
            named("positions", &[2, 6], Dtype::I32),
            named("mask", &[1, 12], Dtype::Bool),
            named("lengths", &[1], Dtype::I64),
            named("sr", &[], Dtype::I64),
            named("k", &[], Dtype::I64),
        ];
        let role = |kind, rows| Role { kind, rows };
        let roles = [
            role(Kind::Index, Some(30_000)),
            role(Kind::TokenType, Some(2)),
            role(Kind::Position, Some(4)),
            role(Kind::Mask, None),
            role(Kind::Length, None),
            role(Kind::SamplingRate, None),
            Role::UNKNOWN,
        ];
        let inputs = made_up(&specs, &roles, 1)?;
        for (input, spec) in inputs.iter().zip(&specs) {
            input.check_input(spec)?;
        }
        let values = |place: usize| inputs[place].data().to_f64s();
        let tokens = values(0);
        assert!(
            tokens.iter().all(|token| (0.0..30_000.0).contains(token)),
            "{tokens:?}"
        );
        assert!(tokens.iter().any(|token| *token > 100.0), "{tokens:?}");
        assert!(values(1).iter().all(|kind| [0.0, 1.0].contains(kind)));
        assert_eq!(
            values(2),
            [0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 0.0, 1.0, 2.0, 3.0, 3.0, 3.0]
        );
        assert_eq!(values(3), [1.0; 12]);
        assert_eq!(
            (values(4), values(5), values(6)),
            (vec![12.0], vec![16_000.0], vec![1.0])
        );
        assert_eq!(made_up(&specs, &roles, 1)?, inputs);
        assert_ne!(made_up(&specs, &roles, 2)?[0], inputs[0]);
        // Where a table has one row there is nothing to choose.
        let one = made_up(&specs[..1], &[role(Kind::Index, Some(1))], 1)?;
        assert_eq!(one[0].data().to_f64s(), [0.0; 12]);
        Ok(())
    }

    #[test]
    fn a_size_is_checked_before_memory_is_taken() {
        for shape in [
            &[1, 3, 99_999, 99_999][..],
            &[usize::MAX, usize::MAX],
            &[1 << 29],
        ] {
            let error = random_input(&spec(shape, Dtype::F32), 1).expect_err("too large");
            assert!(
                error.to_string().contains("choose a smaller shape"),
                "{error}"
            );
        }
        let halves = [
            spec(&[200 << 20], Dtype::F32),
            spec(&[100 << 20], Dtype::F32),
        ];
        assert!(check_size(&halves[..1]).is_ok() && check_size(&halves).is_err());
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
