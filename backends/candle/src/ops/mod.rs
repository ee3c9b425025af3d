//! The operators that candle lacks, as its custom operators. They write into tensors that exist
//! already: candle has no arena, and every tensor that it allocates costs page faults.

mod conv;
mod elementwise;
mod float_conv;
mod parallel;
mod quantize;
mod sigmoid;

pub use conv::IntConv;
pub use elementwise::{BiasClamp, Clamp, Fill, FloatAdd, IntAdd};
pub use float_conv::DirectConv;
pub use quantize::{Dequantize, Quantize, QuantizeHost};
pub use sigmoid::Sigmoid;

use candle_core::{CpuStorage, Layout, Result, WithDType};

use crate::{
    kernels::{self, Range},
    plan::{Bounds, Quantization},
};

/// Values that one task of an elementwise operator treats: large against the cost of a task.
const CHUNK: usize = 1 << 15;

/// The values of a tensor that has to be contiguous.
fn values<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let all = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => candle_core::bail!("the tensor is not contiguous: {layout:?}"),
    }
}

/// A type of values that tensors are written in; candle has no such access of its own.
trait Written: WithDType {
    fn all(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Written for u8 {
    fn all(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::U8(values) => Some(values),
            _ => None,
        }
    }
}

impl Written for f32 {
    fn all(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Some(values),
            _ => None,
        }
    }
}

/// See [`values`].
fn values_mut<'a, T: Written>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [T]> {
    let Some(all) = T::all(storage) else {
        candle_core::bail!("the tensor to write to is not of {:?}", T::DTYPE);
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut all[start..end]),
        None => candle_core::bail!("the tensor is not contiguous: {layout:?}"),
    }
}

/// Fails where an operator was given a tensor of another size than it was made for.
fn check_length(what: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        candle_core::bail!("{what} holds {found} values, not {expected}")
    }
}

/// The u8 values that bounds on real numbers leave: clamping before and after rounding is the
/// same, because rounding is monotone.
pub fn range(bounds: Bounds, output: Quantization) -> Range {
    let all = Range {
        zero: f32::from(output.zero),
        low: 0.0,
        high: 255.0,
    };
    let bound = |real: f32| f32::from(all.round(real * output.inverse_scale()));
    Range {
        low: bound(bounds.low),
        high: bound(bounds.high),
        ..all
    }
}

/// The arithmetic of an addition of quantized tensors.
pub fn addition(
    inputs: [Quantization; 2],
    bounds: Bounds,
    output: Quantization,
) -> kernels::Addition {
    kernels::Addition {
        scales: inputs.map(|input| input.scale),
        offsets: inputs.map(|input| input.scale * -f32::from(input.zero)),
        inverse_scale: output.inverse_scale(),
        range: range(bounds, output),
    }
}
