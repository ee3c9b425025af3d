//! What nodes compute: with functions of candle where it has them, and where it has not, or its own
//! would run on threads of its own, as custom operators. These write into tensors that exist already:
//! candle has no arena, and every tensor that it allocates costs page faults.

mod access;
mod at_run_time;
mod binary;
mod broadcast;
mod cast;
mod chain;
mod channels;
mod compare;
mod convolution;
mod cumulative;
mod direct_conv;
mod dynamic;
mod einsum;
mod float_conv;
mod functions;
mod gathering;
mod halves;
mod int_add;
mod int_conv;
mod int_moving;
mod int_pad;
mod int_pool;
mod int_reals;
mod integer_products;
mod matmul;
mod one_hot;
mod operation;
mod padding;
mod parallel;
mod permuted;
mod pointwise;
mod pool;
mod quantize;
mod quantized;
mod quantized_otherwise;
mod resize;
mod rows;
mod scattering;
mod shape;
mod slicing;
mod strided_softmax;
mod table;
mod top_k;
mod transposed_conv;
mod unary;
mod whole;
mod window_conv;

pub use access::{Written, fill};
pub use at_run_time::AtRunTime;
pub use binary::{Binary, Function as BinaryFunction};
pub use cast::Cast;
pub use chain::{Chain, Meter};
pub use convolution::Weights;
pub use dynamic::DynamicQuantize;
pub use int_conv::IntConv;
pub use int_moving::Moving;
pub use int_pad::PadOfQuantized;
pub use int_pool::{AverageOfQuantized, MaxOfQuantized};
pub use int_reals::{MeanOfQuantized, MultiplyQuantized};
pub use matmul::Gemm;
pub use operation::{ConvKind, Fact, Inputs, Operation, Operator, Storage};
pub use pointwise::{Instruction, Pointwise, Program, Source};
pub use pool::Pool;
pub use quantize::QuantizeHost;
pub use quantized::{
    AddOfQuantized, ConvOfQuantized, Held, ProductOfQuantized, TableOfQuantized, ToFloats,
    ToNumbers, ToQuantized,
};
pub use quantized_otherwise::{DequantizeOtherwise, QuantizeOtherwise};
pub use rows::Norm;
pub use shape::Shaping;
pub use slicing::Split;
pub use table::{OPERATORS, is_function, is_moving};
pub use top_k::TopK;
pub use unary::Clamp;
