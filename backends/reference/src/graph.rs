//! The interpretation of a graph, a node at a time in the order of the file.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use firstpass_onnx::{GraphProto, NodeProto, decode_flat, external, malformed};
use firstpass_probe::{Error, Result};

use crate::{
    constants,
    operators::{self, Call, Operator},
    rules::{Arithmetic, Rules, written_for},
    value::Value,
};

/// A model that was read.
#[derive(Debug)]
pub struct Model {
    graph: Graph,
    opset: i64,
    /// By which arithmetic the file as a whole is to be computed.
    pub written_for: Arithmetic,
}

/// A graph, of a model or in an attribute of a node.
#[derive(Debug)]
struct Graph {
    nodes: Vec<Node>,
    constants: HashMap<String, Value>,
    /// Those that are no constants.
    inputs: Vec<String>,
    outputs: Vec<String>,
}

#[derive(Debug)]
struct Node {
    proto: NodeProto,
    operator: Operator,
    bodies: BTreeMap<String, Graph>,
    /// Also by the bodies.
    reads: Vec<String>,
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
    /// The version of ONNX's own operator set.
    pub opset: i64,
}

/// What the bodies of a node may read, besides their own values.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    bodies: &'a BTreeMap<String, Graph>,
    values: &'a Values<'a>,
}

/// Values by name.
struct Values<'a> {
    computed: HashMap<&'a str, Value>,
    constants: &'a HashMap<String, Value>,
    outer: Option<&'a Values<'a>>,
}

/// Called with every node of a model and the result of its computation's only output.
pub type Observer<'a> =
    dyn FnMut(&NodeProto, &mut dyn FnMut() -> Result<Vec<Value>>) -> Result<Vec<Value>> + 'a;

impl Values<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        let own = self.computed.get(name).or(self.constants.get(name));
        own.or_else(|| self.outer?.get(name))
    }
}

impl Scope<'_> {
    /// The outputs of the body of this name.
    ///
    /// # Errors
    /// Fails where there is none, and where it fails.
    pub fn run(&self, name: &str, inputs: Vec<Value>, context: Context) -> Result<Vec<Value>> {
        let body = self.bodies.get(name);
        let body = body.ok_or_else(|| Error::engine(format!("it has no graph {name:?}")))?;
        if inputs.len() != body.inputs.len() {
            return Err(Error::engine(format!(
                "its graph {name:?} takes {} inputs and is given {}",
                body.inputs.len(),
                inputs.len()
            )));
        }
        let inputs = body.inputs.iter().map(String::as_str).zip(inputs).collect();
        body.run(inputs, Some(self.values), context, &mut |_, compute| {
            compute()
        })
    }
}

impl Model {
    /// # Errors
    /// Fails on a file that is no ONNX model, has other inputs and outputs, or uses operators that are not
    /// implemented; the message names all of these.
    pub fn read(path: &Path, inputs: &[&str], outputs: &[&str]) -> Result<Self> {
        let (mut graph, opset) = decode_flat(std::fs::read(path)?.into())?;
        external::read(&mut graph, path)?;
        Self::new(graph, opset, inputs, outputs)
    }

    /// See [`Self::read`].
    ///
    /// # Errors
    /// As there.
    pub fn new(proto: GraphProto, opset: i64, inputs: &[&str], outputs: &[&str]) -> Result<Self> {
        let mut missing = BTreeSet::new();
        name_missing(&proto, &mut missing);
        if !missing.is_empty() {
            let names: Vec<String> = missing.into_iter().collect();
            return Err(Error::unsupported(format!(
                "the referee does not implement {}; it cannot say what this model computes",
                names.join(", ")
            )));
        }
        let written_for = written_for(&proto);
        let mut graph = Graph::new(proto)?;
        let unknown = graph
            .inputs
            .iter()
            .find(|name| !inputs.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            return Err(Error::input(format!(
                "the graph takes {unknown:?}, which the model does not declare: it declares {inputs:?}"
            )));
        }
        if !outputs.is_empty() {
            for name in outputs {
                if !graph.outputs.iter().any(|output| output == name) {
                    return Err(Error::engine(format!("the graph has no output {name:?}")));
                }
            }
            graph.outputs = outputs.iter().map(ToString::to_string).collect();
        }
        Ok(Self {
            graph,
            opset,
            written_for,
        })
    }

    /// Computes the outputs. `observe` is called with every node, around its computation.
    ///
    /// # Errors
    /// Fails where shapes or types do not fit; the message names the node.
    pub fn run(
        &self,
        interpretation: Interpretation,
        inputs: HashMap<&str, Value>,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Value>> {
        let context = Context {
            arithmetic: interpretation.rules.arithmetic.unwrap_or(self.written_for),
            rules: interpretation.rules,
            threads: interpretation.threads,
            opset: self.opset,
        };
        self.graph.run(inputs, None, context, observe)
    }
}

/// The operators that are not implemented, also those of bodies.
fn name_missing(graph: &GraphProto, missing: &mut BTreeSet<String>) {
    for node in &graph.node {
        if operators::find(node).is_none() {
            missing.insert(match node.domain.as_str() {
                "" | "ai.onnx" => node.op_type.clone(),
                domain => format!("{domain}.{}", node.op_type),
            });
        }
        for body in node.graphs() {
            name_missing(body, missing);
        }
    }
}

impl Graph {
    fn new(proto: GraphProto) -> Result<Self> {
        let mut all = HashMap::new();
        for tensor in &proto.initializer {
            let value = constants::value(tensor)?;
            if all.insert(tensor.name.clone(), value).is_some() {
                return Err(malformed(format!("two constants {:?}", tensor.name)).into());
            }
        }
        let names = proto.input.into_iter().map(|value| value.name);
        let inputs = names.filter(|name| !all.contains_key(name)).collect();
        let nodes = proto.node.into_iter().map(Node::new);
        Ok(Self {
            nodes: nodes.collect::<Result<_>>()?,
            constants: all,
            inputs,
            outputs: proto.output.into_iter().map(|value| value.name).collect(),
        })
    }

    fn run<'a>(
        &'a self,
        inputs: HashMap<&'a str, Value>,
        outer: Option<&'a Values<'a>>,
        context: Context,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Value>> {
        let mut values = Values {
            computed: inputs,
            constants: &self.constants,
            outer,
        };
        let mut last_read: HashMap<&str, usize> = HashMap::new();
        for (number, node) in self.nodes.iter().enumerate() {
            last_read.extend(node.reads.iter().map(|name| (name.as_str(), number)));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let found = node.run(&values, context, observe)?;
            let named = node.proto.output.iter().zip(found);
            let named = named.filter(|(name, _)| !name.is_empty());
            values
                .computed
                .extend(named.map(|(name, value)| (name.as_str(), value)));
            // Activations are large.
            let is_output = |name: &&String| self.outputs.contains(name);
            for name in node.reads.iter().filter(|name| !is_output(name)) {
                if last_read.get(name.as_str()) == Some(&number) {
                    values.computed.remove(name.as_str());
                }
            }
        }
        let outputs = self.outputs.iter().map(|name| {
            let value = values.get(name).cloned();
            value.ok_or_else(|| {
                Error::from(malformed(format!("nothing computes the output {name:?}")))
            })
        });
        outputs.collect()
    }
}

impl Node {
    fn new(proto: NodeProto) -> Result<Self> {
        let operator = operators::find(&proto);
        let operator = operator.ok_or_else(|| proto.unsupported("it is not implemented"))?;
        let mut reads = proto.input.clone();
        let mut bodies = BTreeMap::new();
        for attribute in &proto.attribute {
            if let Some(body) = &attribute.g {
                let body = Graph::new(body.clone())?;
                let names = body.nodes.iter().flat_map(|node| &node.reads);
                reads.extend(names.chain(&body.outputs).cloned());
                bodies.insert(attribute.name.clone(), body);
            }
        }
        Ok(Self {
            proto,
            operator,
            bodies,
            reads,
        })
    }

    fn run(
        &self,
        values: &Values<'_>,
        context: Context,
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Value>> {
        let node = &self.proto;
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            // An empty name leaves an optional input out.
            let value = values.get(name);
            if value.is_none() && !name.is_empty() {
                return Err(node
                    .malformed(format!("it reads {name:?}, which nothing computed yet"))
                    .into());
            }
            inputs.push(value.cloned());
        }
        let call = Call {
            node,
            inputs: &inputs,
            context,
            scope: Scope {
                bodies: &self.bodies,
                values,
            },
        };
        let mut compute = || (self.operator)(&call).map_err(|e| e.context(node.label()));
        let found = observe(node, &mut compute)?;
        let wanted = node.output.iter().rposition(|name| !name.is_empty());
        if wanted.is_some_and(|last| last >= found.len()) {
            return Err(node
                .unsupported(format!(
                    "it has {} outputs; the referee computes {}",
                    node.output.len(),
                    found.len()
                ))
                .into());
        }
        Ok(match context.rules.noise {
            Some(noise) => noise.on(node, found),
            None => found,
        })
    }
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::write::{f32_value, node};
    use firstpass_probe::ErrorKind;

    use super::*;

    #[test]
    fn what_is_not_implemented_is_named_at_once() {
        let foreign = NodeProto {
            domain: "com.example".into(),
            ..node("Relu", &["x"], "z")
        };
        let graph = GraphProto {
            node: vec![
                node("RoiAlign", &["x", "x"], "a"),
                node("Relu", &["x"], "y"),
                node("Scan", &["x"], "b"),
                node("Scan", &["x"], "c"),
                foreign,
            ],
            input: vec![f32_value("x", None)],
            output: vec![f32_value("y", None)],
            ..GraphProto::default()
        };
        let error = Model::new(graph, 13, &["x"], &["y"]).expect_err("it cannot run");
        assert_eq!(error.kind, ErrorKind::Unsupported);
        let text = error.to_string();
        let expected = "does not implement RoiAlign, Scan, com.example.Relu;";
        assert!(text.contains(expected), "{text}");
    }
}
