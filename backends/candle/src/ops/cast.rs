//! Conversion of types.

use candle_core::{DType, Tensor};
use firstpass_probe::Result;

use super::operation::{Compiled, Inputs, Operation, by_candle};
use crate::graph::Node;

/// Cast to another type.
#[derive(Debug)]
pub struct Cast {
    to: DType,
    is_truth: bool,
}

impl Cast {
    /// # Errors
    /// Fails on a type that candle does not have.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        use firstpass_onnx::data_type::{BOOL, DOUBLE, FLOAT, INT32, INT64, UINT8};

        let to = node.int("to")?.and_then(|to| i32::try_from(to).ok());
        Ok(Box::new(Self {
            to: match to {
                Some(FLOAT) => DType::F32,
                Some(DOUBLE) => DType::F64,
                Some(INT64) => DType::I64,
                Some(INT32) => DType::I32,
                Some(UINT8 | BOOL) => DType::U8,
                _ => return Err(node.unsupported(format!("a cast to ONNX data type {to:?}"))),
            },
            is_truth: to == Some(BOOL),
        }))
    }
}

impl Operation for Cast {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let (to, is_truth) = (self.to, self.is_truth);
        let run = move |input: &Tensor| match is_truth {
            true => input.ne(&input.zeros_like()?),
            false => input.to_dtype(to),
        };
        Ok(Compiled::view(by_candle("cast", run), &fact.dims, to))
    }
}
