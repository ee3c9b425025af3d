//! The words that recognising a graph and computing its nodes share.

mod bounds;
mod constants;
mod grid;
mod narrow;
mod node;
mod quantization;
mod quantized_conv;

pub use bounds::Bounds;
pub use constants::{constant_of, dtype_of, flat, narrow_of, tensor_of, whole};
pub use grid::{Along, Grid, check_scale, limits};
pub use narrow::Narrow;
pub use node::Node;
pub use quantization::{Arithmetic, Quantization, Target};
pub use quantized_conv::{Bias, QuantizedConv, WeightScales};
