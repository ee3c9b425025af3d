//! Graphs, made here.

mod convolutions;
mod definition;
mod graphs;
mod on_integers;
mod operators;
mod qoperators;
mod quantized;

use firstpass_onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto,
    data_type::{FLOAT, INT8, UINT8},
    decode_with_opset,
    write::{encode, f32_value, node},
};
use firstpass_probe::Result;

use crate::{Engine, Settings, kernels::Isa, ops::ConvKind, plan::Plan, prepared::Prepared};

/// A graph with the input "x" and the output "y".
#[derive(Clone, Default)]
struct Graph(GraphProto);

impl Graph {
    fn new() -> Self {
        Self(GraphProto {
            input: vec![f32_value("x", None)],
            output: vec![f32_value("y", None)],
            ..Default::default()
        })
    }

    fn constant(mut self, name: &str, dims: &[usize], data_type: i32, raw_data: Vec<u8>) -> Self {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type,
            raw_data: raw_data.into(),
            ..Default::default()
        });
        self
    }

    fn floats(self, name: &str, dims: &[usize], values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, dims, FLOAT, raw)
    }

    fn bytes(self, name: &str, dims: &[usize], values: &[i8]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, dims, INT8, raw)
    }

    fn node(self, op_type: &str, inputs: &[&str], output: &str) -> Self {
        self.node_with(op_type, inputs, output, &[])
    }

    /// Attributes with one value are integers, others are lists.
    fn node_with(
        mut self,
        op_type: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, &[usize])],
    ) -> Self {
        let attribute = |(name, values): &(&str, &[usize])| {
            let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
            match values[..] {
                [value] => AttributeProto::int(name, value),
                _ => AttributeProto::ints(name, &values),
            }
        };
        let node = node(op_type, inputs, output);
        let node = attributes.iter().map(attribute).fold(node, NodeProto::with);
        self.0.node.push(node);
        self
    }

    /// Of any attributes and outputs.
    fn with(mut self, node: NodeProto) -> Self {
        self.0.node.push(node);
        self
    }

    /// QuantizeLinear from `input` to `<output>.q` and DequantizeLinear to `output`.
    fn quantized(self, input: &str, output: &str, scale: f32, zero: u8) -> Self {
        let [s, z, q] = ["scale", "zero", "q"].map(|part| format!("{output}.{part}"));
        self.floats(&s, &[], &[scale])
            .constant(&z, &[], UINT8, vec![zero])
            .node("QuantizeLinear", &[input, &s, &z], &q)
            .node("DequantizeLinear", &[&q, &s, &z], output)
    }

    fn encode(&self) -> Vec<u8> {
        encode(self.0.clone(), 13)
    }

    /// The output for an input, and what convolutions and products calculate with.
    fn run(&self, shape: &[usize], input: &[f32]) -> Result<(Vec<f32>, Vec<ConvKind>)> {
        let mut prepared = self.prepare(Isa::detect(), shape)?;
        let kinds = prepared.operators().filter_map(|(_, kind)| kind).collect();
        Ok((prepared.pass(&[input])?[0].f32s()?.to_vec(), kinds))
    }

    fn prepare(&self, isa: Isa, shape: &[usize]) -> Result<Prepared> {
        prepare(&self.encode(), isa, shape)
    }
}

fn prepare(bytes: &[u8], isa: Isa, shape: &[usize]) -> Result<Prepared> {
    let engine = Engine::new(Settings {
        threads: 2,
        kernels: isa,
        ..Settings::default()
    })?;
    let bytes = bytes.to_vec().into();
    let plan = Plan::new(&decode_with_opset(bytes)?, &["x"], &["y"])?;
    Prepared::new(&engine, &plan, &[shape.to_vec()])
}
