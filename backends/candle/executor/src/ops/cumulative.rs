//! CumSum: sums of all values of an axis up to each.

use std::ops::RangeInclusive;

use candle_core::{DType, Result as CandleResult, Tensor, WithDType};
use firstpass_onnx::{Error, Result};

use super::{
    access::{Written, check_length, map},
    operation::{Compiled, Fact, Inputs, Operation, Writing, expect_type, first},
    parallel::for_each_part,
};
use crate::{geometry::axis_of, graph::Node};

/// CumSum.
#[derive(Debug, Clone, Copy)]
pub struct CumSum {
    /// Without the value at the place itself.
    is_exclusive: bool,
    /// From the last value on.
    is_reverse: bool,
}

impl CumSum {
    /// # Errors
    /// Fails where an attribute is no integer.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let flag = |name: &str| Ok::<_, Error>(node.int(name)?.unwrap_or(0) != 0);
        Ok(Box::new(Self {
            is_exclusive: flag("exclusive")?,
            is_reverse: flag("reverse")?,
        }))
    }
}

impl Operation for CumSum {
    fn is_parameter(&self, position: usize) -> bool {
        position == 1
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let axis = match inputs.integers(1)?[..] {
            [axis] => axis_of(axis, fact.dims.len())?,
            _ => return Err(Error::engine("its axis is no single number")),
        };
        let lines = Lines {
            length: fact.dims[axis],
            stride: fact.dims[axis + 1..].iter().product(),
            of: *self,
        };
        let range = range(fact);
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let input = first(inputs)?;
            match input.dtype() {
                DType::F32 => lines.run(input, out, |a: f32, b| Some(a + b)),
                DType::F64 => lines.run(input, out, |a: f64, b| Some(a + b)),
                DType::I32 => lines.run(input, out, |a: i32, b| {
                    let sum = a.checked_add(b);
                    sum.filter(|&sum| range.contains(&sum.into()))
                }),
                DType::I64 => lines.run(input, out, |a: i64, b| {
                    a.checked_add(b).filter(|sum| range.contains(sum))
                }),
                other => candle_core::bail!("values of type {other:?}"),
            }
        };
        if !matches!(fact.dtype, DType::F64 | DType::I32 | DType::I64) {
            expect_type(fact.dtype, DType::F32)?;
        }
        let name = "cumulative-sum";
        let operator = Writing { name, run };
        Ok(Compiled::written(operator, &fact.dims, fact.dtype))
    }
}

/// The integers of a type.
fn range(fact: &Fact) -> RangeInclusive<i64> {
    fact.narrow
        .map_or(i64::MIN..=i64::MAX, |narrow| narrow.range())
}

#[derive(Clone, Copy)]
struct Lines {
    length: usize,
    /// How far apart the values of a line lie.
    stride: usize,
    of: CumSum,
}

impl Lines {
    fn run<T: Written + WithDType + Default>(
        self,
        input: &Tensor,
        out: &Tensor,
        add: impl Fn(T, T) -> Option<T> + Sync,
    ) -> CandleResult<()> {
        let block = self.length * self.stride;
        let failed = std::sync::atomic::AtomicBool::new(false);
        map(input, out, |input: &[T], out: &mut [T]| {
            check_length("the input", input.len(), out.len())?;
            for_each_part(out, block, |number, out| {
                let input = &input[number * block..][..block];
                for lane in 0..self.stride {
                    if self.line(&input[lane..], &mut out[lane..], &add).is_none() {
                        failed.store(true, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
            Ok(())
        })?;
        if failed.into_inner() {
            candle_core::bail!("a sum does not fit the type of the values");
        }
        Ok(())
    }

    /// `None` where a sum does not fit its type.
    fn line<T: WithDType + Default>(
        self,
        input: &[T],
        out: &mut [T],
        add: &impl Fn(T, T) -> Option<T>,
    ) -> Option<()> {
        let mut sum = T::default();
        for step in 0..self.length {
            let place = match self.of.is_reverse {
                true => self.length - 1 - step,
                false => step,
            };
            let at = place * self.stride;
            if self.of.is_exclusive {
                out[at] = sum;
                // What lies behind the last place is in no sum.
                if step + 1 < self.length {
                    sum = add(sum, input[at])?;
                }
            } else {
                sum = add(sum, input[at])?;
                out[at] = sum;
            }
        }
        Some(())
    }
}
