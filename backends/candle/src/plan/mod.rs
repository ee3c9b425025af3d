//! What a graph computes, step by step, before its inputs have shapes.

mod integers;
mod quantized;
mod quantized_constants;
mod walk;

use candle_core::{DType, Tensor};
use firstpass_probe::Result;

pub use quantized_constants::tensor_of;

use crate::{
    onnx::{GraphProto, Int8s},
    ops::Operation,
};

/// A run-time tensor.
pub type Value = usize;

/// Scale and zero point of a u8 tensor. One of i8 is held as u8, both it and its zero point 128
/// higher: it stands for the same real numbers, and is rounded and clamped alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantization {
    /// A normal positive number.
    pub scale: f32,
    pub zero: u8,
}

impl Quantization {
    /// One over the scale, which is what values are multiplied by.
    pub fn inverse_scale(&self) -> f32 {
        1.0 / self.scale
    }
}

/// The real numbers that an output may take: what Relu and Clip behind an operator leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub low: f32,
    pub high: f32,
}

impl Bounds {
    pub const NONE: Self = Self {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };

    /// The bounds after `next` is applied to values within these.
    pub fn then(self, next: Self) -> Self {
        Self {
            low: self.low.clamp(next.low, next.high),
            high: self.high.clamp(next.low, next.high),
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

/// One step with what it reads and writes.
#[derive(Debug)]
pub struct Step {
    /// The node of the graph, for messages.
    pub label: String,
    pub operation: Box<dyn Operation>,
    /// `None` for those that the node leaves out.
    pub inputs: Vec<Option<Value>>,
    pub output: Value,
}

/// A recognised graph.
#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// The number of values.
    pub values: usize,
    /// The inputs of the graph, which are the first values, with their types.
    pub inputs: Vec<(String, DType)>,
    pub constants: Vec<(Value, Tensor)>,
    pub outputs: Vec<Value>,
}

impl Plan {
    /// Recognises what `graph`, of ONNX's operator set `opset`, computes from `inputs` to `outputs`,
    /// which are names.
    ///
    /// # Errors
    /// Names the node and operator that is not implemented, or that is quantized in a way for
    /// which there is no integer form.
    pub fn new(
        (graph, opset): &(GraphProto, i64),
        inputs: &[&str],
        outputs: &[&str],
    ) -> Result<Self> {
        walk::plan(graph, *opset, inputs, outputs)
    }
}
