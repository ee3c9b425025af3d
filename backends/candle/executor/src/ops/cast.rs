//! Conversion of types.

use candle_core::{DType, Tensor};
use firstpass_onnx::{
    Result,
    data_type::{self, BOOL, INT8},
};

use super::operation::{Compiled, Inputs, Operation, by_candle};
use crate::graph::{Node, dtype_of};

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
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let (to, dtype) = (self.to, self.dtype);
        let run = move |input: &Tensor| match to {
            BOOL => input.ne(&input.zeros_like()?),
            // As bytes; then with the sign that their highest bit is.
            INT8 => {
                let bits = input.to_dtype(DType::I64)?.to_dtype(DType::U8)?;
                let numbers = bits.to_dtype(DType::I16)?;
                let is_negative = bits.ge(128_u8)?.to_dtype(DType::I16)?;
                numbers - (is_negative * 256.0)?
            }
            _ => input.to_dtype(dtype),
        };
        Ok(Compiled::view(by_candle("cast", run), &fact.dims, dtype))
    }
}
