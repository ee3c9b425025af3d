//! What a name of a graph stands for while it is interpreted.

use std::sync::Arc;

use firstpass_onnx::{Constant, Values};
use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    requantize::{Bounds, Channel, Quantization, real_sum},
};

/// A value, as exact as it is known.
#[derive(Debug, Clone)]
pub enum Value {
    Float(Arc<Array<f32>>),
    /// Whole numbers that are no quantized values: shapes.
    Whole(Arc<Vec<i64>>),
    /// Quantized, before DequantizeLinear says what that means.
    Quantized(Arc<Integers>),
    Dequantized(Arc<Dequantized>),
    /// An operator on dequantized values, not yet rounded.
    Pending(Arc<Pending>),
}

/// Integers of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Integers {
    pub array: Array<i32>,
    /// The smallest and the largest value of the type.
    pub limits: (i32, i32),
}

/// Integers with their scales.
#[derive(Debug, Clone)]
pub struct Dequantized {
    pub integers: Arc<Integers>,
    /// One, or one for each index along `axis`; likewise `zeros`.
    pub scales: Vec<f32>,
    pub zeros: Vec<i32>,
    pub axis: usize,
}

/// An exact result.
#[derive(Debug, Clone)]
pub struct Pending {
    pub exact: Exact,
    pub bounds: Bounds,
}

#[derive(Debug, Clone)]
pub enum Exact {
    /// Sums of products, channels in the second axis.
    Convolution {
        sums: Arc<Array<i32>>,
        channels: Arc<Vec<Channel>>,
    },
    Addition([Arc<Dequantized>; 2]),
}

impl Value {
    /// The value of a constant of the graph.
    pub fn of(constant: &Constant) -> Self {
        let integers = |values: Vec<i32>, limits: (i32, i32)| {
            Self::Quantized(Arc::new(Integers {
                array: Array {
                    dims: constant.dims.clone(),
                    values,
                },
                limits,
            }))
        };
        let floats = |values: Vec<f32>| {
            Self::Float(Arc::new(Array {
                dims: constant.dims.clone(),
                values,
            }))
        };
        match &constant.values {
            Values::F32(values) => floats(values.clone()),
            Values::F64(values) => floats(values.iter().map(|&v| v as f32).collect()),
            Values::F16(values) => floats(values.iter().map(|&v| v.into()).collect()),
            Values::BF16(values) => floats(values.iter().map(|&v| v.into()).collect()),
            Values::I64(values) => Self::Whole(Arc::new(values.clone())),
            Values::U8(values) => integers(values.iter().map(|&v| v.into()).collect(), (0, 255)),
            Values::I8(values) => integers(values.iter().map(|&v| v.into()).collect(), (-128, 127)),
            Values::U16(values) => {
                integers(values.iter().map(|&v| v.into()).collect(), (0, 65_535))
            }
            Values::I16(values) => integers(
                values.iter().map(|&v| v.into()).collect(),
                (-32_768, 32_767),
            ),
            Values::I32(values) => integers(values.clone(), (i32::MIN, i32::MAX)),
        }
    }

    /// As floats, rounded once.
    ///
    /// # Errors
    /// Fails on values that are no real numbers.
    pub fn float(&self) -> Result<Arc<Array<f32>>> {
        match self {
            Self::Float(array) => Ok(Arc::clone(array)),
            Self::Dequantized(dequantized) => Ok(Arc::new(dequantized.float())),
            Self::Pending(pending) => pending.float().map(Arc::new),
            Self::Whole(_) | Self::Quantized(_) => Err(Error::unsupported(
                "integers are read as real numbers, without DequantizeLinear",
            )),
        }
    }
}

impl Dequantized {
    /// How activations are quantized.
    ///
    /// # Errors
    /// Fails where they have several scales.
    pub fn quantization(&self) -> Result<Quantization> {
        match (&self.scales[..], &self.zeros[..]) {
            (&[scale], &[zero]) => Ok(Quantization {
                scale,
                zero,
                limits: self.integers.limits,
            }),
            _ => Err(Error::unsupported("activations have several scales")),
        }
    }

    /// The index along the axis of the scales of a place.
    fn index(&self, at: usize) -> usize {
        let dims = &self.integers.array.dims;
        let inner: usize = dims.iter().skip(self.axis + 1).product();
        let length = dims.get(self.axis).copied().unwrap_or(1);
        at / inner.max(1) % length.max(1)
    }

    fn of_index<T: Copy>(values: &[T], index: usize) -> T {
        values[if values.len() == 1 { 0 } else { index }]
    }

    pub fn scale(&self, index: usize) -> f32 {
        Self::of_index(&self.scales, index)
    }

    pub fn zero(&self, index: usize) -> i32 {
        Self::of_index(&self.zeros, index)
    }

    fn float(&self) -> Array<f32> {
        let values = self.integers.array.values.iter().enumerate();
        let values = values.map(|(at, &value)| {
            let index = self.index(at);
            (value - self.zero(index)) as f32 * self.scale(index)
        });
        Array {
            dims: self.integers.array.dims.clone(),
            values: values.collect(),
        }
    }

    /// Less the zero points; between −255 and 255 for types of one byte.
    ///
    /// # Errors
    /// Fails on wider types.
    pub fn centred(&self) -> Result<Array<i16>> {
        let values = self.integers.array.values.iter().enumerate();
        let values = values.map(|(at, &value)| {
            let centred = value.wrapping_sub(self.zero(self.index(at)));
            i16::try_from(centred)
                .ok()
                .filter(|v| (-255..=255).contains(v))
        });
        let values: Option<Vec<i16>> = values.collect();
        Ok(Array {
            dims: self.integers.array.dims.clone(),
            values: values.ok_or_else(|| Error::unsupported("values are wider than a byte"))?,
        })
    }
}

impl Pending {
    fn float(&self) -> Result<Array<f32>> {
        let Bounds { low, high } = self.bounds;
        let bounded = |real: f64| (real as f32).max(low).min(high);
        match &self.exact {
            Exact::Convolution { sums, channels } => {
                let [_, count, height, width] = sums.image_dims()?;
                let values = sums.values.iter().enumerate();
                let values = values.map(|(at, &sum)| {
                    bounded(real_sum(sum, &channels[at / (height * width) % count]))
                });
                Ok(Array {
                    dims: sums.dims.clone(),
                    values: values.collect(),
                })
            }
            Exact::Addition([a, b]) => {
                let (qa, qb) = (a.quantization()?, b.quantization()?);
                let real =
                    |value: i32, q: Quantization| f64::from(q.scale) * f64::from(value - q.zero);
                let pairs = a.integers.array.values.iter().zip(&b.integers.array.values);
                let values = pairs.map(|(&a, &b)| bounded(real(a, qa) + real(b, qb)));
                Ok(Array {
                    dims: a.integers.array.dims.clone(),
                    values: values.collect(),
                })
            }
        }
    }
}
