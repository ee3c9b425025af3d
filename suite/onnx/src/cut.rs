//! Parts of a graph as files of their own.
//!
//! What is kept keeps its bytes: attributes, functions and whatever else the messages of this crate leave out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use prost::{Message, bytes::Bytes};

use crate::{
    Constant, EngineResult, Error, GraphProto, NodeProto, Result, TensorProto, ValueInfoProto,
    external, malformed,
    wire::{Field, fields, push},
};

/// The fields of `ModelProto` and `GraphProto` that are looked into.
const GRAPH: u32 = 7;
const NODE: u32 = 1;
const INITIALIZER: u32 = 5;
const INPUT: u32 = 11;
const OUTPUT: u32 = 12;
const VALUE_INFO: u32 = 13;

/// A model file that can be cut.
#[derive(Debug, Clone)]
pub struct Cuttable {
    /// All but the graph: versions, operator sets, functions.
    around: Vec<u8>,
    /// Of the graph all but its nodes, constants, inputs, outputs and types of values.
    around_graph: Vec<u8>,
    nodes: Vec<Node>,
    constants: BTreeMap<String, Bytes>,
    /// The types of values that the file declares.
    types: BTreeMap<String, ValueInfoProto>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// A node of the graph.
#[derive(Debug, Clone)]
pub struct Node {
    bytes: Bytes,
    pub proto: NodeProto,
    /// Every value of the graph that it reads, by itself or within the graphs that it holds.
    pub reads: BTreeSet<String>,
    /// Every value that it gives.
    pub gives: Vec<String>,
}

impl Cuttable {
    /// Reads a model file; data of constants that lie in files beside it become part of it.
    ///
    /// # Errors
    /// Fails on a file that cannot be read or is no ONNX model.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .map_err(|e| Error::input(format!("cannot read {}: {e}", path.display())))?;
        Self::decode(bytes.into(), path)
    }

    fn decode(bytes: Bytes, path: &Path) -> Result<Self> {
        let (graphs, around): (Vec<Field>, Vec<Field>) =
            fields(&bytes)?.into_iter().partition(|f| f.number == GRAPH);
        let [graph] = &graphs[..] else {
            return Err(malformed("it holds no graph, or several"));
        };
        let mut found = Self {
            around: joined(&around),
            around_graph: Vec::new(),
            nodes: Vec::new(),
            constants: BTreeMap::new(),
            types: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        for field in fields(&graph.value)? {
            match field.number {
                NODE => found.nodes.push(Node::read(field.value)?),
                INITIALIZER => found.add_constant(field.value, path)?,
                INPUT | OUTPUT | VALUE_INFO => {
                    let value = ValueInfoProto::decode(field.value).engine()?;
                    match field.number {
                        INPUT => found.inputs.push(value.name.clone()),
                        OUTPUT => found.outputs.push(value.name.clone()),
                        _ => {}
                    }
                    found.types.insert(value.name.clone(), value);
                }
                _ => found.around_graph.extend_from_slice(&field.whole),
            }
        }
        Ok(found)
    }

    fn add_constant(&mut self, bytes: Bytes, path: &Path) -> Result<()> {
        let tensor = TensorProto::decode(bytes.clone()).engine()?;
        let name = tensor.name.clone();
        let bytes = if tensor.is_external() {
            let mut alone = GraphProto {
                initializer: vec![tensor],
                ..GraphProto::default()
            };
            external::read(&mut alone, path)?;
            alone.initializer[0].external_data.clear();
            alone.initializer[0].encode_to_vec().into()
        } else {
            bytes
        };
        self.constants.insert(name, bytes);
        Ok(())
    }

    /// The nodes, in the order of the file, which is one in which they can be computed.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Names of the inputs that are no constants.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.iter().map(String::as_str);
        inputs.filter(|name| !self.is_constant(name))
    }

    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    pub fn is_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name)
    }

    /// Names of the constants.
    pub fn constants(&self) -> impl Iterator<Item = &str> {
        self.constants.keys().map(String::as_str)
    }

    /// A constant; `None` where there is none of this name.
    ///
    /// # Errors
    /// Fails where it is of a type that this crate does not read.
    pub fn constant(&self, name: &str) -> Result<Option<Constant>> {
        let Some(bytes) = self.constants.get(name) else {
            return Ok(None);
        };
        let tensor = TensorProto::decode(bytes.clone()).engine()?;
        Constant::read(&tensor).map(Some)
    }

    /// The same with another constant in place of the one of its name.
    #[must_use]
    pub fn with_constant(&self, tensor: &TensorProto) -> Self {
        let mut other = self.clone();
        let bytes = tensor.encode_to_vec().into();
        other.constants.insert(tensor.name.clone(), bytes);
        other
    }

    /// The type of a value, where the file declares it.
    pub fn declared(&self, name: &str) -> Option<&ValueInfoProto> {
        self.types.get(name)
    }

    /// The bytes of a model file of these nodes, by their places in ascending order, with the constants that they
    /// read and, where `declared`, the types that the file declares of inner values.
    pub fn cut(
        &self,
        places: &BTreeSet<usize>,
        inputs: &[ValueInfoProto],
        outputs: &[ValueInfoProto],
        declared: bool,
    ) -> Vec<u8> {
        let nodes: Vec<&Node> = places.iter().filter_map(|&at| self.nodes.get(at)).collect();
        let inner = nodes.iter().flat_map(|node| &node.gives);
        let inner = inner.filter(|name| declared && !outputs.iter().any(|o| o.name == **name));
        let inner: Vec<&ValueInfoProto> = inner
            .filter_map(|name| self.types.get(name))
            .filter(|value| value.elements().is_some())
            .collect();
        let read: BTreeSet<&String> = nodes.iter().flat_map(|node| &node.reads).collect();
        let given = outputs.iter().map(|output| &output.name);
        let read: BTreeSet<&String> = read.into_iter().chain(given).collect();
        let is_input = |name: &String| inputs.iter().any(|input| input.name == *name);
        let mut graph = self.around_graph.clone();
        for node in nodes {
            push(&mut graph, NODE, &node.bytes);
        }
        let constants = self.constants.iter();
        for (_, bytes) in constants.filter(|(name, _)| read.contains(name) && !is_input(name)) {
            push(&mut graph, INITIALIZER, bytes);
        }
        for (number, values) in [(INPUT, inputs), (OUTPUT, outputs)] {
            for value in values {
                push(&mut graph, number, &value.encode_to_vec());
            }
        }
        for value in inner {
            push(&mut graph, VALUE_INFO, &value.encode_to_vec());
        }
        let mut model = self.around.clone();
        push(&mut model, GRAPH, &graph);
        model
    }
}

impl Node {
    fn read(bytes: Bytes) -> Result<Self> {
        let proto = NodeProto::decode(bytes.clone()).engine()?;
        let mut reads = BTreeSet::new();
        reads_of(&proto, &mut reads);
        let gives = proto.output.iter().filter(|name| !name.is_empty());
        Ok(Self {
            gives: gives.cloned().collect(),
            bytes,
            reads,
            proto,
        })
    }
}

/// A graph within a node may read what is outside of it, by name.
fn reads_of(node: &NodeProto, reads: &mut BTreeSet<String>) {
    reads.extend(node.input.iter().filter(|name| !name.is_empty()).cloned());
    for graph in node.graphs() {
        let mut within = BTreeSet::new();
        for node in &graph.node {
            reads_of(node, &mut within);
        }
        within.extend(graph.output.iter().map(|output| output.name.clone()));
        let inputs = graph.input.iter().map(|input| &input.name);
        let constants = graph.initializer.iter().map(|tensor| &tensor.name);
        let given = graph.node.iter().flat_map(|node| &node.output);
        let own: BTreeSet<&String> = inputs.chain(constants).chain(given).collect();
        within.retain(|name| !own.contains(name));
        reads.extend(within);
    }
}

fn joined(fields: &[Field]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|f| f.whole.iter().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AttributeProto, attribute_type, decode_with_opset,
        write::{constant, encode, f32_value, node},
    };

    fn file(graph: GraphProto) -> Result<Cuttable> {
        Cuttable::decode(encode(graph, 17).into(), Path::new("model.onnx"))
    }

    #[test]
    fn a_part_is_a_model_with_the_constants_that_it_reads() -> Result<()> {
        let graph = GraphProto {
            node: vec![
                node("Relu", &["x"], "a"),
                node("Add", &["a", "w"], "b"),
                node("Mul", &["b", "v"], "y"),
            ],
            initializer: vec![
                constant("w", &[1], &[1.0_f32]),
                constant("v", &[1], &[2.0_f32]),
            ],
            input: vec![f32_value("x", Some(&[4])), f32_value("v", None)],
            output: vec![f32_value("y", None)],
            ..GraphProto::default()
        };
        let file = file(graph)?;
        assert_eq!(file.inputs().collect::<Vec<_>>(), ["x"]);
        let part = file.cut(
            &BTreeSet::from([1]),
            &[f32_value("a", Some(&[4]))],
            &[f32_value("b", None)],
            false,
        );
        let (part, opset) = decode_with_opset(part.into())?;
        assert_eq!(opset, 17);
        assert_eq!(part.node.len(), 1);
        assert_eq!(part.node[0].op_type, "Add");
        let constants: Vec<&str> = part.initializer.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(constants, ["w"]);
        assert_eq!((&*part.input[0].name, &*part.output[0].name), ("a", "b"));
        Ok(())
    }

    #[test]
    fn graphs_within_a_node_read_from_outside() -> Result<()> {
        let within = GraphProto {
            node: vec![node("Add", &["inner", "outer"], "sum")],
            input: vec![f32_value("inner", None)],
            output: vec![f32_value("sum", None)],
            ..GraphProto::default()
        };
        let body = AttributeProto {
            name: "body".into(),
            g: Some(within),
            r#type: attribute_type::GRAPH,
            ..AttributeProto::default()
        };
        let graph = GraphProto {
            node: vec![node("Scan", &["x", ""], "y").with(body)],
            ..GraphProto::default()
        };
        let file = file(graph)?;
        let reads = file.nodes()[0].reads.iter();
        let reads: Vec<&str> = reads.map(String::as_str).collect();
        assert_eq!(reads, ["outer", "x"]);
        Ok(())
    }

    #[test]
    fn what_is_not_known_here_is_kept() -> Result<()> {
        let mut node = node("Op", &["x"], "y").encode_to_vec();
        // `attribute` (5) with `strings` (9), which the messages of this crate leave out.
        let mut attribute = Vec::new();
        push(&mut attribute, 1, b"names");
        push(&mut attribute, 9, b"kept");
        push(&mut node, 5, &attribute);
        let mut graph = Vec::new();
        push(&mut graph, NODE, &node);
        let mut model = Vec::new();
        push(&mut model, 25, b"function");
        push(&mut model, GRAPH, &graph);
        let file = Cuttable::decode(model.into(), Path::new("model.onnx"))?;
        let cut = file.cut(&BTreeSet::from([0]), &[], &[], true);
        for kept in [&b"kept"[..], b"function"] {
            assert!(cut.windows(kept.len()).any(|part| part == kept));
        }
        Ok(())
    }
}
