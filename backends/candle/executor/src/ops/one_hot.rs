//! What is made of places: OneHot, and the halves of a matrix that Trilu keeps.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    operation::{ByCandle, Compiled, Inputs, Operation, by_candle, expect_type},
    permuted::contiguous,
    slicing::select,
};
use crate::{
    geometry::{axis_of, volume},
    graph::{Narrow, Node, flat},
};

/// OneHot: one value where an index says so, and another everywhere else.
#[derive(Debug)]
pub struct OneHot {
    axis: i64,
}

impl OneHot {
    /// # Errors
    /// Fails where the axis is no integer.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self {
            axis: node.int("axis")?.unwrap_or(-1),
        }))
    }
}

impl Operation for OneHot {
    fn takes_halves(&self) -> bool {
        true
    }

    fn is_parameter(&self, position: usize) -> bool {
        position == 1
    }

    fn narrow(&self, inputs: &Inputs<'_>, dtype: DType) -> Option<Narrow> {
        // The output is of the type of the two values, whatever the indices are.
        inputs
            .optional(2)
            .filter(|values| values.dtype == dtype)?
            .narrow
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (indices, values) = (inputs.get(0)?, inputs.get(2)?);
        let depth = match flat::<f64>(inputs.constant(1)?)?[..] {
            [depth] if depth >= 0.0 && depth <= f64::from(u32::MAX) => depth as usize,
            _ => return Err(Error::engine("its depth is no single length")),
        };
        if volume(&values.dims)? != 2 {
            return Err(Error::engine("it needs a value for off and one for on"));
        }
        let axis = axis_of(self.axis, indices.dims.len() + 1)?;
        let mut dims = indices.dims.clone();
        dims.insert(axis, depth);
        volume(&dims)?;
        let inner: usize = indices.dims[axis..].iter().product();
        let shape = dims.clone();
        let run = move |inputs: &[&Tensor]| {
            let [indices, values] = inputs else {
                candle_core::bail!("{} operands", inputs.len());
            };
            let indices = contiguous(indices)?.flatten_all()?.to_dtype(DType::I64)?;
            let indices = indices.to_vec1::<i64>()?;
            let mut is_on = vec![0_u32; indices.len() * depth];
            for (number, index) in indices.into_iter().enumerate() {
                // An index out of range is at no place.
                let Ok(place) = axis_of(index, depth) else {
                    continue;
                };
                let (outer, lane) = (number / inner, number % inner);
                is_on[(outer * depth + place) * inner + lane] = 1;
            }
            select(&values.flatten_all()?, &is_on, 0)?.reshape(&shape[..])
        };
        let name = "one-hot";
        Ok(Compiled::allocated(
            ByCandle { name, run },
            &dims,
            values.dtype,
        ))
    }
}

/// Trilu: of matrices, what lies on one side of a diagonal; zeros elsewhere.
#[derive(Debug)]
pub struct Trilu {
    keeps_upper: bool,
}

impl Trilu {
    /// # Errors
    /// Fails where an attribute is no integer.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self {
            keeps_upper: node.int("upper")?.unwrap_or(1) != 0,
        }))
    }
}

impl Operation for Trilu {
    fn takes_halves(&self) -> bool {
        true
    }

    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let [.., rows, columns] = fact.dims[..] else {
            return Err(Error::engine(format!("{:?} is no matrix", fact.dims)));
        };
        let diagonal = match inputs.optional_integers(1)?.as_deref() {
            None => 0,
            Some(&[diagonal]) => diagonal,
            Some(_) => return Err(Error::engine("its diagonal is no single number")),
        };
        let mut keeps = Vec::with_capacity(volume(&[rows, columns])?);
        for row in 0..rows {
            for column in 0..columns {
                let from = i64::try_from(column)?.saturating_sub(i64::try_from(row)?);
                keeps.push(u8::from(match self.keeps_upper {
                    true => from >= diagonal,
                    false => from <= diagonal,
                }));
            }
        }
        let shape = fact.dims.clone();
        let run = move |input: &Tensor| -> CandleResult<Tensor> {
            let keeps = Tensor::from_slice(&keeps, (rows, columns), input.device())?;
            let keeps = contiguous(&keeps.broadcast_as(&shape[..])?)?;
            keeps.where_cond(&contiguous(input)?, &input.zeros_like()?)
        };
        let operator = by_candle("trilu", run);
        Ok(Compiled::allocated(operator, &fact.dims, fact.dtype))
    }
}

/// IsNaN and IsInf.
#[derive(Debug, Clone, Copy)]
pub enum NoNumber {
    NaN,
    Infinite { positive: bool, negative: bool },
}

impl NoNumber {
    /// # Errors
    /// Fails where an attribute is no integer.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let flag = |name: &str| Ok::<_, Error>(node.int(name)?.unwrap_or(1) != 0);
        Ok(Box::new(match node.op_type.as_str() {
            "IsNaN" => Self::NaN,
            _ => Self::Infinite {
                positive: flag("detect_positive")?,
                negative: flag("detect_negative")?,
            },
        }))
    }

    fn is(self, value: f64) -> bool {
        match self {
            Self::NaN => value.is_nan(),
            Self::Infinite { positive, negative } => {
                (positive && value == f64::INFINITY) || (negative && value == f64::NEG_INFINITY)
            }
        }
    }
}

impl Operation for NoNumber {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        if fact.dtype != DType::F64 {
            expect_type(fact.dtype, DType::F32)?;
        }
        let this = *self;
        let run = move |input: &Tensor| {
            // Every f32 is an f64.
            let values = input.flatten_all()?.to_dtype(DType::F64)?;
            let values = values.to_vec1::<f64>()?.into_iter();
            let found: Vec<u8> = values.map(|value| this.is(value).into()).collect();
            Tensor::from_vec(found, input.dims(), input.device())
        };
        let operator = by_candle("is-no-number", run);
        Ok(Compiled::allocated(operator, &fact.dims, DType::U8))
    }
}
