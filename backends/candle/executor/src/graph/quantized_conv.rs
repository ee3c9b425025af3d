//! A convolution on integers, as the graph describes it.

use firstpass_onnx::Int8s;

use super::Quantization;

/// A convolution of u8 activations with i8 weights into u8, or a product with a matrix of weights.
#[derive(Debug, Clone)]
pub struct QuantizedConv {
    pub groups: usize,
    /// `[channel][channel of the group][row][column]`.
    pub weights: Int8s,
    /// Of `weights`.
    pub dims: Vec<usize>,
    pub weight_scales: WeightScales,
    pub bias: Bias,
    pub input: Quantization,
}

/// The scales of the weights.
#[derive(Debug, Clone)]
pub enum WeightScales {
    PerTensor(f32),
    PerChannel(Vec<f32>),
}

impl WeightScales {
    pub fn of(&self, channel: usize) -> f32 {
        match self {
            Self::PerTensor(scale) => *scale,
            Self::PerChannel(scales) => scales[channel],
        }
    }
}

/// The bias of a convolution on integers; it decides which engine's arithmetic is followed.
#[derive(Debug, Clone)]
pub enum Bias {
    /// Added to the accumulator as a float: fbgemm's rule.
    Float(Vec<f32>),
    /// Part of the accumulator: the rule of QLinearConv.
    Int32(Vec<i32>),
}
