//! Operators that read and write integers: QLinearConv and its like, and those of dynamic quantization.

use firstpass_onnx::{
    AttributeProto, Result, Values,
    data_type::{INT8, INT32, UINT8},
    write::node,
};

use super::Graph;
use crate::{kernels::Isa, ops::ConvKind};

const VALUES: [f32; 4] = [-2.0, 3.0, 1.0, 0.5];

/// The input in steps of 0.5 as "q", with "xs" and "xz"; the output scale and zero point "ys" and "yz".
fn quantized() -> Graph {
    Graph::new()
        .floats("xs", &[], &[0.5])
        .constant("xz", &[], UINT8, vec![100])
        .floats("ys", &[], &[0.25])
        .constant("yz", &[], UINT8, vec![50])
        .node("QuantizeLinear", &["x", "xs", "xz"], "q")
}

fn dequantized(graph: Graph) -> Graph {
    graph.node("DequantizeLinear", &["r", "ys", "yz"], "y")
}

fn on_integers(graph: Graph) -> Graph {
    graph
        .floats("ws", &[2], &[0.25, 0.5])
        .constant("wz", &[2], INT8, vec![0, 0])
        .constant("b", &[2], INT32, [8_i32, -4].map(i32::to_le_bytes).concat())
}

#[test]
fn a_convolution_of_integers_is_one() -> Result<()> {
    let graph = on_integers(quantized()).bytes("w", &[2, 2, 1, 1], &[4, 8, 6, -2]);
    let inputs = ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"];
    let graph = dequantized(graph.node("QLinearConv", &inputs, "r"));
    // Columns -2 1 and 3 0.5, by rows 1 2 and 3 -1, plus 1 and -1; the smallest number is -12.5.
    let (found, kinds) = graph.run(&[1, 2, 1, 2], &VALUES)?;
    assert_eq!(found, [1.0, 5.0, -8.0, 7.5]);
    assert_eq!(kinds, [ConvKind::Integer]);
    Ok(())
}

#[test]
fn a_product_of_integers_is_one() -> Result<()> {
    let graph = on_integers(quantized()).bytes("w", &[2, 2], &[4, 6, 8, -2]);
    let inputs = ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz"];
    let (found, kinds) =
        dequantized(graph.clone().node("QLinearMatMul", &inputs, "r")).run(&[2, 2], &VALUES)?;
    assert_eq!(found, [4.0, -9.0, 2.0, 2.5]);
    assert_eq!(kinds, [ConvKind::Integer]);
    let mut gemm = node(
        "QGemm",
        &["q", "xs", "xz", "w", "ws", "wz", "b", "ys", "yz"],
        "r",
    );
    gemm.domain = "com.microsoft".into();
    let (found, kinds) = dequantized(graph.with(gemm)).run(&[2, 2], &VALUES)?;
    assert_eq!(found, [5.0, -10.0, 3.0, 1.5]);
    assert_eq!(kinds, [ConvKind::Integer]);
    Ok(())
}

#[test]
fn what_onnx_runtime_adds_is_what_it_stands_for() -> Result<()> {
    let of = |operator: &str, inputs: &[&str]| {
        let mut made = node(operator, inputs, "r");
        made.domain = "com.microsoft".into();
        dequantized(quantized().with(made)).run(&[2, 2], &VALUES)
    };
    let both = ["q", "xs", "xz", "q", "xs", "xz", "ys", "yz"];
    assert_eq!(of("QLinearAdd", &both)?.0, VALUES.map(|v| v + v));
    assert_eq!(of("QLinearMul", &both)?.0, VALUES.map(|v| v * v));
    let sigmoid = of("QLinearSigmoid", &["q", "xs", "xz", "ys", "yz"])?.0;
    let expected = VALUES.map(|v| (1.0 / (1.0 + (-v).exp()) / 0.25).round_ties_even() * 0.25);
    assert_eq!(sigmoid, expected);
    let unknown = of("QAttention", &both).expect_err("it is not implemented");
    assert!(unknown.to_string().contains("com.microsoft"), "{unknown}");
    Ok(())
}

#[test]
fn sums_of_integers_are_exact() -> Result<()> {
    // 600 products of up to 255 · 255, more than f32 holds exactly.
    let count = 600;
    let weights: Vec<u8> = (0..count).map(|k| (255 - k % 7) as u8).collect();
    let values: Vec<f32> = (0..count).map(|k| (255 - k % 5) as f32).collect();
    let expected: i32 = (0..count)
        .map(|k| (255 - k % 5 - 3) * (255 - k % 7 - 1))
        .sum();
    let graph = Graph::new()
        .with(node("Cast", &["x"], "q").with(AttributeProto::int("to", UINT8.into())))
        .constant("xz", &[], UINT8, vec![3])
        .constant("wz", &[], UINT8, vec![1]);
    let count = count as usize;
    for (operator, dims, shape) in [
        ("MatMulInteger", &[count, 1][..], &[1, count][..]),
        ("MatMulInteger", &[count, 1], &[1, 1, 1, count]),
        ("ConvInteger", &[1, count, 1], &[1, count, 1]),
        ("ConvInteger", &[1, 6, 10, 10], &[1, 6, 10, 10]),
    ] {
        let graph = graph
            .clone()
            .constant("w", dims, UINT8, weights.clone())
            .node(operator, &["q", "w", "xz", "wz"], "y");
        let mut prepared = graph.prepare(Isa::Reference, shape)?;
        let found = prepared.pass(&[&values])?;
        assert_eq!(found[0].values, Values::I32(vec![expected]), "{operator}");
        let kinds: Vec<_> = prepared.operators().filter_map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [ConvKind::Integer]);
    }
    Ok(())
}

#[test]
fn scales_may_be_those_of_the_values() -> Result<()> {
    let mut made = node("DynamicQuantizeLinear", &["x"], "q");
    made.output.extend(["s".into(), "z".into()]);
    let graph = Graph::new()
        .with(made.clone())
        .node("DequantizeLinear", &["q", "s", "z"], "y");
    let values = [-1.0, 0.3, 2.0, 4.1];
    let (found, _) = graph.run(&[4], &values)?;
    let scale = 5.1_f32 / 255.0;
    let zero = (1.0 / scale).round_ties_even();
    let expected = values.map(|v| ((v / scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero);
    assert_eq!(found, expected.map(|q| q * scale));
    // As ONNX Runtime's quantizer writes a layer: its weights, of i8, are scaled behind the sums.
    let graph = Graph::new()
        .with(made)
        .bytes("w", &[2, 1], &[3, -5])
        .constant("wz", &[], INT8, vec![0])
        .floats("ws", &[], &[0.5])
        .node("MatMulInteger", &["q", "w", "z", "wz"], "i")
        .with(node("Cast", &["i"], "f").with(AttributeProto::int("to", 1)))
        .node("Mul", &["s", "ws"], "both")
        .node("Mul", &["f", "both"], "y");
    let (found, kinds) = graph.run(&[2, 2], &values)?;
    let rows = [[expected[0], expected[1]], [expected[2], expected[3]]];
    let sums = rows.map(|[a, b]| (3.0 * a - 5.0 * b) * (scale * 0.5));
    assert_eq!((found, kinds), (sums.to_vec(), vec![ConvKind::Integer]));
    Ok(())
}
