//! What nodes compute: with functions of candle where it has them, and where it has not, or its own
//! would run on threads of its own, as custom operators. These write into tensors that exist already:
//! candle has no arena, and every tensor that it allocates costs page faults.

mod access;
mod binary;
mod broadcast;
mod cast;
mod chain;
mod channels;
mod compare;
mod convolution;
mod direct_conv;
mod int_add;
mod int_conv;
mod matmul;
mod operation;
mod padding;
mod parallel;
mod pool;
mod quantize;
mod quantized;
mod resize;
mod rows;
mod shape;
mod sigmoid;
mod slicing;
mod table;
mod unary;

pub use binary::{Binary, Function as BinaryFunction};
pub use chain::{Chain, Meter};
pub use convolution::Weights;
pub use int_conv::IntConv;
pub use matmul::Gemm;
pub use operation::{ConvKind, Fact, Inputs, Operation, Operator, Storage, axis_of, flat};
pub use pool::Pool;
pub use quantize::{Quantize, QuantizeHost};
pub use quantized::{
    AddOfQuantized, ConvOfQuantized, Moving, ProductOfQuantized, TableOfQuantized, ToFloats,
    ToQuantized,
};
pub use shape::Shaping;
pub use slicing::Split;
pub use table::{OPERATORS, is_function, is_moving};
pub use unary::Clamp;

use direct_conv::DirectConv;
use int_add::{BiasClamp, IntAdd};
use quantize::Dequantize;

use crate::{
    kernels::{self, Range},
    plan::{Bounds, Quantization},
};
use candle_core::{Result, Tensor};

/// Values that one task of an elementwise operator treats: large against the cost of a task.
const CHUNK: usize = 1 << 15;

/// Copies values from the host.
///
/// # Errors
/// Fails where there are not as many as the tensor holds.
pub fn fill<T: access::Written>(tensor: &Tensor, values: &[T]) -> Result<()> {
    access::write(tensor, |out: &mut [T]| {
        access::check_length("the input", values.len(), out.len())?;
        out.copy_from_slice(values);
        Ok(())
    })
}

/// The u8 values that bounds on real numbers leave: clamping before and after rounding is the
/// same, because rounding is monotone.
pub fn range(bounds: Bounds, output: Quantization) -> Range {
    let all = Range::new(output.zero, u8::MIN, u8::MAX);
    let bound = |real: f32| all.round(real * output.inverse_scale());
    Range::new(output.zero, bound(bounds.low), bound(bounds.high))
}

/// The arithmetic of an addition of quantized tensors.
fn addition(inputs: [Quantization; 2], bounds: Bounds, output: Quantization) -> kernels::Addition {
    kernels::Addition {
        scales: inputs.map(|input| input.scale),
        offsets: inputs.map(|input| input.scale * -f32::from(input.zero)),
        inverse_scale: output.inverse_scale(),
        range: range(bounds, output),
    }
}
