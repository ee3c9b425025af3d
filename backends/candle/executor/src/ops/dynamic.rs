//! DynamicQuantizeLinear: scale and zero point from the values themselves.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{read, write},
    operation::{Compiled, Inputs, Operation, Writing, expect_type, first},
    parallel::{CHUNK, for_each_part, part},
};
use crate::{
    graph::Node,
    kernels::{self, Isa, Range, Scaling},
};

/// One of its outputs.
#[derive(Debug, Clone, Copy)]
pub enum DynamicQuantize {
    Values,
    Scale,
    Zero,
}

impl DynamicQuantize {
    /// The output at `index`.
    ///
    /// # Errors
    /// Fails where there is none.
    pub fn read(node: &Node<'_>, index: usize) -> Result<Box<dyn Operation>> {
        Ok(Box::new(match index {
            0 => Self::Values,
            1 => Self::Scale,
            2 => Self::Zero,
            _ => return Err(node.malformed("it has three outputs")),
        }))
    }

    /// # Errors
    /// As [`Self::read`].
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Self::read(node, 0)
    }
}

impl Operation for DynamicQuantize {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        expect_type(fact.dtype, DType::F32)?;
        if fact.dims.contains(&0) {
            return Err(Error::unsupported(
                "there are no values to take a scale from",
            ));
        }
        let isa = inputs.isa;
        let name = "dynamic-quantize";
        Ok(match self {
            Self::Values => {
                let run = move |inputs: &[&Tensor], out: &Tensor| values(isa, first(inputs)?, out);
                Compiled::written(Writing { name, run }, &fact.dims, DType::U8)
            }
            Self::Scale => {
                let run = |inputs: &[&Tensor], out: &Tensor| {
                    let (scale, _) = read(first(inputs)?, |values| Ok(quantization(values)))?;
                    write(out, |out: &mut [f32]| {
                        out.fill(scale);
                        Ok(())
                    })
                };
                Compiled::written(Writing { name, run }, &[], DType::F32)
            }
            Self::Zero => {
                let run = |inputs: &[&Tensor], out: &Tensor| {
                    let (_, zero) = read(first(inputs)?, |values| Ok(quantization(values)))?;
                    write(out, |out: &mut [u8]| {
                        out.fill(zero);
                        Ok(())
                    })
                };
                Compiled::written(Writing { name, run }, &[], DType::U8)
            }
        })
    }
}

fn values(isa: Isa, input: &Tensor, out: &Tensor) -> CandleResult<()> {
    read(input, |values: &[f32]| {
        let (scale, zero) = quantization(values);
        let range = Range::new(zero, u8::MIN, u8::MAX);
        write(out, |out: &mut [u8]| {
            for_each_part(out, CHUNK, |number, out| {
                let values = part(values, CHUNK, number);
                kernels::quantize(isa, Scaling::Over(scale), range, values, out);
            });
            Ok(())
        })
    })
}

/// Scale and zero point of values, such that 0 is one of the integers.
fn quantization(values: &[f32]) -> (f32, u8) {
    let (low, high) = values
        .iter()
        .fold((0.0_f32, 0.0_f32), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
    let scale = (high - low) / 255.0;
    if scale == 0.0 {
        // All values are 0, which every scale has. The standard's formula has none for them; this is that of its
        // reference evaluator. ONNX Runtime says 1.
        return (1.0 / 255.0, 0);
    }
    let zero = (0.0 - low / scale).clamp(0.0, 255.0).round_ties_even();
    (scale, zero as u8)
}
