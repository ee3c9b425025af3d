//! The words that recognising a graph and computing its nodes share.

mod bounds;
mod constants;
mod node;
mod quantization;
mod quantized_conv;

pub use bounds::Bounds;
pub use constants::{constant_of, flat, narrowed, tensor_of};
pub use node::Node;
pub use quantization::Quantization;
pub use quantized_conv::{Bias, QuantizedConv, WeightScales};
