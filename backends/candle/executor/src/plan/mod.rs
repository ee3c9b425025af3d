//! What a graph computes, step by step, before its inputs have shapes.

mod clamping;
mod integers;
mod known;
mod lowering;
mod moving;
mod quantized;
mod quantized_constants;
mod quantizing;
mod walk;

use candle_core::DType;

use crate::{
    graph::Narrow,
    ops::{Fact, Operation},
};

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
    /// The inputs of the graph, which are the first values.
    pub inputs: Vec<Input>,
    pub constants: Vec<(Value, Fact)>,
    pub outputs: Vec<Value>,
    /// Of each output the ONNX type that the file declares; 0 where it declares none.
    pub types: Vec<i32>,
}

/// An input of the graph.
#[derive(Debug, Clone)]
pub struct Input {
    pub name: String,
    /// Its ONNX type.
    pub onnx: i32,
    /// That of the tensor that holds it.
    pub dtype: DType,
}

impl Input {
    /// The type of its integers, where that of the tensor is wider.
    pub fn narrow(&self) -> Option<Narrow> {
        Narrow::of(self.onnx)
    }
}
