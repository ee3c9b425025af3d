//! QuantizeLinear and DequantizeLinear of all that the integer operators do not take: scales along an axis, in
//! blocks, or known only in a pass, and integers of other widths. They are computed as ONNX defines them.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};
use half::{bf16, f16};

use super::{
    access::{Written, map, write},
    halves::is_half,
    operation::{Compiled, Inputs, Operation, Writing, expect_type},
};
use crate::graph::{Along, Grid, Narrow, flat};

/// QuantizeLinear of values, by scales and zero points that are its other inputs.
#[derive(Debug)]
pub struct QuantizeOtherwise {
    pub along: Along,
    /// The smallest and the largest integer.
    pub limits: (i32, i32),
}

impl Operation for QuantizeOtherwise {
    fn takes_halves(&self) -> bool {
        true
    }

    fn narrow(&self, _: &Inputs<'_>, _: DType) -> Option<Narrow> {
        match self.limits {
            (-128, 127) | (-8, 7) => Some(Narrow::I8),
            (0, 65_535) => Some(Narrow::U16),
            (-32_768, 32_767) => Some(Narrow::I16),
            _ => None,
        }
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let of_scales = inputs.get(1)?.dtype;
        if !is_half(fact.dtype) {
            expect_type(fact.dtype, DType::F32)?;
        }
        if !is_half(of_scales) {
            expect_type(of_scales, DType::F32)?;
        }
        check(inputs, self.along)?;
        // The standard divides in the type of the scales: halves are not only what is divided.
        let quotient: fn(f32) -> f32 = match of_scales {
            DType::F16 => |quotient| f16::from_f32(quotient).to_f32(),
            DType::BF16 => |quotient| bf16::from_f32(quotient).to_f32(),
            _ => |quotient| quotient,
        };
        let dtype = match self.limits {
            (0, 255 | 15) => DType::U8,
            (-128, 127) | (-8, 7) => DType::I16,
            _ => DType::I32,
        };
        let Self { along, limits } = *self;
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let grid = grid(inputs, along)?;
            match dtype {
                DType::U8 => quantize::<u8>(inputs[0], &grid, limits, quotient, out),
                DType::I16 => quantize::<i16>(inputs[0], &grid, limits, quotient, out),
                _ => quantize::<i32>(inputs[0], &grid, limits, quotient, out),
            }
        };
        let name = "quantize";
        Ok(Compiled::written(Writing { name, run }, &fact.dims, dtype))
    }
}

fn quantize<T: Written + TryFrom<i32>>(
    input: &Tensor,
    grid: &Grid,
    limits: (i32, i32),
    quotient: fn(f32) -> f32,
    out: &Tensor,
) -> CandleResult<()> {
    let dims = input.dims();
    let input = &input.to_dtype(DType::F32)?;
    map(input, out, |values: &[f32], out: &mut [T]| {
        let integers = grid.quantized(values, dims, limits, quotient);
        let integers = integers.map_err(of_candle)?;
        for (out, integer) in out.iter_mut().zip(integers) {
            // Within the limits of its type.
            *out = T::try_from(integer).unwrap_or_else(|_| T::zero());
        }
        Ok(())
    })
}

/// DequantizeLinear of integers, by scales and zero points that are its other inputs.
#[derive(Debug)]
pub struct DequantizeOtherwise {
    pub along: Along,
}

impl Operation for DequantizeOtherwise {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        if !matches!(fact.dtype, DType::U8 | DType::I16 | DType::I32) {
            return Err(Error::unsupported(format!(
                "values of type {:?} are dequantized",
                fact.dtype
            )));
        }
        expect_type(inputs.get(1)?.dtype, DType::F32)?;
        check(inputs, self.along)?;
        let along = self.along;
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let grid = grid(inputs, along)?;
            let input = inputs[0];
            let integers = flat::<i32>(input).map_err(of_candle)?;
            let values = grid.dequantized(&integers, input.dims());
            let values = values.map_err(of_candle)?;
            write(out, |out: &mut [f32]| {
                out.copy_from_slice(&values);
                Ok(())
            })
        };
        let name = "dequantize";
        Ok(Compiled::written(
            Writing { name, run },
            &fact.dims,
            DType::F32,
        ))
    }
}

/// Whether scales and zero points fit the values, as far as they are known.
fn check(inputs: &Inputs<'_>, along: Along) -> Result<()> {
    let zeros = inputs.optional(2).map(|zeros| &zeros.constant);
    if let (Some(scales), None | Some(Some(_))) = (&inputs.get(1)?.constant, zeros) {
        let zeros = zeros.and_then(Option::as_ref).map(flat::<i32>);
        let zeros = zeros.transpose()?;
        let dims = scales.dims().to_vec();
        Grid::new(flat(scales)?, dims, zeros, along)?
            .of(inputs.dims()?)
            .map(drop)?;
    }
    Ok(())
}

fn grid(inputs: &[&Tensor], along: Along) -> CandleResult<Grid> {
    let [_, scales, zeros @ ..] = inputs else {
        candle_core::bail!("{} inputs", inputs.len());
    };
    let zeros = zeros.first().map(|zeros| flat::<i32>(zeros)).transpose();
    let scales_of = flat::<f32>(scales).map_err(of_candle)?;
    let dims = scales.dims().to_vec();
    Grid::new(scales_of, dims, zeros.map_err(of_candle)?, along).map_err(of_candle)
}

pub fn of_candle(error: Error) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string())
}
