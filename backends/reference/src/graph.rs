//! The interpretation of a graph, a node at a time in the order of the file.

use std::{collections::HashMap, path::Path, sync::Arc};

use firstpass_onnx::{Constant, GraphProto, NodeProto, decode, malformed};
use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    operators,
    rules::{Arithmetic, Rules},
    value::Value,
};

/// A graph that was read.
#[derive(Debug)]
pub struct Graph {
    nodes: Vec<NodeProto>,
    constants: HashMap<String, Value>,
    input: String,
    outputs: Vec<String>,
    /// What its biases are written for.
    written_for: Arithmetic,
}

/// How a graph is interpreted.
#[derive(Debug, Clone, Copy)]
pub struct Interpretation {
    pub rules: Rules,
    pub threads: usize,
}

/// What operators go by.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    pub arithmetic: Arithmetic,
    pub rules: Rules,
    pub threads: usize,
}

impl Graph {
    /// # Errors
    /// Fails on a file that is no ONNX model, has other inputs and outputs, or uses operators that are
    /// not implemented; the message names the node.
    pub fn read(path: &Path, input: &str, outputs: &[&str]) -> Result<Self> {
        Self::new(decode(std::fs::read(path)?.into())?, input, outputs)
    }

    /// See [`Self::read`].
    ///
    /// # Errors
    /// As there.
    pub fn new(graph: GraphProto, input: &str, outputs: &[&str]) -> Result<Self> {
        let mut constants = HashMap::new();
        for tensor in &graph.initializer {
            let value = Value::of(&Constant::read(tensor)?);
            if constants.insert(tensor.name.clone(), value).is_some() {
                return Err(malformed(format!("two constants {:?}", tensor.name)));
            }
        }
        let is_constant = |name: &str| constants.contains_key(name);
        let inputs: Vec<&str> = graph
            .input
            .iter()
            .map(|value| value.name.as_str())
            .filter(|name| !is_constant(name))
            .collect();
        if inputs != [input] {
            return Err(Error::unsupported(format!(
                "the graph must have {input:?} as its only input; it has {inputs:?}"
            )));
        }
        for name in outputs {
            if !graph.output.iter().any(|output| output.name == *name) {
                return Err(Error::engine(format!("the graph has no output {name:?}")));
            }
        }
        for node in &graph.node {
            if !operators::NAMES.contains(&node.op_type.as_str())
                || !matches!(node.domain.as_str(), "" | "ai.onnx")
            {
                return Err(node.unsupported("this operator is not implemented"));
            }
            if node.output.len() != 1 {
                return Err(node.unsupported(format!("it has {} outputs", node.output.len())));
            }
        }
        Ok(Self {
            written_for: written_for(&graph),
            nodes: graph.node,
            constants,
            input: input.into(),
            outputs: outputs.iter().map(ToString::to_string).collect(),
        })
    }

    /// Computes the outputs. `observe` is called with every node, around its computation.
    ///
    /// # Errors
    /// Fails where shapes or types do not fit; the message names the node.
    pub fn run(
        &self,
        interpretation: Interpretation,
        input: Array<f32>,
        mut observe: impl FnMut(&NodeProto, &mut dyn FnMut() -> Result<Value>) -> Result<Value>,
    ) -> Result<Vec<Arc<Array<f32>>>> {
        let context = Context {
            arithmetic: interpretation.rules.arithmetic.unwrap_or(self.written_for),
            rules: interpretation.rules,
            threads: interpretation.threads,
        };
        let mut computed: HashMap<&str, Value> = HashMap::new();
        computed.insert(&self.input, Value::Float(Arc::new(input)));
        let mut last_read: HashMap<&str, usize> = HashMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            last_read.extend(node.input.iter().map(|name| (name.as_str(), number)));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let mut inputs = Vec::with_capacity(node.input.len());
            for name in &node.input {
                // An empty name leaves an optional input out.
                let value = computed.get(name.as_str()).or(self.constants.get(name));
                if value.is_none() && !name.is_empty() {
                    return Err(
                        node.malformed(format!("it reads {name:?}, which nothing computed yet"))
                    );
                }
                inputs.push(value.cloned());
            }
            let mut compute =
                || operators::compute(node, &inputs, context).map_err(|e| e.context(node.label()));
            let value = observe(node, &mut compute)?;
            computed.insert(&node.output[0], value);
            // Activations are large.
            let is_output = |name: &&String| self.outputs.contains(name);
            for name in node.input.iter().filter(|name| !is_output(name)) {
                if last_read.get(name.as_str()) == Some(&number) {
                    computed.remove(name.as_str());
                }
            }
        }
        let outputs = self.outputs.iter().map(|name| {
            let value = computed.get(name.as_str()).or(self.constants.get(name));
            let value =
                value.ok_or_else(|| malformed(format!("nothing computes the output {name:?}")))?;
            value
                .float()
                .map_err(|e| e.context(format!("output {name:?}")))
        });
        outputs.collect()
    }
}

/// A quantized bias is an i32 behind DequantizeLinear.
fn written_for(graph: &GraphProto) -> Arithmetic {
    let dequantized: Vec<&String> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "DequantizeLinear")
        .flat_map(|node| &node.output)
        .collect();
    let mut biases = graph
        .node
        .iter()
        .filter(|node| node.op_type == "Conv")
        .filter_map(|node| node.input.get(2));
    if biases.any(|bias| dequantized.contains(&bias)) {
        Arithmetic::QLinear
    } else {
        Arithmetic::Fbgemm
    }
}
