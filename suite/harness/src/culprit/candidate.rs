//! A part of a model that may show what the whole of it shows.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use firstpass_onnx::{
    DimensionProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, Values,
    cut::Cuttable, data_type,
};
use firstpass_probe::{Dtype, Format, Model, OutputSpec, TensorSpec, write_tensors};

use crate::culprit::Tensors;

/// Nodes of a graph with values for all that they read.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub file: Arc<Cuttable>,
    /// Their places in the file.
    pub nodes: BTreeSet<usize>,
    pub inputs: Tensors,
    pub outputs: Vec<String>,
    /// Whether inputs and outputs keep the types and shapes that the file declares, which it may leave open.
    pub declared: bool,
}

/// What is known of the values of a graph.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub file: Arc<Cuttable>,
    /// Inputs of the graph and, where they were recorded, inner values.
    pub values: Tensors,
}

impl Known {
    /// The nodes `nodes` with what they read, as far as that is known, and with these outputs, or else all that no
    /// other of them reads. `None` where something that they read is not known, or nothing is read or given.
    pub fn candidate(
        &self,
        nodes: BTreeSet<usize>,
        outputs: Option<&[String]>,
    ) -> Option<Candidate> {
        let chosen: Vec<_> = nodes.iter().map(|&at| &self.file.nodes()[at]).collect();
        let given: BTreeSet<&String> = chosen.iter().flat_map(|node| &node.gives).collect();
        let read: BTreeSet<&String> = chosen.iter().flat_map(|node| &node.reads).collect();
        let mut inputs = Tensors::new();
        for &name in read.difference(&given) {
            match self.values.get(name) {
                Some(value) => drop(inputs.insert(name.clone(), value.clone())),
                None if self.file.is_constant(name) => {}
                None => return None,
            }
        }
        let outputs: Vec<String> = match outputs {
            Some(outputs) => outputs.to_vec(),
            None => {
                let of_file = self.file.outputs();
                // What is known can be compared; what a node gives besides may be of a type that nobody reads.
                let is_output = |name: &String| {
                    of_file.contains(name)
                        || (!read.contains(name) && self.values.contains_key(name))
                };
                let all = chosen.iter().flat_map(|node| &node.gives);
                all.filter(|name| is_output(name)).cloned().collect()
            }
        };
        let are_given = outputs.iter().all(|name| given.contains(name));
        (!inputs.is_empty() && !outputs.is_empty() && are_given).then(|| Candidate {
            file: Arc::clone(&self.file),
            nodes,
            inputs,
            outputs,
            declared: false,
        })
    }
}

/// The nodes that `outputs` need, themselves included.
pub(crate) fn ancestors(file: &Cuttable, outputs: &[String]) -> BTreeSet<usize> {
    let mut wanted: BTreeSet<&String> = outputs.iter().collect();
    let mut found = BTreeSet::new();
    for (place, node) in file.nodes().iter().enumerate().rev() {
        if node.gives.iter().any(|name| wanted.contains(name)) {
            found.insert(place);
            wanted.extend(&node.reads);
        }
    }
    found
}

impl Candidate {
    /// Writes it below `folder` as `name.onnx` with its inputs in `name.safetensors`.
    ///
    /// # Errors
    /// Fails where the folder cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(Model, PathBuf)> {
        let path = folder.join(format!("{name}.onnx"));
        std::fs::write(&path, self.bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let input = folder.join(format!("{name}.safetensors"));
        let named = self.inputs.iter();
        write_tensors(&input, named.map(|(name, tensor)| (name.clone(), tensor)))?;
        let specs = self.inputs.iter().map(|(name, tensor)| TensorSpec {
            name: name.clone(),
            shape: tensor.shape().to_vec(),
            dtype: tensor.dtype(),
        });
        let outputs = self.outputs.iter().map(|name| OutputSpec {
            name: name.clone(),
            shape: None,
        });
        let model = Model {
            name: "part".into(),
            format: Format::ONNX,
            path,
            inputs: specs.collect(),
            outputs: outputs.collect(),
        };
        Ok((model, input))
    }

    /// The bytes of its file.
    pub fn bytes(&self) -> Vec<u8> {
        let declared = |name: &str| self.file.declared(name).filter(|_| self.declared).cloned();
        let inputs = self.inputs.iter().map(|(name, tensor)| {
            declared(name)
                .unwrap_or_else(|| typed(name, Some(tensor.dtype()), Some(tensor.shape())))
        });
        let outputs = self.outputs.iter().map(|name| {
            declared(name).unwrap_or_else(|| {
                let of_file = self.file.declared(name).and_then(ValueInfoProto::elements);
                match of_file {
                    Some(elements) => of_type(name, elements, None),
                    None => typed(name, None, None),
                }
            })
        });
        let (inputs, outputs): (Vec<_>, Vec<_>) = (inputs.collect(), outputs.collect());
        self.file.cut(&self.nodes, &inputs, &outputs, self.declared)
    }

    /// The scale of an output that is dequantized with a single one.
    pub fn step(&self, output: &str) -> Option<f32> {
        let mut nodes = self.nodes.iter().map(|&at| &self.file.nodes()[at].proto);
        let node = nodes.find(|node| node.output.iter().any(|name| name == output))?;
        if node.op_type != "DequantizeLinear" {
            return None;
        }
        let scale = self.file.constant(node.input.get(1)?).ok()??;
        match scale.values {
            Values::F32(scales) if scales.len() == 1 && scales[0] > 0.0 => Some(scales[0]),
            _ => None,
        }
    }

    /// The operators in order, such as `DequantizeLinear, Conv`.
    pub fn operators(&self) -> Vec<String> {
        let nodes = self.nodes.iter();
        let named = nodes.map(|&at| self.file.nodes()[at].proto.op_type.clone());
        named.collect()
    }
}

fn typed(name: &str, dtype: Option<Dtype>, shape: Option<&[usize]>) -> ValueInfoProto {
    match dtype {
        Some(dtype) => of_type(name, elements(dtype), shape),
        // Engines infer what is left out.
        None => ValueInfoProto {
            name: name.into(),
            r#type: None,
        },
    }
}

fn of_type(name: &str, elem_type: i32, shape: Option<&[usize]>) -> ValueInfoProto {
    let dimension = |&length: &usize| DimensionProto {
        dim_value: i64::try_from(length).ok(),
        dim_param: None,
    };
    let shape = shape.map(|lengths| TensorShapeProto {
        dim: lengths.iter().map(dimension).collect(),
    });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto { elem_type, shape }),
        }),
    }
}

/// As in `TensorProto.DataType`.
pub(crate) fn elements(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::F32 => data_type::FLOAT,
        Dtype::F64 => data_type::DOUBLE,
        Dtype::F16 => data_type::FLOAT16,
        Dtype::BF16 => data_type::BFLOAT16,
        Dtype::I64 => data_type::INT64,
        Dtype::I32 => data_type::INT32,
        Dtype::I16 => data_type::INT16,
        Dtype::I8 => data_type::INT8,
        Dtype::U64 => data_type::UINT64,
        Dtype::U32 => data_type::UINT32,
        Dtype::U16 => data_type::UINT16,
        Dtype::U8 => data_type::UINT8,
        Dtype::Bool => data_type::BOOL,
    }
}

/// How a node is called: its name, or else that of its first output.
pub(crate) fn called(file: &Cuttable, place: usize) -> String {
    let node = &file.nodes()[place].proto;
    let name = match node.name.as_str() {
        "" => node.output.first().map_or("", String::as_str),
        name => name,
    };
    format!("{name} ({})", node.op_type)
}
