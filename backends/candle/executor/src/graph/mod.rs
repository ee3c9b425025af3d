//! The words that recognising a graph and computing its nodes share.

mod bounds;
mod constants;
mod grid;
mod node;
mod quantization;
mod quantized_conv;

pub use bounds::Bounds;
pub use constants::{constant_of, dtype_of, flat, tensor_of};
pub use grid::{Along, Grid, check_scale, limits};
pub use node::Node;
pub use quantization::{Arithmetic, Quantization, Target};
pub use quantized_conv::{Bias, QuantizedConv, WeightScales};
