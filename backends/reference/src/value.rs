//! What a name of a graph stands for while it is interpreted.

use std::sync::Arc;

use firstpass_probe::{Data, Dtype, Error, Result, Tensor};
use half::{bf16, f16};

use crate::{
    array::{Array, iota},
    kind::Kind,
    requantize::{Bounds, Channel, Quantization, real_sum},
};

/// A value, as exact as it is known.
#[derive(Debug, Clone)]
pub enum Value {
    Real(Arc<Reals>),
    /// Shapes, indices, truth values, and quantized values before DequantizeLinear says what these mean.
    Whole(Arc<Integers>),
    Dequantized(Arc<Dequantized>),
    /// An operator on dequantized values, not yet rounded.
    Pending(Arc<Pending>),
}

/// Numbers of one type of floats, each of which that type can hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Reals {
    pub array: Array<f64>,
    pub kind: Kind,
}

/// Integers of one type, within its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Integers {
    pub array: Array<i64>,
    pub kind: Kind,
}

/// Which scale and zero point belong to a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Layout {
    One,
    /// One for each index along an axis: how many there are, and the number of values between two.
    Axis {
        count: usize,
        inner: usize,
    },
    /// One for each block of values along an axis: `inner` values lie between two of that axis, which has
    /// `length` values in `blocks` blocks of `size`.
    Blocks {
        inner: usize,
        length: usize,
        blocks: usize,
        size: usize,
    },
}

impl Layout {
    /// The place of the scale of the value at a place.
    pub fn index(&self, at: usize) -> usize {
        match *self {
            Self::One => 0,
            Self::Axis { count, inner } => at / inner.max(1) % count.max(1),
            Self::Blocks {
                inner,
                length,
                blocks,
                size,
            } => {
                let (outer, along) = (at / inner / length, at / inner % length);
                (outer * blocks + along / size) * inner + at % inner
            }
        }
    }
}

/// Integers with their scales.
#[derive(Debug, Clone)]
pub struct Dequantized {
    pub integers: Arc<Integers>,
    /// As many as `layout` distinguishes; likewise `zeros`.
    pub scales: Vec<f32>,
    pub zeros: Vec<i64>,
    pub layout: Layout,
    /// Of the real numbers.
    pub kind: Kind,
}

/// An exact result.
#[derive(Debug, Clone)]
pub struct Pending {
    pub exact: Exact,
    pub bounds: Bounds,
}

#[derive(Debug, Clone)]
pub enum Exact {
    /// Sums of products, with channels along an axis that has `inner` values between two.
    Products {
        sums: Arc<Array<i32>>,
        channels: Arc<Vec<Channel>>,
        inner: usize,
    },
    /// Of two tensors of the same shape.
    Addition([Arc<Dequantized>; 2]),
}

impl Value {
    pub fn real(array: Array<f64>, kind: Kind) -> Self {
        let array = array.map(|value| kind.rounded(value));
        Self::Real(Arc::new(Reals { array, kind }))
    }

    pub fn whole(array: Array<i64>, kind: Kind) -> Self {
        Self::Whole(Arc::new(Integers { array, kind }))
    }

    pub fn truths(array: Array<bool>) -> Self {
        Self::whole(array.map(i64::from), Kind::Bool)
    }

    /// A list of whole numbers, such as a shape.
    pub fn list(values: Vec<i64>) -> Self {
        let dims = vec![values.len()];
        Self::whole(Array { dims, values }, Kind::I64)
    }

    /// What a probe was given.
    ///
    /// # Errors
    /// Fails on types that are not computed with.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let dims = tensor.shape().to_vec();
        let kind = match tensor.dtype() {
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::BF16,
            Dtype::F32 => Kind::F32,
            Dtype::F64 => Kind::F64,
            Dtype::Bool => Kind::Bool,
            Dtype::I8 => Kind::I8,
            Dtype::U8 => Kind::U8,
            Dtype::I16 => Kind::I16,
            Dtype::U16 => Kind::U16,
            Dtype::I32 => Kind::I32,
            Dtype::U32 => Kind::U32,
            Dtype::I64 => Kind::I64,
            Dtype::U64 => {
                return Err(Error::unsupported("the referee does not compute with u64"));
            }
        };
        if let Data::I64(values) = tensor.data() {
            // Not through f64, which holds not all of them.
            let values = values.clone();
            return Ok(Self::whole(Array { dims, values }, kind));
        }
        let values = tensor.data().to_f64s();
        let array = Array { dims, values };
        Ok(if kind.is_real() {
            Self::real(array, kind)
        } else {
            Self::whole(array.map(|value| value as i64), kind)
        })
    }

    /// What a probe gives back.
    ///
    /// # Errors
    /// Fails on types that a probe cannot give.
    pub fn tensor(&self) -> Result<Tensor> {
        /// Of a type that holds every value.
        fn all<A: Copy, B>(values: &[A], value: impl Fn(A) -> B) -> Data
        where
            Data: From<Vec<B>>,
        {
            let values: Vec<B> = values.iter().map(|&v| value(v)).collect();
            values.into()
        }
        if let Self::Whole(integers) = self {
            let values = &integers.array.values;
            let data = match integers.kind {
                Kind::I64 => values.clone().into(),
                Kind::I32 => all(values, |v| v as i32),
                Kind::U32 => all(values, |v| v as u32),
                Kind::I16 => all(values, |v| v as i16),
                Kind::U16 => all(values, |v| v as u16),
                Kind::I8 => all(values, |v| v as i8),
                Kind::U8 => all(values, |v| v as u8),
                Kind::Bool => all(values, |v| v != 0),
                kind => return Err(no_output(kind)),
            };
            return Tensor::new(&integers.array.dims, data);
        }
        let reals = self.reals()?;
        let values = &reals.array.values;
        let data = match reals.kind {
            Kind::F16 => all(values, f16::from_f64),
            Kind::BF16 => all(values, bf16::from_f64),
            Kind::F32 => all(values, |v| v as f32),
            Kind::F64 => values.clone().into(),
            kind => return Err(no_output(kind)),
        };
        Tensor::new(&reals.array.dims, data)
    }

    /// As numbers of its type of floats, rounded once.
    ///
    /// # Errors
    /// Fails on integers.
    pub fn reals(&self) -> Result<Arc<Reals>> {
        match self {
            Self::Real(reals) => Ok(Arc::clone(reals)),
            Self::Dequantized(dequantized) => Ok(Arc::new(dequantized.reals())),
            Self::Pending(pending) => pending.reals().map(Arc::new),
            Self::Whole(integers) => Err(Error::unsupported(format!(
                "integers of {} stand where floats are needed",
                integers.kind
            ))),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Real(reals) => reals.kind,
            Self::Whole(integers) => integers.kind,
            Self::Dequantized(dequantized) => dequantized.kind,
            Self::Pending(_) => Kind::F32,
        }
    }

    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Real(reals) => &reals.array.dims,
            Self::Whole(integers) => &integers.array.dims,
            Self::Dequantized(dequantized) => &dequantized.integers.array.dims,
            Self::Pending(pending) => match &pending.exact {
                Exact::Products { sums, .. } => &sums.dims,
                Exact::Addition([a, _]) => &a.integers.array.dims,
            },
        }
    }

    /// The values at other places: for each of the result, `of` says from which it comes, given the numbers
    /// of all places in the shape of this value.
    ///
    /// # Errors
    /// Where `of` fails.
    pub fn moved(&self, of: impl FnOnce(Array<usize>) -> Result<Array<usize>>) -> Result<Self> {
        let places = of(iota(self.dims())?)?;
        self.gathered(&places)
    }

    /// The values at these places.
    ///
    /// # Errors
    /// Fails where there is no such value.
    pub fn gathered(&self, places: &Array<usize>) -> Result<Self> {
        Ok(match self {
            Self::Whole(integers) => Self::whole(integers.array.gathered(places)?, integers.kind),
            Self::Dequantized(all) if all.layout == Layout::One => {
                let integers = Integers {
                    array: all.integers.array.gathered(places)?,
                    kind: all.integers.kind,
                };
                Self::Dequantized(Arc::new(Dequantized {
                    integers: Arc::new(integers),
                    ..(**all).clone()
                }))
            }
            other => {
                let reals = other.reals()?;
                Self::Real(Arc::new(Reals {
                    array: reals.array.gathered(places)?,
                    kind: reals.kind,
                }))
            }
        })
    }
}

fn no_output(kind: Kind) -> Error {
    Error::unsupported(format!("a probe gives no outputs of {kind}"))
}

impl Dequantized {
    /// How values of a byte are quantized that have one scale; `None` of others.
    pub fn quantization(&self) -> Option<Quantization> {
        let limits = self.integers.kind.limits();
        let is_byte = limits.1 - limits.0 <= 255 && self.kind == Kind::F32;
        let ends = [limits.0, limits.1].map(|end| i32::try_from(end).ok());
        match (&self.scales[..], &self.zeros[..], ends) {
            (&[scale], &[zero], [Some(low), Some(high)]) if is_byte => Some(Quantization {
                scale,
                zero: i32::try_from(zero).ok()?,
                limits: (low, high),
            }),
            _ => None,
        }
    }

    pub fn scale(&self, index: usize) -> f32 {
        self.scales[if self.scales.len() == 1 { 0 } else { index }]
    }

    fn zero(&self, index: usize) -> i64 {
        self.zeros[if self.zeros.len() == 1 { 0 } else { index }]
    }

    /// As ONNX defines it: a difference of integers, as f32, times the scale.
    fn reals(&self) -> Reals {
        let values = self.integers.array.values.iter().enumerate();
        let values = values.map(|(at, &value)| {
            let index = self.layout.index(at);
            let real = (value - self.zero(index)) as f32 * self.scale(index);
            self.kind.rounded(real.into())
        });
        Reals {
            array: Array {
                dims: self.integers.array.dims.clone(),
                values: values.collect(),
            },
            kind: self.kind,
        }
    }

    /// Less the zero points; `None` where one of them is not between −255 and 255, as those of types of one
    /// byte are.
    pub fn centred(&self) -> Option<Array<i16>> {
        let values = self.integers.array.values.iter().enumerate();
        let values = values.map(|(at, &value)| {
            let centred = value.checked_sub(self.zero(self.layout.index(at)))?;
            let centred = i16::try_from(centred).ok();
            centred.filter(|v| (-255..=255).contains(v))
        });
        Some(Array {
            dims: self.integers.array.dims.clone(),
            values: values.collect::<Option<_>>()?,
        })
    }
}

impl Pending {
    fn reals(&self) -> Result<Reals> {
        let Bounds { low, high } = self.bounds;
        let bounded = |real: f64| f64::from((real as f32).max(low).min(high));
        let array = match &self.exact {
            Exact::Products {
                sums,
                channels,
                inner,
            } => {
                let values = sums.values.iter().enumerate();
                let channel = |at: usize| &channels[at / inner % channels.len()];
                Array {
                    values: values
                        .map(|(at, &sum)| bounded(real_sum(sum, channel(at))))
                        .collect(),
                    dims: sums.dims.clone(),
                }
            }
            Exact::Addition([a, b]) => {
                let (Some(qa), Some(qb)) = (a.quantization(), b.quantization()) else {
                    return Err(Error::engine("an exact sum has several scales"));
                };
                let real = |value: i64, q: Quantization| {
                    f64::from(q.scale) * (value - i64::from(q.zero)) as f64
                };
                let pairs = a.integers.array.values.iter().zip(&b.integers.array.values);
                Array {
                    dims: a.integers.array.dims.clone(),
                    values: pairs
                        .map(|(&a, &b)| bounded(real(a, qa) + real(b, qb)))
                        .collect(),
                }
            }
        };
        Ok(Reals {
            array,
            kind: Kind::F32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_the_scale_of_its_block() {
        // Of [2, 5, 2], blocks of two along the middle: [2, 3, 2] scales.
        let layout = Layout::Blocks {
            inner: 2,
            length: 5,
            blocks: 3,
            size: 2,
        };
        let found: Vec<usize> = (0..20).map(|at| layout.index(at)).collect();
        let first = [0, 1, 0, 1, 2, 3, 2, 3, 4, 5];
        assert_eq!(found[..10], first);
        assert_eq!(found[10..], first.map(|index| index + 6));
    }
}
