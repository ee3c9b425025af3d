//! Small model files, sound and otherwise.

use firstpass_onnx::{
    GraphProto, StringStringEntryProto, TensorProto,
    write::{encode, f32_value, node},
};
use prost::Message;

/// `y = relu(x)`.
pub fn sound() -> Vec<u8> {
    graph(&["x"], &["y"], Some(&[1, 3, 8, 8]))
}

/// A model whose passes take so long that a check of it lasts seconds, on any machine: what is to happen while it
/// is measured happens in time.
pub fn slow() -> Vec<u8> {
    const LAYERS: usize = 8;
    let shape = Some(&[1, 3, 256, 256][..]);
    let name = |layer: usize| match layer {
        0 => "x".into(),
        LAYERS => "y".into(),
        layer => format!("inner-{layer}"),
    };
    let layers = 0..LAYERS;
    let graph = GraphProto {
        node: layers
            .map(|layer| node("Sigmoid", &[&name(layer)], &name(layer + 1)))
            .collect(),
        input: vec![f32_value("x", shape)],
        output: vec![f32_value("y", shape)],
        ..GraphProto::default()
    };
    encode(graph, 13)
}

/// A graph of one Relu whose inputs and outputs have these names.
pub fn graph(inputs: &[&str], outputs: &[&str], shape: Option<&[usize]>) -> Vec<u8> {
    let first = |names: &[&str]| names.first().copied().unwrap_or_default().to_owned();
    let graph = GraphProto {
        node: vec![node("Relu", &[&first(inputs)], &first(outputs))],
        input: inputs.iter().map(|name| f32_value(name, shape)).collect(),
        output: outputs.iter().map(|name| f32_value(name, shape)).collect(),
        ..GraphProto::default()
    };
    encode(graph, 13)
}

/// `y = (x - x) / (x - x)`, which is no number.
pub fn nothing() -> Vec<u8> {
    let graph = GraphProto {
        node: vec![node("Sub", &["x", "x"], "z"), node("Div", &["z", "z"], "y")],
        input: vec![f32_value("x", Some(&[1, 3, 8, 8]))],
        output: vec![f32_value("y", Some(&[1, 3, 8, 8]))],
        ..GraphProto::default()
    };
    encode(graph, 13)
}

/// A `model.toml` of this name for the file `model.onnx` beside it.
pub fn described(name: &str) -> String {
    format!(
        "name = {name:?}\ntitle = \"x\"\ndescription = \"\"\nprecision = \"fp32\"\n\
         [artifacts]\nonnx = \"model.onnx\"\n\
         [[input]]\nname = \"x\"\nshape = [1, 3, 8, 8]\n\
         [[outputs]]\nname = \"y\"\nshape = [1, 3, 8, 8]\n"
    )
}

/// `y = relu(x)`, with a constant whose data lie in another file.
pub fn with_weights(location: &str) -> Vec<u8> {
    let entry = StringStringEntryProto {
        key: "location".into(),
        value: location.into(),
    };
    let weights = TensorProto {
        name: "w".into(),
        // TensorProto.DataLocation.EXTERNAL
        data_location: 1,
        external_data: vec![entry],
        ..TensorProto::default()
    };
    let graph = GraphProto {
        initializer: vec![weights],
        ..relu()
    };
    encode(graph, 13)
}

/// `a = x + b` and `b = relu(a)`.
pub fn cyclic() -> Vec<u8> {
    let graph = GraphProto {
        node: vec![
            node("Add", &["x", "b"], "a"),
            node("Relu", &["a"], "b"),
            node("Relu", &["b"], "y"),
        ],
        ..relu()
    };
    encode(graph, 13)
}

/// A graph in the branch of an If, in the branch of an If, and so on.
pub fn nested(depth: usize) -> Vec<u8> {
    let mut graph = relu().encode_to_vec();
    for _ in 0..depth {
        let branch = [field(1, b"then_branch"), field(6, &graph)].concat();
        let node = [field(4, b"If"), field(5, &branch)].concat();
        graph = field(1, &node);
    }
    [field(7, &graph), field(8, &[0x10, 13])].concat()
}

fn relu() -> GraphProto {
    let shape = Some(&[1, 3, 8, 8][..]);
    GraphProto {
        node: vec![node("Relu", &["x"], "y")],
        input: vec![f32_value("x", shape)],
        output: vec![f32_value("y", shape)],
        ..GraphProto::default()
    }
}

/// A field of a message of protobuf that has a length.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    bytes.extend_from_slice(value);
    bytes
}
