//! What enlarges tensors, and what moves values between channels and pixels.

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use firstpass_onnx::{EngineResult, Error, Result};

use super::{
    access::{check_length, map},
    operation::{Compiled, Inputs, Operation, Writing, by_candle, first, lengths},
    slicing::select,
};
use crate::{
    geometry::{axis_of, volume},
    graph::{Node, flat},
};

/// The longest axis that is padded: where each of its values comes from is kept.
const LONGEST: usize = 1 << 20;

/// Pad.
#[derive(Debug)]
pub struct Pad {
    mode: Mode,
    /// Pads and the value as attributes, as until operator set 10.
    given: Option<(Vec<i64>, f32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

impl Pad {
    /// # Errors
    /// Fails on a mode that is unknown.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let mode = match node.text("mode").unwrap_or(b"constant") {
            b"constant" => Mode::Constant,
            b"edge" => Mode::Edge,
            b"reflect" => Mode::Reflect,
            b"wrap" => Mode::Wrap,
            _ => return Err(node.unsupported("its mode is unknown")),
        };
        let given = node.ints("pads").or_else(|| node.ints("paddings"));
        let value = node.float("value").unwrap_or(0.0);
        Ok(Box::new(Self {
            mode,
            given: given.map(|pads| (pads.to_vec(), value)),
        }))
    }
}

impl Operation for Pad {
    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn pads(&self, inputs: &Inputs<'_>) -> Result<Option<(Vec<[i64; 2]>, f64)>> {
        if self.mode != Mode::Constant {
            return Ok(None);
        }
        let rank = inputs.dims()?.len();
        let (pads, axes, value) = self.read(inputs, rank)?;
        let mut sides = vec![[0; 2]; rank];
        for (number, &axis) in axes.iter().enumerate() {
            sides[axis_of(axis, rank)?] = [pads[number], pads[number + axes.len()]];
        }
        Ok(Some((sides, value)))
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let rank = fact.dims.len();
        let (pads, axes, value) = self.read(inputs, rank)?;
        let mut dims = fact.dims.clone();
        let mut sides = Vec::new();
        for (number, &axis) in axes.iter().enumerate() {
            let axis = axis_of(axis, rank)?;
            let (before, after) = (pads[number], pads[number + axes.len()]);
            let size = i64::try_from(dims[axis])?;
            let padded = size.checked_add(before).and_then(|n| n.checked_add(after));
            let padded = padded.and_then(|length| usize::try_from(length).ok());
            dims[axis] = padded.ok_or_else(|| Error::engine(format!("pads {pads:?}")))?;
            if volume(&dims)? == 0 || dims[axis] > LONGEST {
                return Err(Error::unsupported(format!("padding to {dims:?}")));
            }
            if (before, after) != (0, 0) {
                sides.push((axis, self.mode.places(size, before, dims[axis])?));
            }
        }
        let mode = self.mode;
        if fact.dtype == DType::F32 && rank > 0 {
            let padded = Padded::new(&fact.dims, &dims, &sides, value as f32);
            let run = move |inputs: &[&Tensor], out: &Tensor| padded.run(first(inputs)?, out);
            let operator = Writing { name: "pad", run };
            return Ok(Compiled::written(operator, &dims, DType::F32));
        }
        let fill = Tensor::new(value, &Device::Cpu).and_then(|fill| fill.to_dtype(fact.dtype));
        let fill = fill.engine()?;
        let run = move |input: &Tensor| {
            sides
                .iter()
                .try_fold(input.clone(), |tensor, (axis, places)| {
                    if mode != Mode::Constant {
                        return select(&tensor, places, *axis);
                    }
                    // One value more at the end, which padding reads.
                    let mut one = tensor.dims().to_vec();
                    one[*axis] = 1;
                    let one = fill.broadcast_as(&one[..])?.contiguous()?;
                    select(&Tensor::cat(&[&tensor, &one], *axis)?, places, *axis)
                })
        };
        Ok(Compiled::view(by_candle("pad", run), &dims, fact.dtype))
    }
}

impl Pad {
    /// Pads, for the sides before of all axes and then for those behind, the axes, and the value.
    fn read(&self, inputs: &Inputs<'_>, rank: usize) -> Result<(Vec<i64>, Vec<i64>, f64)> {
        let (pads, value) = match &self.given {
            Some((pads, value)) => (pads.clone(), f64::from(*value)),
            None => {
                let value = inputs.optional_constant(2)?.map(flat::<f64>).transpose()?;
                let value = value.and_then(|values| values.first().copied());
                (inputs.integers(1)?, value.unwrap_or(0.0))
            }
        };
        let axes = inputs.optional_integers(3)?;
        let axes = axes.unwrap_or_else(|| (0..).take(rank).collect());
        if pads.len() != 2 * axes.len() {
            return Err(Error::engine(format!("{} pads for {axes:?}", pads.len())));
        }
        Ok((pads, axes, value))
    }
}

/// Floats, padded along any axes.
struct Padded {
    /// By axis, its length in the input, and where each value of the output comes from; `None`: the constant.
    axes: Vec<(usize, Vec<Option<usize>>)>,
    constant: f32,
}

impl Padded {
    fn new(input: &[usize], output: &[usize], sides: &[(usize, Vec<u32>)], constant: f32) -> Self {
        let axes = input.iter().zip(output).enumerate();
        let axes = axes.map(|(axis, (&size, &length))| {
            let places = match sides.iter().find(|(side, _)| *side == axis) {
                Some((_, places)) => {
                    let places = places.iter().map(|&place| place as usize);
                    places
                        .map(|place| (place < size).then_some(place))
                        .collect()
                }
                None => (0..length).map(Some).collect(),
            };
            (size, places)
        });
        Self {
            axes: axes.collect(),
            constant,
        }
    }

    fn run(&self, input: &Tensor, out: &Tensor) -> CandleResult<()> {
        let Some(((width, columns), outer)) = self.axes.split_last() else {
            candle_core::bail!("it has no axes");
        };
        let expected = self.axes.iter().map(|(size, _)| size).product();
        // Where values lie that are neighbours in the input as well.
        let first = columns.iter().position(Option::is_some).unwrap_or(0);
        let begin = columns.get(first).copied().flatten().unwrap_or(0);
        let from = begin..*width;
        let run = columns[first..].iter().zip(from);
        let run = run.take_while(|(place, at)| **place == Some(*at)).count();
        map(input, out, |input: &[f32], out: &mut [f32]| {
            check_length("the input", input.len(), expected)?;
            for (mut number, out) in out.chunks_exact_mut(columns.len()).enumerate() {
                let mut line = Some(0);
                let mut stride = 1;
                for (size, places) in outer.iter().rev() {
                    let place = places[number % places.len()];
                    line = line.zip(place).map(|(line, place)| line + place * stride);
                    number /= places.len();
                    stride *= size;
                }
                let Some(line) = line else {
                    out.fill(self.constant);
                    continue;
                };
                let values = &input[line * width..][..*width];
                let (before, others) = out.split_at_mut(first);
                let (neighbours, after) = others.split_at_mut(run);
                neighbours.copy_from_slice(&values[begin..][..run]);
                let value = |place: Option<usize>| place.map_or(self.constant, |at| values[at]);
                for (out, &place) in before.iter_mut().zip(columns) {
                    *out = value(place);
                }
                for (out, &place) in after.iter_mut().zip(&columns[first + run..]) {
                    *out = value(place);
                }
            }
            Ok(())
        })
    }
}

impl Mode {
    /// Where the values of a padded axis come from; `size` is the place of the constant.
    fn places(self, size: i64, before: i64, length: usize) -> Result<Vec<u32>> {
        if size == 0 || (self == Self::Reflect && size == 1) {
            return Err(Error::unsupported("an axis that is too short to be padded"));
        }
        let place = |index: usize| {
            let index = i64::try_from(index)? - before;
            let place = match self {
                Self::Constant if (0..size).contains(&index) => index,
                Self::Constant => size,
                Self::Edge => index.clamp(0, size - 1),
                Self::Wrap => index.rem_euclid(size),
                Self::Reflect => {
                    let period = 2 * (size - 1);
                    let index = index.rem_euclid(period);
                    index.min(period - index)
                }
            };
            Ok(u32::try_from(place)?)
        };
        (0..length).map(place).collect()
    }
}

/// Tile: the tensor several times along each axis.
#[derive(Debug)]
pub struct Tile;

impl Tile {
    pub fn parse(_: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self))
    }
}

impl Operation for Tile {
    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let repeats = lengths(&inputs.integers(1)?)?;
        if repeats.len() != fact.dims.len() {
            return Err(Error::engine(format!("{repeats:?} times {:?}", fact.dims)));
        }
        let dims = fact.dims.iter().zip(&repeats);
        let dims: Vec<usize> = dims.map(|(&n, &times)| n.saturating_mul(times)).collect();
        volume(&dims)?;
        let run = move |input: &Tensor| input.repeat(&repeats[..]);
        Ok(Compiled::view(by_candle("tile", run), &dims, fact.dtype))
    }
}

/// DepthToSpace and SpaceToDepth.
#[derive(Debug)]
pub struct Blocks {
    size: usize,
    to_space: bool,
    /// The channels of a block are neighbours.
    by_channel: bool,
}

impl Blocks {
    /// # Errors
    /// Fails where the blocks have no size.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let size = node.int("blocksize")?.unwrap_or(0);
        let size = usize::try_from(size).ok().filter(|&size| size > 0);
        Ok(Box::new(Self {
            size: size.ok_or_else(|| node.malformed("its blocks have no size"))?,
            to_space: node.op_type == "DepthToSpace",
            by_channel: match node.text("mode").unwrap_or(b"DCR") {
                b"DCR" => false,
                b"CRD" => true,
                _ => return Err(node.unsupported("its mode is unknown")),
            },
        }))
    }
}

impl Operation for Blocks {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let [number, channels, height, width] = inputs.image()?;
        let size = self.size;
        let uneven = || Error::engine(format!("{:?} in blocks of {size}", inputs.dims()));
        let (apart, order, dims): (Vec<usize>, [usize; 6], [usize; 4]) = if self.to_space {
            let area = size
                .checked_mul(size)
                .filter(|&area| channels.is_multiple_of(area));
            let depth = channels / area.ok_or_else(uneven)?;
            let (apart, order) = if self.by_channel {
                (
                    vec![number, depth, size, size, height, width],
                    [0, 1, 4, 2, 5, 3],
                )
            } else {
                (
                    vec![number, size, size, depth, height, width],
                    [0, 3, 4, 1, 5, 2],
                )
            };
            (apart, order, [number, depth, height * size, width * size])
        } else {
            if !height.is_multiple_of(size) || !width.is_multiple_of(size) {
                return Err(uneven());
            }
            let (height, width) = (height / size, width / size);
            let apart = vec![number, channels, height, size, width, size];
            (
                apart,
                [0, 3, 5, 1, 2, 4],
                [number, channels * size * size, height, width],
            )
        };
        volume(&dims)?;
        let run = move |input: &Tensor| {
            let apart = input.reshape(&apart[..])?.permute(&order[..])?;
            apart.reshape(&dims[..])
        };
        let name = if self.to_space {
            "depth-to-space"
        } else {
            "space-to-depth"
        };
        Ok(Compiled::view(
            by_candle(name, run),
            &dims,
            inputs.get(0)?.dtype,
        ))
    }
}
