//! Resize and Upsample: axes in another number of values, one after the other.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{check_length, map},
    operation::{
        Compiled, Inputs, Operation, Writing, axes_of, by_candle, expect_type, first, lengths,
    },
    parallel::for_each_part,
    slicing::select,
};
use crate::{
    geometry::{axis_of, volume},
    graph::Node,
};

/// The longest axis that is made, for each value of which it is kept what it is made of.
const LONGEST: usize = 1 << 16;

/// Resize to scales or sizes.
#[derive(Debug)]
pub struct Resize {
    mode: Mode,
    coordinates: Coordinates,
    axes: Option<Vec<i64>>,
    /// As attributes, as Upsample had them until operator set 8.
    scales: Option<Vec<f32>>,
    /// Positions of the inputs with scales and sizes.
    inputs: [usize; 2],
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Nearest(Rounding),
    Linear,
    /// With the coefficient of the standard, often -0.75.
    Cubic {
        coefficient: f64,
        excludes_outside: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

/// Where of the input a value of the output lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

impl Resize {
    /// # Errors
    /// Fails on a mode that is not implemented.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let text = |name: &str, default: &'static [u8]| {
            let text = node.text(name).unwrap_or(default);
            String::from_utf8_lossy(text).into_owned()
        };
        let unknown = |what: &str, word: &str| Err(node.unsupported(format!("{what} {word:?}")));
        // Resize of operator set 10 and Upsample have scales only, and no choice of coordinates.
        let is_old = node.op_type == "Upsample" || node.opset < 11;
        let coordinates = if is_old { "asymmetric" } else { "half_pixel" };
        let rounding = if is_old {
            "floor"
        } else {
            "round_prefer_floor"
        };
        let policy = text("keep_aspect_ratio_policy", b"stretch");
        if policy != "stretch" {
            return unknown("the policy", &policy);
        }
        if node.int("antialias")?.unwrap_or(0) != 0 {
            return Err(node.unsupported("antialiasing"));
        }
        let coordinates = node
            .text("coordinate_transformation_mode")
            .map_or(coordinates.into(), |text| {
                String::from_utf8_lossy(text).into_owned()
            });
        let coordinates = match coordinates.as_str() {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            other => return unknown("the coordinates", other),
        };
        let rounding = node.text("nearest_mode").map_or(rounding.into(), |text| {
            String::from_utf8_lossy(text).into_owned()
        });
        let rounding = match rounding.as_str() {
            "round_prefer_floor" => Rounding::PreferFloor,
            "round_prefer_ceil" => Rounding::PreferCeil,
            "floor" => Rounding::Floor,
            "ceil" => Rounding::Ceil,
            other => return unknown("the nearest value by", other),
        };
        let mode = match text("mode", b"nearest").as_str() {
            "nearest" => Mode::Nearest(rounding),
            "linear" | "bilinear" => Mode::Linear,
            "cubic" => Mode::Cubic {
                coefficient: node.float("cubic_coeff_a").unwrap_or(-0.75).into(),
                excludes_outside: node.int("exclude_outside")?.unwrap_or(0) != 0,
            },
            other => return unknown("the mode", other),
        };
        Ok(Box::new(Self {
            mode,
            coordinates,
            axes: node.ints("axes").map(<[i64]>::to_vec),
            scales: node.floats("scales").map(<[f32]>::to_vec),
            inputs: if is_old { [1, 3] } else { [2, 3] },
        }))
    }
}

impl Operation for Resize {
    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let rank = fact.dims.len();
        let axes = match &self.axes {
            Some(axes) => {
                axes_of(axes, rank)?;
                let axes = axes.iter().map(|&axis| axis_of(axis, rank));
                axes.collect::<Result<Vec<_>>>()?
            }
            None => (0..rank).collect(),
        };
        let [of_scales, of_sizes] = self.inputs;
        let scales = match &self.scales {
            Some(scales) => Some(scales.clone()),
            None => inputs.optional_floats(of_scales)?,
        };
        // What is not given may be there without values.
        let scales = scales.filter(|scales| !scales.is_empty());
        let sizes = inputs.optional_integers(of_sizes)?;
        let sizes = sizes.filter(|sizes| !sizes.is_empty());
        let mut dims = fact.dims.clone();
        let targets: Vec<(usize, f64)> = match (scales, sizes) {
            (Some(scales), None) => {
                let lengths = axes.iter().zip(&scales);
                lengths
                    .map(|(&axis, &scale)| resized(dims[axis], scale))
                    .collect::<Result<_>>()?
            }
            (None, Some(sizes)) => {
                let sizes = lengths(&sizes)?;
                let targets = axes.iter().zip(sizes);
                targets
                    .map(|(&axis, size)| (size, size as f64 / dims[axis] as f64))
                    .collect()
            }
            _ => return Err(Error::engine("it needs either scales or sizes")),
        };
        if targets.len() != axes.len() {
            return Err(Error::engine(format!(
                "{} scales or sizes for {axes:?}",
                targets.len()
            )));
        }
        let mut passes = Vec::new();
        for (&axis, &(size, scale)) in axes.iter().zip(&targets) {
            let input = dims[axis];
            dims[axis] = size;
            if volume(&dims)? == 0 {
                return Err(Error::engine(format!("a shape {dims:?} without values")));
            }
            if size > LONGEST {
                return Err(Error::unsupported(format!("{size} values along an axis")));
            }
            if size != input || scale != 1.0 {
                passes.push((axis, self.pass(input, size, scale)));
            }
        }
        let name = match self.mode {
            Mode::Nearest(_) => "resize-nearest",
            Mode::Linear => "resize-linear",
            Mode::Cubic { .. } => "resize-cubic",
        };
        if !matches!(self.mode, Mode::Nearest(_)) {
            expect_type(fact.dtype, DType::F32)?;
        }
        if let (Mode::Nearest(_), DType::F32) = (self.mode, fact.dtype) {
            let nearest = Nearest::new(&fact.dims, &dims, &passes);
            let run = move |inputs: &[&Tensor], out: &Tensor| nearest.run(first(inputs)?, out);
            return Ok(Compiled::written(Writing { name, run }, &dims, DType::F32));
        }
        let run = move |input: &Tensor| {
            passes
                .iter()
                .try_fold(input.clone(), |tensor, (axis, pass)| match pass {
                    Pass::Places(places) => select(&tensor, places, *axis),
                    Pass::Taps(taps) => interpolate(&tensor, *axis, taps),
                })
        };
        Ok(Compiled::view(by_candle(name, run), &dims, fact.dtype))
    }
}

/// For each value of the output, the value of the input.
struct Nearest {
    /// By axis: its length in the input, and where each value of the output is read.
    axes: Vec<(usize, Vec<usize>)>,
}

impl Nearest {
    fn new(input: &[usize], output: &[usize], passes: &[(usize, Pass)]) -> Self {
        let axes = input.iter().zip(output).enumerate();
        let axes = axes.map(|(axis, (&length, &resized))| {
            let places = passes.iter().find_map(|(of, pass)| match pass {
                Pass::Places(places) if *of == axis => Some(places),
                _ => None,
            });
            let places = match places {
                Some(places) => places.iter().map(|&place| place as usize).collect(),
                None => (0..resized).collect(),
            };
            (length, places)
        });
        let mut axes: Vec<_> = axes.collect();
        // At least a plane.
        while axes.len() < 2 {
            axes.insert(0, (1, vec![0]));
        }
        Self { axes }
    }

    fn run(&self, input: &Tensor, out: &Tensor) -> CandleResult<()> {
        let [outer @ .., (height, rows), (width, columns)] = &self.axes[..] else {
            candle_core::bail!("it has no planes");
        };
        let expected = self.axes.iter().map(|(length, _)| length).product();
        map(input, out, |input: &[f32], out: &mut [f32]| {
            check_length("the input", input.len(), expected)?;
            for_each_part(out, rows.len() * columns.len(), |mut number, out| {
                let (mut plane, mut stride) = (0, 1);
                for (length, places) in outer.iter().rev() {
                    plane += places[number % places.len()] * stride;
                    number /= places.len();
                    stride *= length;
                }
                let plane = &input[plane * height * width..][..height * width];
                let mut done: Option<(usize, usize)> = None;
                for (row, &from) in rows.iter().enumerate() {
                    let begin = row * columns.len();
                    match done {
                        // The row before is of the same values.
                        Some((of, at)) if of == from => {
                            out.copy_within(at..at + columns.len(), begin);
                        }
                        _ => {
                            let values = &plane[from * width..][..*width];
                            let out = &mut out[begin..][..columns.len()];
                            for (out, &column) in out.iter_mut().zip(columns) {
                                *out = values[column];
                            }
                        }
                    }
                    done = Some((from, begin));
                }
            });
            Ok(())
        })
    }
}

/// The length of an axis and by what it is scaled.
fn resized(length: usize, scale: f32) -> Result<(usize, f64)> {
    let scale = f64::from(scale);
    let size = (length as f64 * scale).floor();
    if scale > 0.0 && size < f64::from(1 << 28) {
        Ok((size as usize, scale))
    } else {
        Err(Error::engine(format!("{length} values scaled by {scale}")))
    }
}

/// What each value of the resized axis is made of.
enum Pass {
    Places(Vec<u32>),
    /// Values with their weights.
    Taps(Vec<Vec<(usize, f32)>>),
}

impl Resize {
    fn pass(&self, input: usize, size: usize, scale: f64) -> Pass {
        let at = |index: usize| self.coordinates.of(index, input, size, scale);
        let last = input.saturating_sub(1);
        let inside = |place: f64| place.clamp(0.0, last as f64) as usize;
        match self.mode {
            Mode::Nearest(rounding) => Pass::Places(
                (0..size)
                    .map(|index| u32::try_from(inside(rounding.of(at(index)))).unwrap_or(u32::MAX))
                    .collect(),
            ),
            Mode::Linear => Pass::Taps(
                (0..size)
                    .map(|index| {
                        let at = at(index);
                        let part = (at - at.floor()) as f32;
                        vec![
                            (inside(at.floor()), 1.0 - part),
                            (inside(at.floor() + 1.0), part),
                        ]
                    })
                    .collect(),
            ),
            Mode::Cubic {
                coefficient,
                excludes_outside,
            } => Pass::Taps(
                (0..size)
                    .map(|index| {
                        let at = at(index);
                        let taps = (-1..=2).map(|tap| at.floor() + f64::from(tap));
                        let taps = taps.map(|place| {
                            let is_outside = place < 0.0 || place > last as f64;
                            let weight = match is_outside && excludes_outside {
                                true => 0.0,
                                false => cubic((at - place).abs(), coefficient),
                            };
                            (inside(place), weight)
                        });
                        let taps: Vec<(usize, f64)> = taps.collect();
                        let sum: f64 = match excludes_outside {
                            true => taps.iter().map(|(_, weight)| weight).sum(),
                            false => 1.0,
                        };
                        let taps = taps.into_iter();
                        taps.map(|(place, weight)| (place, (weight / sum) as f32))
                            .collect()
                    })
                    .collect(),
            ),
        }
    }
}

impl Coordinates {
    fn of(self, index: usize, input: usize, size: usize, scale: f64) -> f64 {
        let (index, input, rounded) = (index as f64, input as f64, size as f64);
        // Before it was rounded down.
        let length = input * scale;
        match self {
            Self::HalfPixel => (index + 0.5) / scale - 0.5,
            Self::HalfPixelSymmetric => {
                let adjustment = rounded / length;
                let offset = input / 2.0 * (1.0 - adjustment);
                offset + (index + 0.5) / scale - 0.5
            }
            Self::PytorchHalfPixel if size > 1 => (index + 0.5) / scale - 0.5,
            Self::AlignCorners if size > 1 => index * (input - 1.0) / (length - 1.0),
            Self::PytorchHalfPixel | Self::AlignCorners => 0.0,
            Self::Asymmetric => index / scale,
        }
    }
}

impl Rounding {
    fn of(self, place: f64) -> f64 {
        match self {
            Self::PreferFloor => (place - 0.5).ceil(),
            Self::PreferCeil => (place + 0.5).floor(),
            Self::Floor => place.floor(),
            Self::Ceil => place.ceil(),
        }
    }
}

/// The weight of a value at a distance, by Keys.
fn cubic(distance: f64, a: f64) -> f64 {
    let d = distance;
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

fn interpolate(tensor: &Tensor, axis: usize, taps: &[Vec<(usize, f32)>]) -> CandleResult<Tensor> {
    let mut dims = tensor.dims().to_vec();
    let length = dims[axis];
    let inner: usize = dims[axis + 1..].iter().product();
    dims[axis] = taps.len();
    let out = Tensor::zeros(&dims[..], DType::F32, tensor.device())?;
    map(tensor, &out, |input: &[f32], out: &mut [f32]| {
        for_each_part(out, taps.len() * inner, |block, out| {
            let input = &input[block * length * inner..][..length * inner];
            for (out, taps) in out.chunks_exact_mut(inner).zip(taps) {
                for &(place, weight) in taps {
                    let values = &input[place * inner..][..inner];
                    for (out, &value) in out.iter_mut().zip(values) {
                        *out += weight * value;
                    }
                }
            }
        });
        Ok(())
    })?;
    Ok(out)
}
