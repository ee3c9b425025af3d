//! Quantized constants of a graph: weights and biases.

use std::sync::Arc;

use firstpass_onnx::{Constant, Int8s, Values};
use firstpass_probe::{EngineResult, Error, Result};

use crate::{
    graph::{Node, WeightScales, constant_of, narrowed, tensor_of},
    ops::axis_of,
};

/// A scale by which one can divide: subnormal ones have no reciprocal.
pub fn check_scale(node: &Node<'_>, scale: f32) -> Result<()> {
    if scale.is_normal() && scale > 0.0 {
        Ok(())
    } else {
        Err(node.malformed(format!("{scale} is no scale")))
    }
}

/// Scales and zero points of a constant, one or one for each place along an axis.
#[derive(Debug, Clone)]
pub struct Grid {
    scales: Vec<f32>,
    /// As many as scales, or none where all are 0.
    zeros: Vec<i32>,
    axis: i64,
    /// The scales are a list, if perhaps of one.
    is_list: bool,
}

impl Grid {
    /// # Errors
    /// Fails where they are not of types that are read here.
    pub fn read(node: &Node<'_>, scales: &Constant, zeros: Option<&Constant>) -> Result<Self> {
        if node.int("block_size")?.unwrap_or(0) != 0 {
            return Err(node.unsupported("it is quantized in blocks"));
        }
        let is_list = scales.dims.len() == 1;
        let Values::F32(scales) = &scales.values else {
            return Err(node.unsupported("its scales must be f32"));
        };
        for &scale in scales {
            check_scale(node, scale)?;
        }
        let zeros: Vec<i32> = match zeros.map(|zeros| &zeros.values) {
            None => Vec::new(),
            Some(Values::I8(zeros)) => zeros.iter().map(|&zero| zero.into()).collect(),
            Some(Values::U8(zeros)) => zeros.iter().map(|&zero| zero.into()).collect(),
            Some(Values::I32(zeros)) => zeros.clone(),
            Some(_) => return Err(node.unsupported("its zero points must be i8, u8 or i32")),
        };
        if scales.is_empty() || (!zeros.is_empty() && zeros.len() != scales.len()) {
            return Err(node.malformed(format!(
                "it has {} scales and {} zero points",
                scales.len(),
                zeros.len()
            )));
        }
        Ok(Self {
            scales: scales.clone(),
            zeros: if zeros.iter().all(|&zero| zero == 0) {
                Vec::new()
            } else {
                zeros
            },
            axis: node.int("axis")?.unwrap_or(1),
            is_list,
        })
    }

    /// For values in row-major order, how many neighbours share a scale.
    fn run(&self, dims: &[usize]) -> Result<usize> {
        if self.scales.len() == 1 {
            return Ok(usize::MAX);
        }
        let axis = axis_of(self.axis, dims.len())?;
        if dims[axis] != self.scales.len() {
            return Err(Error::engine(format!(
                "{} scales along axis {axis} of {dims:?}",
                self.scales.len()
            )));
        }
        Ok(dims[axis + 1..].iter().product::<usize>().max(1))
    }

    /// Scale and zero point of the value at `index`.
    fn at(&self, run: usize, index: usize) -> (f32, i32) {
        let place = index / run % self.scales.len();
        let zero = self.zeros.get(place).copied().unwrap_or(0);
        (self.scales[place], zero)
    }

    /// The constant in integers: i8 where `is_signed`, u8 otherwise.
    ///
    /// # Errors
    /// Fails where it is not of floats.
    pub fn quantize(&self, constant: &Constant, is_signed: bool) -> Result<Constant> {
        let Values::F32(values) = &constant.values else {
            return Err(Error::unsupported("it quantizes what is not f32"));
        };
        let run = self.run(&constant.dims)?;
        let (low, high) = if is_signed {
            (-128.0, 127.0)
        } else {
            (0.0, 255.0)
        };
        let quantized = values.iter().enumerate().map(|(index, value)| {
            let (scale, zero) = self.at(run, index);
            ((value / scale).round_ties_even() + zero as f32).clamp(low, high) as i16
        });
        Ok(Constant {
            dims: constant.dims.clone(),
            values: if is_signed {
                let values: Vec<i8> = quantized.map(|value| value as i8).collect();
                Values::I8(values.into())
            } else {
                Values::U8(quantized.map(|value| value as u8).collect())
            },
        })
    }
}

/// DequantizeLinear of a constant: weights or a bias.
#[derive(Debug, Clone)]
pub struct DequantizedConstant {
    pub constant: Arc<Constant>,
    pub grid: Grid,
}

impl DequantizedConstant {
    /// Whether integer kernels can take it as weights.
    pub fn is_of_bytes(&self) -> bool {
        matches!(self.constant.values, Values::I8(_) | Values::U8(_))
    }

    /// As floats, as the file writes it.
    ///
    /// # Errors
    /// Fails where the scales do not fit its shape.
    pub fn floats(&self) -> Result<Constant> {
        let run = self.grid.run(&self.constant.dims)?;
        let of = |(index, value): (usize, i32)| {
            let (scale, zero) = self.grid.at(run, index);
            (f64::from(value) - f64::from(zero)) as f32 * scale
        };
        let values = self.integers()?.into_iter().enumerate().map(of).collect();
        Ok(Constant {
            dims: self.constant.dims.clone(),
            values: Values::F32(values),
        })
    }

    fn integers(&self) -> Result<Vec<i32>> {
        Ok(match &self.constant.values {
            Values::I8(values) => values.iter().map(|&value| value.into()).collect(),
            Values::U8(values) => values.iter().map(|&value| value.into()).collect(),
            Values::I32(values) => values.clone(),
            _ => {
                return Err(Error::unsupported(
                    "it dequantizes what is not i8, u8 or i32",
                ));
            }
        })
    }

    /// The values less their zero points as i8, where all of them are.
    ///
    /// # Errors
    /// Fails where one of them is not.
    pub fn weights(&self) -> Result<Int8s> {
        if let (Values::I8(values), true) = (&self.constant.values, self.grid.zeros.is_empty()) {
            return Ok(values.clone());
        }
        let run = self.grid.run(&self.constant.dims)?;
        let values = self.integers()?.into_iter().enumerate();
        let values: Option<Vec<i8>> = values
            .map(|(index, value)| {
                let (_, zero) = self.grid.at(run, index);
                i8::try_from(value.checked_sub(zero)?).ok()
            })
            .collect();
        let values = values.ok_or_else(|| {
            Error::unsupported("quantized weights less their zero point must fit i8")
        })?;
        Ok(values.into())
    }

    /// One scale, or one for each place along `axis`.
    ///
    /// # Errors
    /// Fails where they lie along another axis.
    pub fn weight_scales(&self, axis: usize) -> Result<WeightScales> {
        let (dims, scales) = (&self.constant.dims, &self.grid.scales);
        match scales[..] {
            _ if self.grid.is_list
                && scales.len() == dims[axis]
                && axis_of(self.grid.axis, dims.len()) == Ok(axis) =>
            {
                Ok(WeightScales::PerChannel(scales.clone()))
            }
            [scale] => Ok(WeightScales::PerTensor(scale)),
            _ => Err(Error::unsupported(format!(
                "weights {dims:?} have {} scales along axis {}; one scale, or one a channel along \
                 axis {axis}, is possible",
                scales.len(),
                self.grid.axis
            ))),
        }
    }

    /// Of an i32 bias, its scales.
    pub fn scale_of(&self, place: usize) -> f32 {
        self.grid.scales[place % self.grid.scales.len()]
    }

    pub fn scales(&self) -> usize {
        self.grid.scales.len()
    }

    pub fn has_zero_points(&self) -> bool {
        !self.grid.zeros.is_empty()
    }

    /// A matrix with its axes exchanged.
    ///
    /// # Errors
    /// Fails on other shapes.
    pub fn transposed(&self) -> Result<Self> {
        let rows = tensor_of(&self.constant)?
            .t()
            .and_then(|rows| rows.contiguous());
        let rows = rows.engine()?;
        let constant = constant_of(&rows)?;
        Ok(Self {
            constant: Arc::new(match self.constant.values {
                Values::I8(_) => narrowed(constant)?,
                _ => constant,
            }),
            grid: Grid {
                axis: 1 - i64::try_from(axis_of(self.grid.axis, 2)?)?,
                ..self.grid.clone()
            },
        })
    }
}
