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

pub use access::fill;
pub use binary::{Binary, Function as BinaryFunction};
pub use chain::{Chain, Meter};
pub use convolution::Weights;
pub use int_conv::IntConv;
pub use matmul::Gemm;
pub use operation::{ConvKind, Fact, Inputs, Operation, Operator, Storage, axis_of};
pub use pool::Pool;
pub use quantize::QuantizeHost;
pub use quantized::{
    AddOfQuantized, ConvOfQuantized, Moving, ProductOfQuantized, TableOfQuantized, ToFloats,
    ToQuantized,
};
pub use shape::Shaping;
pub use slicing::Split;
pub use table::{OPERATORS, is_function, is_moving};
pub use unary::Clamp;
