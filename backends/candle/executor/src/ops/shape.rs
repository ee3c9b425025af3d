//! What changes the shape of a tensor and not its values, and what tells shapes.

use candle_core::{DType, Device, Tensor};
use firstpass_onnx::{Constant, EngineResult, Error, Result};

use super::{
    broadcast::broadcast,
    operation::{ByCandle, Compiled, Inputs, Moves, Operation, axes_of, by_candle, lengths},
};
use crate::{
    geometry::{axis_of, check_folded, volume},
    graph::{Narrow, Node, flat, narrow_of, tensor_of},
};

/// The operators of this file that take what they need from the attributes or a constant input.
#[derive(Debug)]
pub enum Shaping {
    Identity,
    /// As ONNX writes it: -1 is computed, 0 is copied unless `allow_zero`.
    Reshape {
        dims: Option<Vec<i64>>,
        allow_zero: bool,
    },
    Flatten {
        axis: i64,
    },
    Squeeze {
        axes: Option<Vec<i64>>,
    },
    Unsqueeze {
        axes: Option<Vec<i64>>,
    },
    /// `None` reverses the axes.
    Transpose {
        order: Option<Vec<usize>>,
    },
    Expand,
}

impl Shaping {
    /// # Errors
    /// Fails where the attributes are not as they must be.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let axes = || node.ints("axes").map(<[i64]>::to_vec);
        Ok(Box::new(match node.op_type.as_str() {
            "Identity" | "Dropout" => Self::Identity,
            "Reshape" => Self::Reshape {
                dims: node.ints("shape").map(<[i64]>::to_vec),
                allow_zero: node.int("allowzero")?.unwrap_or(0) != 0,
            },
            "Flatten" => Self::Flatten {
                axis: node.int("axis")?.unwrap_or(1),
            },
            "Squeeze" => Self::Squeeze { axes: axes() },
            "Unsqueeze" => Self::Unsqueeze { axes: axes() },
            "Expand" => Self::Expand,
            "Transpose" => Self::Transpose {
                order: node
                    .ints("perm")
                    .map(|axes| order(node, axes))
                    .transpose()?,
            },
            _ => return Err(node.unsupported("it does not change a shape")),
        }))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Reshape { .. }
            | Self::Flatten { .. }
            | Self::Squeeze { .. }
            | Self::Unsqueeze { .. } => "reshape",
            Self::Transpose { .. } => "transpose",
            Self::Expand => "expand",
        }
    }
}

fn order(node: &Node<'_>, axes: &[i64]) -> Result<Vec<usize>> {
    let mut seen = vec![false; axes.len()];
    let mut order = Vec::with_capacity(axes.len());
    for &axis in axes {
        let axis = usize::try_from(axis).ok();
        match axis.and_then(|axis| Some((axis, seen.get_mut(axis)?))) {
            Some((axis, seen)) if !*seen => {
                *seen = true;
                order.push(axis);
            }
            _ => return Err(node.malformed(format!("{axes:?} is no order of axes"))),
        }
    }
    Ok(order)
}

impl Operation for Shaping {
    fn takes_halves(&self) -> bool {
        true
    }

    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn moves(&self, inputs: &Inputs<'_>) -> Result<Option<Moves>> {
        Ok(match self {
            Self::Expand => None,
            Self::Transpose { order } => {
                let reversed = || (0..inputs.dims().map_or(0, <[usize]>::len)).rev().collect();
                Some(Moves::Axes(order.clone().unwrap_or_else(reversed)))
            }
            _ => Some(Moves::Shape),
        })
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let input = &fact.dims;
        let axes = |axes: &Option<Vec<i64>>| match axes {
            Some(axes) => Ok(Some(axes.clone())),
            None => inputs.optional_integers(1),
        };
        let dims = match self {
            Self::Identity => input.clone(),
            Self::Reshape { dims, allow_zero } => {
                let dims = match dims {
                    Some(dims) => dims.clone(),
                    None => inputs.integers(1)?,
                };
                reshaped(input, &dims, *allow_zero)?
            }
            Self::Flatten { axis } => {
                let rank = input.len();
                // Unlike elsewhere the axis may be one past the last.
                let axis = if usize::try_from(*axis) == Ok(rank) {
                    rank
                } else {
                    axis_of(*axis, rank)?
                };
                vec![volume(&input[..axis])?, volume(&input[axis..])?]
            }
            Self::Squeeze { axes: given } => squeezed(input, axes(given)?.as_deref())?,
            Self::Unsqueeze { axes: given } => {
                let axes = axes(given)?;
                let axes = axes.ok_or_else(|| Error::engine("it names no axes"))?;
                unsqueezed(input, &axes)?
            }
            Self::Transpose { order } => {
                let order = match order {
                    Some(order) if order.len() != input.len() => {
                        return Err(Error::engine(format!(
                            "axes {order:?} of a tensor of shape {input:?}"
                        )));
                    }
                    Some(order) => order.clone(),
                    None => (0..input.len()).rev().collect(),
                };
                let dims: Vec<usize> = order.iter().map(|&axis| input[axis]).collect();
                let operator = by_candle(self.name(), move |x: &Tensor| x.permute(&order[..]));
                return Ok(Compiled::view(operator, &dims, fact.dtype));
            }
            Self::Expand => {
                let dims = broadcast(input, &lengths(&inputs.integers(1)?)?)?;
                let wide = dims.clone();
                let operator = by_candle(self.name(), move |x: &Tensor| x.broadcast_as(&wide[..]));
                return Ok(Compiled::view(operator, &dims, fact.dtype));
            }
        };
        let shape = dims.clone();
        let operator = by_candle(self.name(), move |x: &Tensor| x.reshape(&shape[..]));
        Ok(Compiled::view(operator, &dims, fact.dtype))
    }
}

fn reshaped(input: &[usize], dims: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    let impossible = || Error::engine(format!("cannot reshape {input:?} to {dims:?}"));
    let count = volume(input)?;
    let mut output = Vec::with_capacity(dims.len());
    let mut unknown = None;
    for (axis, &dim) in dims.iter().enumerate() {
        output.push(match dim {
            -1 if unknown.is_none() => {
                unknown = Some(axis);
                1
            }
            0 if !allow_zero => *input.get(axis).ok_or_else(impossible)?,
            _ => usize::try_from(dim).map_err(|_| impossible())?,
        });
    }
    if let Some(axis) = unknown {
        output[axis] = count.checked_div(volume(&output)?).ok_or_else(impossible)?;
    }
    if volume(&output)? == count {
        Ok(output)
    } else {
        Err(impossible())
    }
}

/// Without axes all that have length 1.
fn squeezed(input: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>> {
    let axes = match axes {
        Some(axes) => axes_of(axes, input.len())?,
        None => (0..input.len()).filter(|&axis| input[axis] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| input[axis] != 1) {
        return Err(Error::engine(format!(
            "axis {axis} of {input:?} has not the length 1"
        )));
    }
    let dims = input.iter().enumerate();
    let dims = dims.filter(|(axis, _)| !axes.contains(axis));
    Ok(dims.map(|(_, &length)| length).collect())
}

/// The axes are those of the output.
fn unsqueezed(input: &[usize], axes: &[i64]) -> Result<Vec<usize>> {
    let axes = axes_of(axes, input.len() + axes.len())?;
    let mut dims = input.to_vec();
    for axis in axes {
        dims.insert(axis, 1);
    }
    Ok(dims)
}

/// What tells a shape, or is made of one.
#[derive(Debug)]
pub enum OfShapes {
    Shape {
        start: i64,
        end: Option<i64>,
    },
    Size,
    /// Of one value, and of which type it is where a wider one holds it.
    ConstantOfShape {
        value: Tensor,
        narrow: Option<Narrow>,
    },
    Range,
}

impl OfShapes {
    /// # Errors
    /// Fails where the attributes are not as they must be.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(match node.op_type.as_str() {
            "Shape" => Self::Shape {
                start: node.int("start")?.unwrap_or(0),
                end: node.int("end")?,
            },
            "Size" => Self::Size,
            "Range" => Self::Range,
            "ConstantOfShape" => match node.tensor("value") {
                None => Self::ConstantOfShape {
                    value: Tensor::zeros(1, DType::F32, &Device::Cpu).engine()?,
                    narrow: None,
                },
                Some(value) => {
                    let constant = Constant::read(value)?;
                    let value = tensor_of(&constant)?;
                    if value.elem_count() != 1 {
                        return Err(node.malformed("its value is not one"));
                    }
                    Self::ConstantOfShape {
                        value: value.reshape(1).engine()?,
                        narrow: narrow_of(&constant),
                    }
                }
            },
            _ => return Err(node.unsupported("it is not made of a shape")),
        }))
    }
}

impl Operation for OfShapes {
    fn takes_halves(&self) -> bool {
        true
    }

    fn narrow(&self, inputs: &Inputs<'_>, dtype: DType) -> Option<Narrow> {
        match self {
            // They tell numbers of their own, whatever type they are the shape of.
            Self::Shape { .. } | Self::Size => None,
            Self::ConstantOfShape { narrow, .. } => *narrow,
            Self::Range => inputs
                .optional(0)
                .filter(|start| start.dtype == dtype)
                .and_then(|start| start.narrow),
        }
    }

    fn is_parameter(&self, _: usize) -> bool {
        matches!(self, Self::ConstantOfShape { .. } | Self::Range)
    }

    fn is_of_shapes(&self) -> bool {
        matches!(self, Self::Shape { .. } | Self::Size)
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let tensor = match self {
            Self::Shape { start, end } => {
                let dims = inputs.dims()?;
                let rank = i64::try_from(dims.len())?;
                let at = |axis: i64| {
                    let axis = if axis < 0 {
                        axis.saturating_add(rank)
                    } else {
                        axis
                    };
                    usize::try_from(axis.clamp(0, rank))
                };
                let (start, end) = (at(*start)?, at(end.unwrap_or(rank))?);
                whole(dims.get(start..end).unwrap_or_default())?
            }
            Self::Size => whole(&[volume(inputs.dims()?)?])?.reshape(()).engine()?,
            Self::ConstantOfShape { value, .. } => {
                let dims = lengths(&inputs.integers(0)?)?;
                check_folded(&dims)?;
                let values = value.broadcast_as((volume(&dims)?,));
                values
                    .and_then(|values| values.reshape(&dims[..]))
                    .engine()?
            }
            Self::Range => {
                let [start, limit, delta] = [0, 1, 2].map(|position| inputs.constant(position));
                let [start, limit, delta] = [start?, limit?, delta?];
                range(start, limit, delta)?
            }
        };
        let (dims, dtype) = (tensor.dims().to_vec(), tensor.dtype());
        let run = move |_: &[&Tensor]| Ok(tensor.clone());
        let name = "constant";
        Ok(Compiled::allocated(ByCandle { name, run }, &dims, dtype))
    }
}

/// Lengths as a tensor.
fn whole(lengths: &[usize]) -> Result<Tensor> {
    let numbers: std::result::Result<Vec<i64>, _> = lengths
        .iter()
        .map(|&length| i64::try_from(length))
        .collect();
    Tensor::from_vec(numbers?, lengths.len(), &Device::Cpu).engine()
}

fn range(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Result<Tensor> {
    let single = |tensor: &Tensor| -> Result<f64> {
        match flat::<f64>(tensor)?[..] {
            [value] => Ok(value),
            _ => Err(Error::engine("a range is given by single numbers")),
        }
    };
    let (first, step) = (single(start)?, single(delta)?);
    let count = ((single(limit)? - first) / step).ceil().max(0.0);
    if count.is_nan() || count > f64::from(1 << 20) {
        return Err(Error::unsupported("the range is too long"));
    }
    let values: Vec<f64> = (0..count as u32)
        .map(|index| f64::from(index).mul_add(step, first))
        .collect();
    let length = values.len();
    let values = Tensor::from_vec(values, length, &Device::Cpu);
    values
        .and_then(|values| values.to_dtype(start.dtype()))
        .engine()
}
