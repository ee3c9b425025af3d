//! What a graph computes, step by step, before its input has a shape.

mod recognise;

use std::sync::Arc;

use firstpass_probe::Result;

use crate::{
    geometry::Window,
    onnx::{Constant, GraphProto, Int8s},
};

/// A run-time tensor: the input of the graph is 0.
pub type Value = usize;

/// Scale and zero point of a u8 tensor.
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

/// A convolution of u8 activations with i8 weights into u8.
#[derive(Debug)]
pub struct QuantizedConv {
    pub window: Window,
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

/// A convolution on floats.
#[derive(Debug)]
pub struct FloatConv {
    pub window: Window,
    pub groups: usize,
    /// `[channel][channel of the group][row][column]`.
    pub weights: Arc<Constant>,
    /// By channel.
    pub bias: Vec<f32>,
}

/// What one step computes.
#[derive(Debug)]
pub enum Operation {
    Quantize(Quantization),
    Dequantize(Quantization),
    QuantizedConv {
        conv: Arc<QuantizedConv>,
        bounds: Bounds,
        output: Quantization,
    },
    QuantizedAdd {
        inputs: [Quantization; 2],
        bounds: Bounds,
        output: Quantization,
    },
    Conv {
        conv: FloatConv,
        bounds: Bounds,
    },
    Add {
        bounds: Bounds,
    },
    Clamp(Bounds),
    Sigmoid,
    Transpose(Vec<usize>),
    /// As ONNX writes it: -1 is computed, 0 is copied unless `allow_zero`.
    Reshape {
        dims: Vec<i64>,
        allow_zero: bool,
    },
    Flatten {
        axis: i64,
    },
    Concat {
        axis: i64,
    },
}

/// One step with what it reads and writes.
#[derive(Debug)]
pub struct Step {
    /// The node of the graph, for messages.
    pub label: String,
    pub operation: Operation,
    pub inputs: Vec<Value>,
    pub output: Value,
}

/// A recognised graph.
#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// The number of values.
    pub values: usize,
    pub outputs: Vec<Value>,
}

impl Plan {
    /// Recognises what `graph` computes from `input` to `outputs`, which are names.
    ///
    /// # Errors
    /// Names the node and operator that is not implemented, or that is quantized in a way for
    /// which there is no integer form: nothing quantized is computed on floats instead.
    pub fn new(graph: &GraphProto, input: &str, outputs: &[&str]) -> Result<Self> {
        recognise::plan(graph, input, outputs)
    }
}
