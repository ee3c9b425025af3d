//! What an engine computes on the way to its outputs, as its own hooks tell it.

use serde::{Deserialize, Serialize};

use crate::{Tensor, Tensors};

/// One pass with its quantized activations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    /// The outputs of that very pass, in the order of [`crate::Model::outputs`]: recording must not
    /// change them, and whether it did can be told.
    pub outputs: Tensors,
    /// In the order in which they were computed.
    pub activations: Vec<Activation>,
}

/// A tensor that was quantized with one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Activation {
    pub quantization: Quantization,
    /// Dequantized: `scale · (q − zero point)` of each integer q, in the order of the dimensions
    /// (NCHW for images), however the engine keeps them.
    pub values: Tensor,
}

/// How a tensor is quantized, and by what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// The engine's name of the operator whose result it is.
    pub kind: String,
    /// One step, in the unit of the dequantized values.
    pub scale: f64,
    /// The integer that stands for 0.
    pub zero_point: i64,
}
