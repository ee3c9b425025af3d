//! Graphs, made here.

mod additions;
mod convolutions;
mod definition;
#[cfg(target_arch = "x86_64")]
mod fusion;
mod graphs;
mod on_integers;
mod operators;
mod qoperators;
mod quantized;
mod types;

use candle_core::{DType, Tensor};
use firstpass_onnx::{
    AttributeProto, EngineResult, Error, GraphProto, NodeProto, Result, TensorProto,
    data_type::{FLOAT, INT8, UINT8},
    decode_with_opset,
    write::{encode, f32_value, node},
};

use crate::{
    Engine, Settings, Values, graph, kernels::Isa, ops::ConvKind, plan::Plan, prepared::Prepared,
};

/// A copy of an output.
#[derive(Debug, Clone, PartialEq)]
struct Output {
    shape: Vec<usize>,
    values: firstpass_onnx::Values,
}

impl Output {
    fn copy(tensor: &Tensor) -> Result<Self> {
        let flat = tensor.flatten_all().engine()?;
        Ok(Self {
            shape: tensor.dims().to_vec(),
            values: match flat.dtype() {
                DType::F32 => firstpass_onnx::Values::F32(flat.to_vec1().engine()?),
                DType::I32 => firstpass_onnx::Values::I32(flat.to_vec1().engine()?),
                // candle has no i8: the executor holds them in i16.
                DType::I16 => {
                    let values = graph::flat::<i16>(tensor)?.into_iter().map(i8::try_from);
                    let values: Vec<i8> = values.collect::<std::result::Result<_, _>>()?;
                    firstpass_onnx::Values::I8(values.into())
                }
                other => return Err(Error::unsupported(format!("an output of {other:?}"))),
            },
        })
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn f32s(&self) -> Result<&[f32]> {
        match &self.values {
            firstpass_onnx::Values::F32(values) => Ok(values),
            other => Err(Error::input(format!("{other:?} are no floats"))),
        }
    }
}

impl Prepared {
    /// Copies of the outputs for inputs of f32.
    fn pass(&mut self, inputs: &[&[f32]]) -> Result<Vec<Output>> {
        let inputs: Vec<Values<'_>> = inputs.iter().map(|values| Values::F32(values)).collect();
        self.run(&inputs)?.iter().map(Output::copy).collect()
    }
}

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
