//! Scales and zero points of a tensor: one, one for each place along an axis, or one for each block.

use firstpass_onnx::{Constant, Error, Result, Values, data_type};

use super::Node;
use crate::geometry::axis_of;

/// The smallest and the largest integer of an ONNX type that values are quantized to; `None` for others.
pub fn limits(onnx: i32) -> Option<(i32, i32)> {
    Some(match onnx {
        data_type::UINT8 => (0, 255),
        data_type::INT8 => (-128, 127),
        data_type::UINT16 => (0, 65_535),
        data_type::INT16 => (-32_768, 32_767),
        data_type::UINT4 => (0, 15),
        data_type::INT4 => (-8, 7),
        _ => return None,
    })
}

/// Along what scales and zero points change.
#[derive(Debug, Clone, Copy)]
pub struct Along {
    axis: i64,
    /// Neighbours along the axis that share a scale; 0: there are no blocks.
    block: usize,
}

impl Along {
    /// # Errors
    /// Fails where attributes are not as they must be.
    pub fn read(node: &Node<'_>) -> Result<Self> {
        let block = node.int("block_size")?.unwrap_or(0);
        let block = usize::try_from(block);
        Ok(Self {
            axis: node.int("axis")?.unwrap_or(1),
            block: block.map_err(|_| node.malformed("its block_size is negative"))?,
        })
    }
}

/// Scales and zero points.
#[derive(Debug, Clone)]
pub struct Grid {
    scales: Vec<f32>,
    /// Of the scales.
    dims: Vec<usize>,
    /// As many as scales, or none where all are 0.
    zeros: Vec<i32>,
    along: Along,
}

impl Grid {
    /// # Errors
    /// Fails where there are other numbers of scales and zero points, and on a scale by which one cannot
    /// divide.
    pub fn new(
        scales: Vec<f32>,
        dims: Vec<usize>,
        zeros: Option<Vec<i32>>,
        along: Along,
    ) -> Result<Self> {
        let has_zeros = zeros.is_some();
        let zeros = zeros.unwrap_or_default();
        if scales.is_empty() || (has_zeros && zeros.len() != scales.len()) {
            return Err(Error::engine(format!(
                "it has {} scales and {} zero points",
                scales.len(),
                zeros.len()
            )));
        }
        for &scale in &scales {
            check_scale(scale)?;
        }
        let zeros = match zeros.iter().all(|&zero| zero == 0) {
            true => Vec::new(),
            false => zeros,
        };
        Ok(Self {
            scales,
            dims,
            zeros,
            along,
        })
    }

    /// # Errors
    /// Fails where they are not of types that are read here.
    pub fn read(node: &Node<'_>, scales: &Constant, zeros: Option<&Constant>) -> Result<Self> {
        let Values::F32(values) = &scales.values else {
            return Err(node.unsupported("its scales must be f32"));
        };
        let zeros = match zeros {
            None => None,
            Some(zeros) => {
                let integers = zeros.values.integers();
                Some(integers.ok_or_else(|| node.unsupported("its zero points must be integers"))?)
            }
        };
        let grid = Self::new(
            values.clone(),
            scales.dims.clone(),
            zeros,
            Along::read(node)?,
        );
        grid.map_err(|e| e.context(node.label()))
    }

    /// The same with the two axes of a matrix exchanged.
    ///
    /// # Errors
    /// Fails on blocks.
    pub fn transposed(&self) -> Result<Self> {
        if self.along.block > 0 {
            return Err(Error::unsupported("it is quantized in blocks"));
        }
        let axis = 1 - i64::try_from(axis_of(self.along.axis, 2)?)?;
        Ok(Self {
            along: Along { axis, block: 0 },
            ..self.clone()
        })
    }

    /// One scale, or one for each place along an axis of `dims`.
    ///
    /// # Errors
    /// Fails on others.
    pub fn along(&self, axis: usize, dims: &[usize]) -> Result<Option<&[f32]>> {
        let is_list = self.dims.len() == 1 && self.along.block == 0;
        match self.scales[..] {
            _ if is_list
                && self.scales.len() == dims[axis]
                && axis_of(self.along.axis, dims.len()) == Ok(axis) =>
            {
                Ok(Some(&self.scales))
            }
            [_] => Ok(None),
            _ => Err(Error::unsupported(format!(
                "values of shape {dims:?} have scales of shape {:?} along axis {}; one scale, or one for \
                 each place along axis {axis}, is possible",
                self.dims, self.along.axis
            ))),
        }
    }

    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub fn has_zero_points(&self) -> bool {
        !self.zeros.is_empty()
    }

    /// Scale and zero point of every value of a tensor, in row-major order.
    ///
    /// # Errors
    /// Fails where the scales do not fit the shape.
    pub fn of(&self, dims: &[usize]) -> Result<impl Iterator<Item = (f32, i32)> + use<'_>> {
        let Along { axis, block } = self.along;
        let mismatch = || {
            Error::engine(format!(
                "scales of shape {:?} along axis {axis}, in blocks of {block}, of values of shape {dims:?}",
                self.dims
            ))
        };
        // Of an index: runs of one place along the axis, places along it, and places that share a scale.
        let (inner, length, block, is_blocked) = match (self.scales.len(), block) {
            (1, _) => (usize::MAX, 1, 1, false),
            (count, 0) => {
                let axis = axis_of(axis, dims.len())?;
                if dims[axis] != count || self.dims.len() != 1 {
                    return Err(mismatch());
                }
                let inner: usize = dims[axis + 1..].iter().product();
                (inner.max(1), count, 1, false)
            }
            (_, block) => {
                let axis = axis_of(axis, dims.len())?;
                let mut expected = dims.to_vec();
                expected[axis] = dims[axis].div_ceil(block);
                if self.dims != expected {
                    return Err(mismatch());
                }
                let inner: usize = dims[axis + 1..].iter().product();
                (inner.max(1), dims[axis].max(1), block, true)
            }
        };
        let count: usize = dims.iter().product();
        Ok((0..count).map(move |index| {
            let along = index / inner % length;
            let place = match is_blocked {
                false => along,
                true => {
                    let outer = index / inner / length;
                    (outer * length.div_ceil(block) + along / block) * inner + index % inner
                }
            };
            let zero = self.zeros.get(place).copied().unwrap_or(0);
            (self.scales[place], zero)
        }))
    }

    /// Values quantized, as ONNX defines it, to integers within limits; `quotient` is how one over its scale is
    /// rounded before that.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn quantized(
        &self,
        values: &[f32],
        dims: &[usize],
        (low, high): (i32, i32),
        quotient: fn(f32) -> f32,
    ) -> Result<Vec<i32>> {
        let (low, high) = (low as f32, high as f32);
        let pairs = values.iter().zip(self.of(dims)?);
        Ok(pairs
            .map(|(value, (scale, zero))| {
                let steps = quotient(value / scale).round_ties_even() + zero as f32;
                // What is no number becomes the smallest integer.
                let steps = if steps > low { steps } else { low };
                (if steps < high { steps } else { high }) as i32
            })
            .collect())
    }

    /// The real numbers that integers stand for.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn dequantized(&self, integers: &[i32], dims: &[usize]) -> Result<Vec<f32>> {
        let pairs = integers.iter().zip(self.of(dims)?);
        Ok(pairs
            .map(|(&integer, (scale, zero))| (f64::from(integer) - f64::from(zero)) as f32 * scale)
            .collect())
    }
}

/// A scale by which one can divide, and that has a reciprocal.
///
/// # Errors
/// Fails on others: they are valid and of no use.
pub fn check_scale(scale: f32) -> Result<()> {
    if scale.is_normal() && scale > 0.0 {
        Ok(())
    } else {
        Err(Error::unsupported(format!(
            "the scale is {scale}; only normal positive numbers are implemented"
        )))
    }
}
