//! Conversion of types.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{
    Result,
    data_type::{self, BOOL},
};

use super::operation::{Compiled, Inputs, Operation, by_candle};
use crate::graph::{Narrow, Node, dtype_of};

/// Cast to another type.
#[derive(Debug)]
pub struct Cast {
    /// An ONNX type.
    to: i32,
    dtype: DType,
}

impl Cast {
    /// # Errors
    /// Fails on a type that is not implemented.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let to = Self::to(node)?;
        let dtype = dtype_of(to);
        let dtype =
            dtype.ok_or_else(|| node.unsupported(format!("a cast to {}", data_type::name(to))))?;
        Ok(Box::new(Self { to, dtype }))
    }

    /// The type that a node casts to.
    ///
    /// # Errors
    /// Fails where it says none.
    pub fn to(node: &Node<'_>) -> Result<i32> {
        let to = node.int("to")?.and_then(|to| i32::try_from(to).ok());
        to.ok_or_else(|| node.malformed("it names no type to cast to"))
    }
}

impl Operation for Cast {
    fn takes_halves(&self) -> bool {
        true
    }

    fn narrow(&self, _: &Inputs<'_>, _: DType) -> Option<Narrow> {
        Narrow::of(self.to)
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let (to, dtype) = (self.to, self.dtype);
        let run = move |input: &Tensor| match (to, Narrow::of(to)) {
            (BOOL, _) => input.ne(&input.zeros_like()?),
            (_, Some(narrow)) => wrapped(input, narrow),
            _ => input.to_dtype(dtype),
        };
        Ok(Compiled::view(by_candle("cast", run), &fact.dims, dtype))
    }
}

/// Integers in as many bits as their type has, held in the type that has room for them.
fn wrapped(input: &Tensor, narrow: Narrow) -> CandleResult<Tensor> {
    let integers = input
        .to_dtype(DType::I64)?
        .flatten_all()?
        .to_vec1::<i64>()?;
    let of = |integer: i64| match narrow.wrapped(integer) {
        Some(integer) => Ok(integer),
        None => candle_core::bail!("{integer} has no room among {}", narrow.name()),
    };
    let integers = integers
        .into_iter()
        .map(of)
        .collect::<CandleResult<Vec<i64>>>()?;
    Tensor::from_vec(integers, input.dims(), input.device())?.to_dtype(narrow.held_as())
}
