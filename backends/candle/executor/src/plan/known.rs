//! What a walk over a graph knows of its values.

use std::sync::Arc;

use firstpass_onnx::Constant;

use super::{Value, quantized_constants::DequantizedConstant};
use crate::{
    geometry::Geometry,
    graph::{Bounds, Node, Quantization, QuantizedConv},
    ops::Pool,
};

/// What is known of a named value of the graph.
#[derive(Clone)]
pub enum Known<'a> {
    Constant(Arc<Constant>),
    DequantizedConstant(Arc<DequantizedConstant>),
    /// As the file writes it.
    Plain(Value),
    /// Of i8, which are held as u8, or of u8.
    Quantized {
        value: Value,
        is_signed: bool,
    },
    Dequantized(Value, Quantization),
    Pending(Arc<Pending<'a>>),
}

impl Known<'_> {
    pub fn as_constant(&self) -> Option<&Constant> {
        match self {
            Self::Constant(constant) => Some(constant),
            _ => None,
        }
    }
}

/// An operator on dequantized values that waits for its QuantizeLinear.
#[derive(Clone)]
pub struct Pending<'a> {
    pub node: Node<'a>,
    /// Of its outputs.
    pub index: usize,
    pub operator: PendingOperator<'a>,
    pub bounds: Bounds,
}

/// What such an operator computes, and from what.
#[derive(Clone)]
pub enum PendingOperator<'a> {
    Conv(Value, Arc<QuantizedConv>, Geometry),
    Product {
        input: Value,
        conv: Arc<QuantizedConv>,
        is_gemm: bool,
        has_bias: bool,
    },
    Add([(Value, Quantization); 2]),
    Multiply([(Value, Quantization); 2]),
    MaxPool(Value, Quantization, Pool),
    AveragePool(Value, Quantization, Pool),
    /// Of a value, along axes that may be an input.
    Mean(Vec<Option<Value>>, Quantization),
    /// Of a value, and parameters.
    Pad(Vec<Option<Value>>, Quantization),
    /// A function of one value: its real number for each of the 256 integers.
    Function(Value, Quantization, Arc<Constant>),
    /// They move values, all of the same quantization, one after the other.
    Moving(Vec<Move<'a>>, Quantization),
    /// It puts values of several quantizations together.
    Concat(Vec<(Value, Quantization)>),
}

/// A node that moves values.
#[derive(Clone)]
pub struct Move<'a> {
    pub node: Node<'a>,
    /// Of its outputs.
    pub index: usize,
    /// Values, where no other node moved them before, and parameters.
    pub inputs: Vec<Option<Value>>,
}

impl PendingOperator<'_> {
    /// Whether Relu and Clip behind it can be part of it.
    pub fn has_bounds(&self) -> bool {
        !matches!(self, Self::MaxPool(..) | Self::Moving(..))
    }
}

/// What a pending operator gives.
pub(super) fn pending_at<'a>(
    node: Node<'a>,
    index: usize,
    operator: PendingOperator<'a>,
) -> Known<'a> {
    Known::Pending(Arc::new(Pending {
        node,
        index,
        operator,
        bounds: Bounds::NONE,
    }))
}
