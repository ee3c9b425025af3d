//! Small models of kinds on which public bug reports say that engines differ or fail.
//!
//! Scales are no simple multiples of each other, so that few values fall on the half between two steps, where the last
//! bit of a float decides.

use firstpass_onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto,
    write::{constant, encode, f32_value, node},
};

/// A kind, its model file, and the shape of its one input `x`.
pub struct Case {
    pub name: &'static str,
    pub model: Vec<u8>,
    pub shape: &'static [usize],
}

/// Every case; the output of each is `y`.
pub fn cases() -> Vec<Case> {
    vec![
        double_pairs(),
        halves(),
        rounding_before_a_fault(),
        softmax(),
        output_dtype(),
        resize(),
        per_axis(),
        per_axis_convolution(),
        per_axis_sum(),
        padded_bytes(),
        bias_of_another_scale(),
        mean(),
        product(),
        sound(),
    ]
}

fn case(
    name: &'static str,
    [shape, output]: [&'static [usize]; 2],
    opset: i64,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
) -> Case {
    let graph = GraphProto {
        node: nodes,
        initializer: constants,
        input: vec![f32_value("x", Some(shape))],
        output: vec![f32_value("y", Some(output))],
        ..GraphProto::default()
    };
    Case {
        name,
        model: encode(graph, opset),
        shape,
    }
}

/// A QuantizeLinear and a DequantizeLinear with the scale and zero point `of`.
fn pair(from: &str, quantized: &str, to: &str, of: &str) -> [NodeProto; 2] {
    let (scale, zero) = (format!("{of}.scale"), format!("{of}.zero"));
    [
        node("QuantizeLinear", &[from, &scale, &zero], quantized),
        node("DequantizeLinear", &[quantized, &scale, &zero], to),
    ]
}

fn grid(of: &str, scale: f32, zero: u8) -> [TensorProto; 2] {
    [
        constant(&format!("{of}.scale"), &[], &[scale]),
        constant(&format!("{of}.zero"), &[], &[zero]),
    ]
}

/// Values that are quantized anew by another scale, twice.
fn double_pairs() -> Case {
    let nodes = [
        pair("x", "q1", "d1", "a"),
        pair("d1", "q2", "d2", "b"),
        pair("d2", "q3", "y", "c"),
    ];
    let constants = [
        grid("a", 0.021, 120),
        grid("b", 0.034, 131),
        grid("c", 0.027, 125),
    ];
    case(
        "double pairs",
        [&[1, 3, 8, 8]; 2],
        13,
        nodes.concat(),
        constants.concat(),
    )
}

/// Values that are quantized anew by a scale of two steps, so that half of them lie on a half, and by a third. Some
/// engines send halves to the other neighbour, which is no fault and moves as many values by as much as one is: to leave
/// out a quantization.
fn halves() -> Case {
    let nodes = [
        pair("x", "q1", "d1", "a"),
        pair("d1", "q2", "d2", "b"),
        pair("d2", "q3", "y", "c"),
    ];
    let constants = [
        grid("a", 0.25, 127),
        grid("b", 0.5, 113),
        grid("c", 0.375, 125),
    ];
    case(
        "halves",
        [&[1, 3, 8, 8]; 2],
        13,
        nodes.concat(),
        constants.concat(),
    )
}

/// A sum whose halves engines round in different ways, which is no fault, before values that are quantized anew by
/// another scale: who is led to the sum was not asked by what rounding alone does to it.
fn rounding_before_a_fault() -> Case {
    let sum = vec![node("Add", &["d1", "d1"], "sum")];
    let nodes = [
        pair("x", "q1", "d1", "a").to_vec(),
        sum,
        pair("sum", "q2", "d2", "b").to_vec(),
        pair("d2", "q3", "d3", "c").to_vec(),
        pair("d3", "q4", "y", "e").to_vec(),
    ];
    // Twice a step of the first is a half of the second.
    let constants = [
        grid("a", 0.04, 128),
        grid("b", 0.16, 131),
        grid("c", 0.2096, 120),
        grid("e", 0.1712, 126),
    ];
    case(
        "rounding before a fault",
        [&[1, 3, 8, 8]; 2],
        13,
        nodes.concat(),
        constants.concat(),
    )
}

/// Softmax over the last of four axes, between quantized values.
fn softmax() -> Case {
    let mut nodes = pair("x", "q1", "d1", "a").to_vec();
    nodes.push(node("Softmax", &["d1"], "s").with(AttributeProto::int("axis", -1)));
    nodes.extend(pair("s", "q2", "y", "b"));
    let constants = [grid("a", 0.05, 128), grid("b", 1.0 / 256.0, 0)];
    case("softmax", [&[1, 3, 1, 8]; 2], 13, nodes, constants.concat())
}

/// A QuantizeLinear whose type is an attribute, since it has no zero point.
fn output_dtype() -> Case {
    let int8 = AttributeProto::int("output_dtype", 3);
    let nodes = vec![
        node("QuantizeLinear", &["x", "scale"], "q").with(int8),
        node("DequantizeLinear", &["q", "scale"], "y"),
    ];
    let constants = vec![constant("scale", &[], &[0.03_f32])];
    case("output dtype", [&[1, 8]; 2], 21, nodes, constants)
}

/// An image that is made twice as large between quantized values.
fn resize() -> Case {
    let mut nodes = pair("x", "q1", "d1", "a").to_vec();
    nodes.push(
        node("Resize", &["d1", "", "scales"], "r")
            .with(AttributeProto::text("mode", "linear"))
            .with(AttributeProto::text(
                "coordinate_transformation_mode",
                "half_pixel",
            )),
    );
    nodes.extend(pair("r", "q2", "y", "b"));
    let mut constants = [grid("a", 0.03, 128), grid("b", 0.0283, 128)].concat();
    constants.push(constant("scales", &[4], &[1.0_f32, 1.0, 2.0, 2.0]));
    case(
        "resize",
        [&[1, 1, 8, 8], &[1, 1, 16, 16]],
        13,
        nodes,
        constants,
    )
}

/// Activations with a scale for each channel.
fn per_axis() -> Case {
    let axis = || AttributeProto::int("axis", 1);
    let mut nodes: Vec<NodeProto> = pair("x", "q1", "d1", "a")
        .into_iter()
        .map(|n| n.with(axis()))
        .collect();
    nodes.push(node("Sigmoid", &["d1"], "s"));
    nodes.extend(pair("s", "q2", "y", "b"));
    let mut constants = vec![
        constant("a.scale", &[3], &[0.02_f32, 0.03, 0.05]),
        constant("a.zero", &[3], &[120_u8, 128, 130]),
    ];
    constants.extend(grid("b", 1.0 / 256.0, 0));
    case("per axis", [&[1, 3, 8, 8]; 2], 13, nodes, constants)
}

fn grid_by_channel(of: &str) -> [TensorProto; 2] {
    [
        constant(&format!("{of}.scale"), &[3], &[0.02_f32, 0.03, 0.05]),
        constant(&format!("{of}.zero"), &[3], &[120_u8, 128, 130]),
    ]
}

/// A convolution of such activations, with weights that have one scale.
fn per_axis_convolution() -> Case {
    let axis = |n: NodeProto| n.with(AttributeProto::int("axis", 1));
    let mut nodes = pair("x", "q1", "d1", "a").map(axis).to_vec();
    nodes.extend([
        node("DequantizeLinear", &["w", "w.scale", "w.zero"], "dw"),
        node("Conv", &["d1", "dw"], "conv").with(AttributeProto::ints("kernel_shape", &[1, 1])),
    ]);
    nodes.extend(pair("conv", "q2", "y", "b").map(axis));
    let mut constants = [grid_by_channel("a"), grid_by_channel("b")].concat();
    let weights: Vec<i8> = (0..3 * 3).map(|n: i8| 17 * n - 60).collect();
    constants.extend([
        constant("w", &[3, 3, 1, 1], &weights),
        constant("w.scale", &[], &[0.01_f32]),
        constant("w.zero", &[], &[0_i8]),
    ]);
    case(
        "per axis convolution",
        [&[1, 3, 8, 8]; 2],
        13,
        nodes,
        constants,
    )
}

/// A sum of such activations.
fn per_axis_sum() -> Case {
    let axis = |n: NodeProto| n.with(AttributeProto::int("axis", 1));
    let mut nodes = pair("x", "q1", "d1", "a").map(axis).to_vec();
    nodes.push(node("Add", &["d1", "d1"], "sum"));
    nodes.extend(pair("sum", "q2", "y", "b").map(axis));
    let constants = [grid_by_channel("a"), grid_by_channel("b")].concat();
    case("per axis sum", [&[1, 3, 8, 8]; 2], 13, nodes, constants)
}

/// A dynamically quantized convolution with padding, whose weights of u8 have a zero point in their middle, as quantizers
/// write them.
fn padded_bytes() -> Case {
    let dynamic = NodeProto {
        output: ["q", "q.scale", "q.zero"].map(String::from).to_vec(),
        ..node("DynamicQuantizeLinear", &["above"], "q")
    };
    let convolution = node("ConvInteger", &["q", "w", "q.zero", "w.zero"], "sums")
        .with(AttributeProto::ints("kernel_shape", &[1, 3]))
        .with(AttributeProto::ints("strides", &[1, 1]))
        .with(AttributeProto::ints("pads", &[0, 1, 0, 1]));
    let nodes = vec![
        // No value is below 0, so that the zero point is 0, far from the middle of u8.
        node("Relu", &["x"], "above"),
        dynamic,
        convolution,
        node("Cast", &["sums"], "floats").with(AttributeProto::int("to", 1)),
        node("Mul", &["q.scale", "w.scale"], "scale"),
        node("Mul", &["floats", "scale"], "y"),
    ];
    let weights: Vec<u8> = (0..4 * 3 * 3).map(|n: u8| 7 * (n % 31) + 20).collect();
    let constants = vec![
        constant("w", &[4, 3, 1, 3], &weights),
        constant("w.zero", &[], &[121_u8]),
        constant("w.scale", &[], &[0.01_f32]),
    ];
    case(
        "padded bytes",
        [&[1, 3, 2, 6], &[1, 4, 2, 6]],
        13,
        nodes,
        constants,
    )
}

/// A quantized convolution whose bias is of another scale than the product of those of input and weights.
fn bias_of_another_scale() -> Case {
    let mut nodes = pair("x", "q1", "d1", "a").to_vec();
    nodes.extend([
        node("DequantizeLinear", &["w", "w.scale", "w.zero"], "dw"),
        node("DequantizeLinear", &["bias", "bias.scale"], "db"),
        node("Conv", &["d1", "dw", "db"], "conv"),
    ]);
    nodes.extend(pair("conv", "q2", "y", "b"));
    let mut constants = [grid("a", 0.03, 128), grid("b", 0.0391, 100)].concat();
    let weights: Vec<i8> = (0..2 * 3).map(|n: i8| 17 * n - 40).collect();
    constants.extend([
        constant("w", &[2, 3, 1, 1], &weights),
        constant("w.scale", &[], &[0.01_f32]),
        constant("w.zero", &[], &[0_i8]),
        constant("bias", &[2], &[300_i32, -200]),
        constant("bias.scale", &[], &[0.002_f32]),
    ]);
    case(
        "bias of another scale",
        [&[1, 3, 4, 4], &[1, 2, 4, 4]],
        13,
        nodes,
        constants,
    )
}

/// A convolution whose pairs of products do not fit into 16 bits: none of [`cases`], because what engines give depends on
/// the processor.
pub fn saturating() -> Case {
    let mut nodes = pair("x", "q1", "d1", "a").to_vec();
    nodes.extend([
        node("DequantizeLinear", &["w", "w.scale", "w.zero"], "dw"),
        node("Conv", &["d1", "dw"], "conv").with(AttributeProto::ints("kernel_shape", &[1, 1])),
    ]);
    nodes.extend(pair("conv", "q2", "y", "b"));
    let mut constants = [grid("a", 0.0235, 127), grid("b", 0.0817, 128)].concat();
    let weights = [127_i8, 120, 125, 118, -127, -121, -119, -124];
    constants.extend([
        constant("w", &[2, 4, 1, 1], &weights),
        constant("w.scale", &[], &[0.01_f32]),
        constant("w.zero", &[], &[0_i8]),
    ]);
    case(
        "saturating",
        [&[1, 4, 4, 4], &[1, 2, 4, 4]],
        13,
        nodes,
        constants,
    )
}

/// The mean of an image, between quantized values.
fn mean() -> Case {
    let mut nodes = pair("x", "q1", "d1", "a").to_vec();
    nodes.push(node("GlobalAveragePool", &["d1"], "m"));
    nodes.extend(pair("m", "q2", "y", "b"));
    let constants = [grid("a", 0.03, 128), grid("b", 0.003, 128)];
    let shapes: [&[usize]; 2] = [&[1, 3, 5, 5], &[1, 3, 1, 1]];
    case("mean", shapes, 13, nodes, constants.concat())
}

/// A product of matrices with weights of a scale for each column.
fn product() -> Case {
    let mut nodes = pair("x", "q1", "d1", "a").to_vec();
    nodes.extend([
        node("DequantizeLinear", &["w", "w.scale", "w.zero"], "dw")
            .with(AttributeProto::int("axis", 1)),
        node("MatMul", &["d1", "dw"], "p"),
    ]);
    nodes.extend(pair("p", "q2", "y", "b"));
    let mut constants = [grid("a", 0.03, 128), grid("b", 0.0391, 100)].concat();
    let weights: Vec<i8> = (0..8 * 3).map(|n: i8| 9 * (n % 13) - 50).collect();
    constants.extend([
        constant("w", &[8, 3], &weights),
        constant("w.scale", &[3], &[0.01_f32, 0.02, 0.015]),
        constant("w.zero", &[3], &[0_i8; 3]),
    ]);
    case("product", [&[4, 8], &[4, 3]], 13, nodes, constants)
}

/// Nothing is wrong with this one.
fn sound() -> Case {
    let nodes = vec![node("Relu", &["x"], "a"), node("Add", &["a", "one"], "y")];
    case(
        "sound",
        [&[1, 3, 4, 4]; 2],
        13,
        nodes,
        vec![constant("one", &[1], &[1.0_f32])],
    )
}
