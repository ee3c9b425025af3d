//! Small model files, sound and otherwise.

use firstpass_onnx::{
    GraphProto,
    write::{encode, f32_value, node},
};

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
