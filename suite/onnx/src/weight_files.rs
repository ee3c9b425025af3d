//! The files beside an ONNX file that hold weights.

use std::collections::BTreeSet;

use prost::Message;

use crate::{EngineResult, Error, Result, TensorProto};

/// The names that an ONNX file gives to files of weights, relative to its folder, as they stand there.
///
/// # Errors
/// Fails on a file that is not ONNX, and where a tensor lies in a file that has no name.
pub fn weight_files(bytes: &[u8]) -> Result<BTreeSet<String>> {
    let model = Model::decode(bytes).engine()?;
    let mut names = BTreeSet::new();
    let functions = model.functions.iter().flat_map(|function| &function.node);
    for node in functions {
        in_node(node, &mut names)?;
    }
    if let Some(graph) = &model.graph {
        in_graph(graph, &mut names)?;
    }
    Ok(names)
}

fn in_graph(graph: &Graph, names: &mut BTreeSet<String>) -> Result<()> {
    let sparse = graph.sparse_initializer.iter();
    let sparse = sparse.flat_map(|sparse| sparse.values.iter().chain(&sparse.indices));
    for tensor in graph.initializer.iter().chain(sparse) {
        in_tensor(tensor, names)?;
    }
    graph.node.iter().try_for_each(|node| in_node(node, names))
}

fn in_node(node: &Node, names: &mut BTreeSet<String>) -> Result<()> {
    for attribute in &node.attribute {
        let sparse = attribute.sparse_tensor.iter();
        let sparse = sparse.chain(&attribute.sparse_tensors);
        let sparse = sparse.flat_map(|sparse| sparse.values.iter().chain(&sparse.indices));
        for tensor in attribute.t.iter().chain(&attribute.tensors).chain(sparse) {
            in_tensor(tensor, names)?;
        }
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            in_graph(graph, names)?;
        }
    }
    Ok(())
}

fn in_tensor(tensor: &Tensor, names: &mut BTreeSet<String>) -> Result<()> {
    if tensor.data_location == TensorProto::EXTERNAL {
        let location = tensor.external_data.iter().find(|e| e.key == "location");
        let location = location.ok_or_else(|| {
            Error::input("a tensor lies in another file, and the model does not say in which")
        })?;
        names.insert(location.value.clone());
    }
    Ok(())
}

// The parts of `onnx.proto` in which tensors can be. The numbers and texts of tensors are skipped.

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(message, repeated, tag = "7")]
    node: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializer: Vec<SparseTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(message, optional, tag = "5")]
    t: Option<Tensor>,
    #[prost(message, optional, tag = "6")]
    g: Option<Graph>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<Graph>,
    #[prost(message, optional, tag = "22")]
    sparse_tensor: Option<SparseTensor>,
    #[prost(message, repeated, tag = "23")]
    sparse_tensors: Vec<SparseTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct SparseTensor {
    #[prost(message, optional, tag = "1")]
    values: Option<Tensor>,
    #[prost(message, optional, tag = "2")]
    indices: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(location: &str) -> Tensor {
        Tensor {
            external_data: vec![Entry {
                key: "location".into(),
                value: location.into(),
            }],
            data_location: TensorProto::EXTERNAL,
        }
    }

    #[test]
    fn tensors_of_subgraphs_and_functions_are_found_too() -> Result<()> {
        let inner = Graph {
            initializer: vec![tensor("inner.bin"), Tensor::default()],
            ..Graph::default()
        };
        let node = |attribute| Node {
            attribute: vec![attribute],
        };
        let model = Model {
            graph: Some(Graph {
                initializer: vec![tensor("weights.bin"), tensor("weights.bin")],
                node: vec![node(Attribute {
                    g: Some(inner),
                    ..Attribute::default()
                })],
                ..Graph::default()
            }),
            functions: vec![Function {
                node: vec![node(Attribute {
                    t: Some(tensor("function.bin")),
                    ..Attribute::default()
                })],
            }],
        };
        let found = weight_files(&model.encode_to_vec())?;
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["function.bin", "inner.bin", "weights.bin"]);
        Ok(())
    }
}
