//! A graph without what is to be looked up elsewhere: functions of the file's own become the nodes that they stand for,
//! and nodes stand behind those that they read.

use std::collections::{BTreeSet, HashMap};

use crate::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, Result, own_opset,
    write::node as made,
};

/// Functions within functions deeper than this are not unfolded.
const DEEPEST: usize = 30;

/// More nodes are not unfolded: a small file may stand for any number.
const MOST_NODES: usize = 100_000;

/// The graph of a model in this form.
///
/// # Errors
/// Fails on functions that cannot be unfolded.
pub(crate) fn flat(model: ModelProto) -> Result<GraphProto> {
    let opset = own_opset(&model)?;
    let ModelProto {
        graph, functions, ..
    } = model;
    let mut graph = graph.ok_or_else(|| crate::malformed("it holds no graph"))?;
    if !functions.is_empty() {
        let by_name = functions.iter().map(|function| (key(function), function));
        let mut unfolding = Unfolding {
            functions: by_name.collect(),
            opset,
            nodes: 0,
        };
        unfolding.in_graph(&mut graph, 0)?;
    }
    in_order(&mut graph);
    Ok(graph)
}

/// Domain, name and overload.
type Key<'a> = (&'a str, &'a str, &'a str);

fn key(function: &FunctionProto) -> Key<'_> {
    (&function.domain, &function.name, &function.overload)
}

struct Unfolding<'a> {
    functions: HashMap<Key<'a>, &'a FunctionProto>,
    /// ONNX's own operator set of the file.
    opset: i64,
    nodes: usize,
}

impl<'a> Unfolding<'a> {
    fn in_graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<()> {
        let nodes = std::mem::take(&mut graph.node);
        graph.node = self.unfolded(nodes, depth)?;
        Ok(())
    }

    fn unfolded(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>> {
        let mut all = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            self.nodes += 1;
            if depth > DEEPEST || self.nodes > MOST_NODES {
                return Err(node.unsupported(format!(
                    "functions lie more than {DEEPEST} deep within each other, or stand for more than \
                     {MOST_NODES} nodes, and such files are not read"
                )));
            }
            for attribute in &mut node.attribute {
                if let Some(graph) = &mut attribute.g {
                    self.in_graph(graph, depth)?;
                }
            }
            let name = (&*node.domain, &*node.op_type, &*node.overload);
            match self.functions.get(&name).copied() {
                None => all.push(node),
                Some(function) => {
                    let body = self.body(&node, function)?;
                    all.extend(self.unfolded(body, depth + 1)?);
                }
            }
        }
        Ok(all)
    }

    /// The nodes of a function, for one call of it.
    fn body(&self, call: &NodeProto, function: &FunctionProto) -> Result<Vec<NodeProto>> {
        let mut own = function.opset_import.iter();
        let own = own.find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
        if let Some(other) = own.filter(|set| set.version != self.opset) {
            return Err(call.unsupported(format!(
                "this function of the file is of operator set {}, and the file is of {}",
                other.version, self.opset
            )));
        }
        let unique = call.output.iter().find(|name| !name.is_empty());
        let unique = unique.unwrap_or(&call.name);
        let mut names = Names {
            prefix: format!("{unique}/{}/", call.op_type),
            given: HashMap::new(),
        };
        for (at, name) in function.input.iter().enumerate() {
            let given = call.input.get(at).cloned().unwrap_or_default();
            names.given.insert(name, given);
        }
        let mut copies = Vec::new();
        for (name, result) in function.output.iter().zip(&call.output) {
            match names.given.get(name.as_str()) {
                _ if result.is_empty() => {}
                Some(same) => copies.push(made("Identity", &[same], result)),
                None => {
                    names.given.insert(name, result.clone());
                }
            }
        }
        let nodes = function.node.iter();
        let nodes = nodes.map(|node| Body { call, function }.node(node, &names));
        Ok(nodes.chain(copies).collect())
    }
}

/// How the names within a function are called outside.
struct Names<'a> {
    prefix: String,
    /// Inputs and outputs.
    given: HashMap<&'a str, String>,
}

impl Names<'_> {
    fn outside(&self, name: &str) -> String {
        match self.given.get(name) {
            Some(given) => given.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{}{name}", self.prefix),
        }
    }
}

/// A function and a call of it, which gives its attributes.
struct Body<'a> {
    call: &'a NodeProto,
    function: &'a FunctionProto,
}

impl Body<'_> {
    fn node(&self, node: &NodeProto, names: &Names<'_>) -> NodeProto {
        let outside = |all: &[String]| all.iter().map(|name| names.outside(name)).collect();
        let attributes = node.attribute.iter();
        NodeProto {
            input: outside(&node.input),
            output: outside(&node.output),
            name: format!("{}{}", names.prefix, node.name),
            attribute: attributes
                .filter_map(|attribute| self.attribute(attribute, names))
                .collect(),
            ..node.clone()
        }
    }

    /// `None` where it is that of the call, which leaves it out, and there is no default.
    fn attribute(&self, attribute: &AttributeProto, names: &Names<'_>) -> Option<AttributeProto> {
        let mut attribute = attribute.clone();
        if !attribute.ref_attr_name.is_empty() {
            let is_it = |other: &&AttributeProto| other.name == attribute.ref_attr_name;
            let given = self.call.attribute.iter().find(is_it);
            let given = given.or_else(|| self.function.attribute_proto.iter().find(is_it));
            return Some(AttributeProto {
                name: attribute.name,
                ..given?.clone()
            });
        }
        if let Some(graph) = &mut attribute.g {
            self.in_graph(graph, names);
        }
        Some(attribute)
    }

    fn in_graph(&self, graph: &mut GraphProto, names: &Names<'_>) {
        let nodes = graph.node.iter();
        graph.node = nodes.map(|node| self.node(node, names)).collect();
        for tensor in &mut graph.initializer {
            tensor.name = names.outside(&tensor.name);
        }
        for value in graph.input.iter_mut().chain(&mut graph.output) {
            value.name = names.outside(&value.name);
        }
    }
}

/// Brings nodes behind those that they read, where a file has them otherwise: some tools append what they add. The
/// order stays as it is wherever it may; nodes that read each other in a circle stay where they are.
fn in_order(graph: &mut GraphProto) {
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            if let Some(graph) = &mut attribute.g {
                in_order(graph);
            }
        }
    }
    let nodes = graph.node.iter().enumerate();
    let given = nodes.flat_map(|(at, node)| node.output.iter().map(move |name| (&**name, at)));
    let given: HashMap<&str, usize> = given.filter(|(name, _)| !name.is_empty()).collect();
    let reads: Vec<BTreeSet<usize>> = graph
        .node
        .iter()
        .map(|node| {
            let mut read = BTreeSet::new();
            sources(node, &given, &mut read);
            read
        })
        .collect();
    let mut all = reads.iter().enumerate();
    if all.all(|(at, read)| read.iter().all(|&source| source < at)) {
        return;
    }
    let mut missing: Vec<usize> = reads.iter().map(BTreeSet::len).collect();
    let mut readers = vec![Vec::new(); reads.len()];
    for (at, read) in reads.iter().enumerate() {
        read.iter().for_each(|&source| readers[source].push(at));
    }
    let of_nothing = missing.iter().enumerate();
    let of_nothing = of_nothing.filter(|(_, missing)| **missing == 0);
    let mut ready: BTreeSet<usize> = of_nothing.map(|(at, _)| at).collect();
    let mut order = Vec::with_capacity(reads.len());
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for &reader in &readers[at] {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    if order.len() < reads.len() {
        return;
    }
    let mut nodes: Vec<Option<NodeProto>> = graph.node.drain(..).map(Some).collect();
    graph.node = order.iter().filter_map(|&at| nodes[at].take()).collect();
}

/// The nodes that a node reads, itself or in its graphs.
fn sources(node: &NodeProto, given: &HashMap<&str, usize>, read: &mut BTreeSet<usize>) {
    read.extend(node.input.iter().filter_map(|name| given.get(&**name)));
    for graph in node.graphs() {
        for inner in &graph.node {
            sources(inner, given, read);
        }
        let outputs = graph.output.iter();
        read.extend(outputs.filter_map(|output| given.get(&*output.name)));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{ErrorKind, OperatorSetIdProto, decode_flat, write::f32_value};

    fn function(
        name: &str,
        input: &[&str],
        output: &[&str],
        node: Vec<NodeProto>,
    ) -> FunctionProto {
        FunctionProto {
            name: name.into(),
            domain: "mine".into(),
            input: input.iter().map(ToString::to_string).collect(),
            output: output.iter().map(ToString::to_string).collect(),
            node,
            ..FunctionProto::default()
        }
    }

    fn call(name: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            domain: "mine".into(),
            ..made(name, inputs, output)
        }
    }

    fn read(node: Vec<NodeProto>, functions: Vec<FunctionProto>) -> Result<GraphProto> {
        let model = ModelProto {
            ir_version: 8,
            graph: Some(GraphProto {
                node,
                input: vec![f32_value("x", None)],
                output: vec![f32_value("y", None)],
                ..GraphProto::default()
            }),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 17,
            }],
            functions,
        };
        Ok(decode_flat(model.encode_to_vec().into())?.0)
    }

    fn chain(graph: &GraphProto) -> Vec<String> {
        let nodes = graph.node.iter();
        nodes
            .map(|n| format!("{} = {}({})", n.output.join(), n.op_type, n.input.join()))
            .collect()
    }

    trait Join {
        fn join(&self) -> String;
    }

    impl Join for Vec<String> {
        fn join(&self) -> String {
            self[..].join(",")
        }
    }

    #[test]
    fn functions_become_their_nodes() -> Result<()> {
        let alpha = AttributeProto {
            ref_attr_name: "slope".into(),
            ..AttributeProto::float("alpha", 0.0)
        };
        let leaky = made("LeakyRelu", &["a"], "b").with(alpha);
        let inner = function("Leaky", &["a"], &["b"], vec![leaky]);
        let outer = function(
            "Twice",
            &["p", "q"],
            &["r"],
            vec![
                call("Leaky", &["p"], "t").with(AttributeProto::float("slope", 0.25)),
                made("Add", &["t", "q"], "r"),
            ],
        );
        let nodes = vec![
            call("Twice", &["x", "x"], "h"),
            call("Twice", &["h", "x"], "y"),
        ];
        let graph = read(nodes, vec![inner, outer])?;
        assert_eq!(
            chain(&graph),
            [
                "h/Twice/t = LeakyRelu(x)",
                "h = Add(h/Twice/t,x)",
                "y/Twice/t = LeakyRelu(h)",
                "y = Add(y/Twice/t,x)",
            ]
        );
        assert_eq!(graph.node[0].float("alpha"), Some(0.25));
        Ok(())
    }

    #[test]
    fn an_attribute_without_a_value_is_the_default() -> Result<()> {
        let of = |name: &str| {
            made("LeakyRelu", &["a"], "b").with(AttributeProto {
                ref_attr_name: "slope".into(),
                ..AttributeProto::float(name, 0.0)
            })
        };
        let mut leaky = function("Leaky", &["a"], &["b", "a"], vec![of("alpha")]);
        let graph = read(vec![call("Leaky", &["x"], "y")], vec![leaky.clone()])?;
        assert_eq!(graph.node[0].float("alpha"), None);
        leaky.attribute_proto = vec![AttributeProto::float("slope", 0.5)];
        // An output may be an input.
        let mut both = call("Leaky", &["x"], "y");
        both.output.push("same".into());
        let graph = read(vec![both], vec![leaky])?;
        assert_eq!(graph.node[0].float("alpha"), Some(0.5));
        assert_eq!(chain(&graph)[1], "same = Identity(x)");
        Ok(())
    }

    #[test]
    fn functions_without_end_are_refused() {
        let endless = function("F", &["a"], &["b"], vec![call("F", &["a"], "b")]);
        let error = read(vec![call("F", &["x"], "y")], vec![endless]).expect_err("it is endless");
        assert_eq!(error.kind, ErrorKind::Unsupported);
        // 2^30 nodes.
        let many: Vec<FunctionProto> = (0..30)
            .map(|at| {
                let inner = format!("F{}", at + 1);
                let nodes = vec![call(&inner, &["a"], "t"), call(&inner, &["t"], "b")];
                function(&format!("F{at}"), &["a"], &["b"], nodes)
            })
            .collect();
        let error = read(vec![call("F0", &["x"], "y")], many).expect_err("too many");
        assert!(error.to_string().contains("100000 nodes"), "{error}");
        let mut newer = function("F", &["a"], &["b"], vec![made("Relu", &["a"], "b")]);
        newer.opset_import = vec![OperatorSetIdProto {
            domain: String::new(),
            version: 21,
        }];
        let error = read(vec![call("F", &["x"], "y")], vec![newer]).expect_err("of another set");
        assert!(error.to_string().contains("operator set 21"), "{error}");
    }

    #[test]
    fn nodes_stand_behind_what_they_read() -> Result<()> {
        let nodes = vec![
            made("Relu", &["x"], "a"),
            made("Add", &["a", "late"], "y"),
            made("Neg", &["x"], "late"),
        ];
        let graph = read(nodes, vec![])?;
        let found = ["a = Relu(x)", "late = Neg(x)", "y = Add(a,late)"];
        assert_eq!(chain(&graph), found);
        // A circle stays, for whoever reads it to refuse.
        let circle = vec![made("Relu", &["b"], "a"), made("Neg", &["a"], "b")];
        assert_eq!(chain(&read(circle, vec![])?)[0], "a = Relu(b)");
        Ok(())
    }
}
