//! Functions of one integer.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::Result;

use super::operation::{Compiled, Fact, by_candle, expect_type};
use crate::graph::Narrow;

/// A function that an integer has as well as a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    Abs,
    Neg,
    Relu,
    Sign,
}

impl Whole {
    /// `None` where no integer of 64 bits is the result.
    fn of(self, integer: i64) -> Option<i64> {
        match self {
            Self::Abs => integer.checked_abs(),
            Self::Neg => integer.checked_neg(),
            Self::Relu => Some(integer.max(0)),
            Self::Sign => Some(integer.signum()),
        }
    }

    /// # Errors
    /// Fails on what are no integers.
    pub fn compile(self, fact: &Fact) -> Result<Compiled> {
        let (dtype, narrow) = (fact.dtype, fact.narrow);
        let (range, name) = match (narrow, dtype) {
            (Some(narrow), _) => (narrow.range(), narrow.name()),
            (None, DType::U8) => (u8::MIN.into()..=u8::MAX.into(), "u8"),
            (None, DType::I16) => (Narrow::I8.range(), Narrow::I8.name()),
            (None, DType::I32) => (i32::MIN.into()..=i32::MAX.into(), "i32"),
            (None, DType::I64) => (i64::MIN..=i64::MAX, "i64"),
            (None, other) => {
                expect_type(other, DType::F32)?;
                (0..=0, "f32")
            }
        };
        let run = move |input: &Tensor| {
            let integers = input
                .to_dtype(DType::I64)?
                .flatten_all()?
                .to_vec1::<i64>()?;
            let of = |integer: i64| match self.of(integer).filter(|result| range.contains(result)) {
                Some(result) => Ok(result),
                None => candle_core::bail!("the result for {integer} does not fit {name}"),
            };
            let results = integers.into_iter().map(of);
            let results = results.collect::<CandleResult<Vec<i64>>>()?;
            Tensor::from_vec(results, input.dims(), input.device())?.to_dtype(dtype)
        };
        Ok(Compiled::allocated(
            by_candle("of-integers", run),
            &fact.dims,
            dtype,
        ))
    }
}
