//! What a graph computes, step by step, before its inputs have shapes.

mod integers;
mod known;
mod lowering;
mod quantized;
mod quantized_constants;
mod walk;

use candle_core::{DType, Tensor};

use crate::ops::Operation;

/// A run-time tensor.
pub type Value = usize;

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
    /// Of each output, whether the file declares that it holds truth values: candle has no type for these.
    pub truths: Vec<bool>,
}
