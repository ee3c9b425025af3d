//! How many rows the tables have that inputs of a graph index: an input is followed through operators that keep
//! its numbers, or add a constant to them, to where it picks rows out of a table.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use anyhow::Result;
use firstpass_onnx::{Constant, GraphProto, NodeProto, TensorProto, Values, decode_flat};

/// Steps from one input; a graph may be of any length.
const MOST_STEPS: usize = 10_000;

/// An offset of tokens has one number, or one for each place.
const MOST_OFFSETS: i64 = 4096;

/// A count that tokens are compared with has a number for each token.
const MOST_COUNTED: i64 = 1 << 20;

/// The smallest table that each input of the graph in a file indexes; inputs that index none are left out.
pub(super) fn read(file: &Path) -> Result<BTreeMap<String, u64>> {
    let (graph, _) = decode_flat(std::fs::read(file)?.into())?;
    Ok(Tables::new(&graph).of_inputs())
}

struct Tables<'a> {
    graph: &'a GraphProto,
    constants: HashMap<&'a str, &'a TensorProto>,
    producers: HashMap<&'a str, &'a NodeProto>,
    consumers: HashMap<&'a str, Vec<&'a NodeProto>>,
}

impl<'a> Tables<'a> {
    fn new(graph: &'a GraphProto) -> Self {
        let mut constants: HashMap<&str, &TensorProto> = HashMap::new();
        let mut producers = HashMap::new();
        let mut consumers: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
        for tensor in &graph.initializer {
            constants.insert(&tensor.name, tensor);
        }
        for node in &graph.node {
            for output in &node.output {
                producers.insert(output.as_str(), node);
            }
            for input in &node.input {
                consumers.entry(input).or_default().push(node);
            }
            if let ("Constant", Some(output), Some(value)) = (
                node.op_type.as_str(),
                node.output.first(),
                node.tensor("value"),
            ) {
                constants.insert(output, value);
            }
        }
        Self {
            graph,
            constants,
            producers,
            consumers,
        }
    }

    fn of_inputs(&self) -> BTreeMap<String, u64> {
        let inputs = self.graph.input.iter().map(|input| input.name.as_str());
        let inputs = inputs.filter(|name| !self.constants.contains_key(name));
        let found = inputs.filter_map(|name| Some((name.to_owned(), self.smallest(name)?)));
        found.collect()
    }

    /// The rows of the smallest table that a value of the graph indexes.
    fn smallest(&self, input: &'a str) -> Option<u64> {
        let mut smallest: Option<u64> = None;
        // Each value with what was added to the numbers of the input on the way.
        let mut waiting = vec![(input, 0_i64)];
        let mut seen: HashSet<(&str, i64)> = HashSet::from([(input, 0)]);
        for _ in 0..MOST_STEPS {
            let Some((value, added)) = waiting.pop() else {
                break;
            };
            for node in self.consumers.get(value).into_iter().flatten().copied() {
                if let Some(rows) = self.rows(node, value) {
                    let most = below(rows, added);
                    smallest = Some(smallest.map_or(most, |rows| rows.min(most)));
                }
                let Some(step) = self.adds(node, value) else {
                    continue;
                };
                let added = added.saturating_add(step);
                for output in &node.output {
                    if seen.insert((output, added)) {
                        waiting.push((output, added));
                    }
                }
            }
        }
        smallest
    }

    /// The rows of the table that a node picks from by `value`; 1 where there is a table of unknown size.
    fn rows(&self, node: &NodeProto, value: &str) -> Option<u64> {
        let is_input = |place: usize| node.input.get(place).is_some_and(|name| name == value);
        let row_axis = |axis: i64, place: usize| {
            let dims = self.shape(node.input.get(place)?, 0)?;
            let axis = if axis < 0 {
                axis + dims.len() as i64
            } else {
                axis
            };
            u64::try_from(*dims.get(usize::try_from(axis).ok()?)?).ok()
        };
        let axis = |default: i64| node.int("axis").ok().flatten().unwrap_or(default);
        match node.op_type.as_str() {
            "Gather" | "GatherElements" if is_input(1) => Some(row_axis(axis(0), 0).unwrap_or(1)),
            "GatherBlockQuantized" if is_input(1) => {
                let axis = node.int("gather_axis").ok().flatten().unwrap_or(0);
                Some(row_axis(axis, 0).unwrap_or(1))
            }
            "OneHot" if is_input(0) => {
                let depth = self.integer(node.input.get(1)?);
                depth.and_then(|depth| u64::try_from(depth).ok())
            }
            // What is compared with each number of a count is made one of so many: JAX writes OneHot so.
            "Equal" => {
                let other = node.input.iter().find(|name| *name != value)?;
                self.count(other)
            }
            // Tokens and sentences, then the tables of tokens, of places and of sentences.
            "EmbedLayerNormalization" if is_input(0) => row_axis(0, 2),
            "EmbedLayerNormalization" if is_input(1) => row_axis(0, 4),
            "QEmbedLayerNormalization" if is_input(0) => row_axis(0, 2),
            "QEmbedLayerNormalization" if is_input(1) => row_axis(0, 4),
            _ => None,
        }
    }

    /// What a node adds to the numbers in `value`; `None` where other numbers come out.
    fn adds(&self, node: &NodeProto, value: &str) -> Option<i64> {
        let is_first = node.input.first().is_some_and(|name| name == value);
        let other = || node.input.iter().find(|name| *name != value);
        match node.op_type.as_str() {
            "Cast" | "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose"
            | "Expand" | "Tile" | "Slice" | "Split" | "Dropout" | "Pad"
                if is_first =>
            {
                Some(0)
            }
            "Concat" => Some(0),
            "Where" if !is_first => Some(0),
            "Add" => self.integer(other()?),
            "Sub" if is_first => self.integer(other()?).map(i64::wrapping_neg),
            _ => None,
        }
    }

    /// The largest number in a constant.
    fn integer(&self, name: &str) -> Option<i64> {
        let tensor = self.constants.get(name)?;
        // Weights are no offset, and take time to read.
        if tensor.dims.iter().any(|&length| length > MOST_OFFSETS) {
            return None;
        }
        let constant = Constant::read(tensor).ok()?;
        match constant.values {
            Values::I64(values) => values.into_iter().max(),
            Values::I32(values) => values.into_iter().max().map(i64::from),
            Values::F32(values) => {
                let largest = values.into_iter().fold(f32::NEG_INFINITY, f32::max);
                (largest.abs() < 1e9 && largest.fract() == 0.0).then_some(largest as i64)
            }
            _ => None,
        }
    }

    /// How many numbers a constant has that is the count 0, 1, 2 and so on.
    fn count(&self, name: &str) -> Option<u64> {
        let tensor = self.constants.get(name)?;
        // No table of tokens is larger, and a large constant takes time to read.
        if tensor.dims.iter().any(|&length| length > MOST_COUNTED) {
            return None;
        }
        let values = match Constant::read(tensor).ok()?.values {
            Values::I64(values) => values,
            Values::I32(values) => values.into_iter().map(i64::from).collect(),
            _ => return None,
        };
        let is_count = values.len() > 1 && values.iter().copied().eq(0..values.len() as i64);
        is_count.then_some(values.len() as u64)
    }

    /// The shape of a constant, or of what operators that keep the shape make of one.
    fn shape(&self, name: &str, depth: usize) -> Option<Vec<i64>> {
        if let Some(tensor) = self.constants.get(name) {
            return Some(tensor.dims.clone());
        }
        if let Some(input) = self.graph.input.iter().find(|input| input.name == name) {
            let shape = input.shape()?.into_iter();
            return shape.map(|length| i64::try_from(length).ok()).collect();
        }
        let node = self.producers.get(name)?;
        let keeps = [
            "DequantizeLinear",
            "Cast",
            "Identity",
            "QuantizeLinear",
            "Mul",
            "Add",
        ];
        if depth > 16 || !keeps.contains(&node.op_type.as_str()) {
            return None;
        }
        self.shape(node.input.first()?, depth + 1)
    }
}

/// What a number must be below, for a number of rows that it indexes after so much was added to it.
fn below(rows: u64, added: i64) -> u64 {
    let below = i64::try_from(rows)
        .unwrap_or(i64::MAX)
        .saturating_sub(added);
    u64::try_from(below).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::{
        ValueInfoProto,
        write::{constant, f32_value, node},
    };

    use super::*;

    fn of(nodes: Vec<NodeProto>, tables: &[(&str, &[i64])]) -> BTreeMap<String, u64> {
        let mut initializer: Vec<TensorProto> = tables
            .iter()
            .map(|(name, dims)| TensorProto {
                name: (*name).into(),
                dims: dims.to_vec(),
                data_type: firstpass_onnx::data_type::FLOAT,
                ..TensorProto::default()
            })
            .collect();
        initializer.push(constant("two", &[], &[2_i64]));
        initializer.push(constant("count", &[1, 1, 5], &[0_i32, 1, 2, 3, 4]));
        initializer.push(constant("marks", &[1, 1, 2], &[0_i32, 7]));
        let graph = GraphProto {
            node: nodes,
            initializer,
            input: ["ids", "other"]
                .map(|name| f32_value(name, Some(&[1, 8])))
                .to_vec(),
            output: Vec::<ValueInfoProto>::new(),
            ..GraphProto::default()
        };
        Tables::new(&graph).of_inputs()
    }

    fn only(rows: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("ids".to_owned(), rows)])
    }

    #[test]
    fn an_input_is_followed_to_its_tables() {
        let table: &[(&str, &[i64])] = &[("table", &[30, 4]), ("small", &[7, 4])];
        let gather = |table: &str, ids: &str| node("Gather", &[table, ids], "rows");
        assert_eq!(of(vec![gather("table", "ids")], table), only(30));
        // The smallest of several, through what keeps numbers.
        let cast = node("Cast", &["ids"], "cast");
        let reshape = node("Reshape", &["cast", "shape"], "flat");
        let both = vec![
            cast.clone(),
            reshape,
            gather("table", "ids"),
            gather("small", "flat"),
        ];
        assert_eq!(of(both, table), only(7));
        // Two are added first.
        let add = node("Add", &["two", "ids"], "sum");
        assert_eq!(of(vec![add, gather("table", "sum")], table), only(28));
        let sub = node("Sub", &["ids", "two"], "less");
        assert_eq!(of(vec![sub, gather("table", "less")], table), only(32));
        // A table that is dequantized first.
        let dequantized = node("DequantizeLinear", &["table", "s", "z"], "floats");
        assert_eq!(
            of(vec![dequantized, gather("floats", "ids")], table),
            only(30)
        );
        // What is multiplied is no index any more, and a table of unknown size has one row for sure.
        let mul = node("Mul", &["ids", "two"], "more");
        assert_eq!(
            of(vec![mul.clone(), gather("table", "more")], table),
            BTreeMap::new()
        );
        assert_eq!(of(vec![mul, gather("more", "ids")], table), only(1));
        // The table itself is no index.
        let picked = node("Gather", &["ids", "two"], "one");
        assert_eq!(of(vec![picked], table), BTreeMap::new());
    }

    #[test]
    fn one_hot_and_embeddings_have_tables_too() {
        let one_hot = node("OneHot", &["ids", "two", "values"], "hot");
        assert_eq!(of(vec![one_hot], &[]), only(2));
        let wide = node("Expand", &["ids", "shape"], "wide");
        let equal = |other: &str| node("Equal", &["wide", other], "hot");
        assert_eq!(of(vec![wide.clone(), equal("count")], &[]), only(5));
        assert_eq!(of(vec![wide, equal("marks")], &[]), BTreeMap::new());
        let embed = node(
            "EmbedLayerNormalization",
            &["ids", "other", "words", "places", "sentences"],
            "y",
        );
        let tables: &[(&str, &[i64])] = &[
            ("words", &[100, 4]),
            ("places", &[16, 4]),
            ("sentences", &[2, 4]),
        ];
        let expected = BTreeMap::from([("ids".to_owned(), 100), ("other".to_owned(), 2)]);
        assert_eq!(of(vec![embed], tables), expected);
    }
}
