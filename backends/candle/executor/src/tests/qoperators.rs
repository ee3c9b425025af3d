//! Operators that read and write integers: QLinearConv and its like, and those of dynamic quantization.

use firstpass_onnx::{
    AttributeProto, Result, Values,
    data_type::{INT8, INT32, INT64, UINT8},
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

/// What ONNX Runtime 1.32 gives for these bytes.
#[test]
fn results_at_halves_are_those_of_onnx_runtime() -> Result<()> {
    let graph = |scales: [f32; 3], zeros: [u8; 3]| {
        // Integers as they are.
        let mut graph = Graph::new()
            .floats("one", &[], &[1.0])
            .constant("none", &[], UINT8, vec![0])
            .node("QuantizeLinear", &["x", "one", "none"], "q");
        for (name, (scale, zero)) in ["a", "b", "y"].iter().zip(scales.iter().zip(zeros)) {
            graph = graph.floats(&format!("s{name}"), &[], &[*scale]).constant(
                &format!("z{name}"),
                &[],
                UINT8,
                vec![zero],
            );
        }
        graph
    };
    let own = |operator: &str, inputs: &[&str]| {
        let mut made = node(operator, inputs, "r");
        made.domain = "com.microsoft".into();
        made
    };
    let as_floats = || node("DequantizeLinear", &["r", "one"], "y");
    let (left, right) = ([210, 108, 69, 121, 131], [66, 198, 24, 66, 72]);
    let expected = [118.0, 194.0, 36.0, 88.0, 96.0];
    let inputs = ["q", "sa", "za", "other", "sb", "zb", "sy", "zy"];
    let sum = graph([0.02, 0.05, 0.06], [3, 9, 1])
        .constant("other", &[5], UINT8, right.to_vec())
        .with(own("QLinearAdd", &inputs))
        .with(as_floats());
    // Two that are computed, out of one input.
    let slice = |graph: Graph, output: &str, [from, to]: [i64; 2]| {
        let [from_name, to_name] = ["from", "to"].map(|end| format!("{output}/{end}"));
        let bytes = |of: i64| of.to_le_bytes().to_vec();
        graph
            .constant(&from_name, &[1], INT64, bytes(from))
            .constant(&to_name, &[1], INT64, bytes(to))
            .node("Slice", &["q", &from_name, &to_name], output)
    };
    let both = graph([0.02, 0.05, 0.06], [3, 9, 1]);
    let both = slice(slice(both, "left", [0, 5]), "right", [5, 10])
        .with(own(
            "QLinearAdd",
            &["left", "sa", "za", "right", "sb", "zb", "sy", "zy"],
        ))
        .with(as_floats());
    let floats = |all: &[u8]| all.iter().map(|&v| v.into()).collect::<Vec<f32>>();
    for isa in Isa::available() {
        let found = sum.prepare(isa, &[5])?.pass(&[&floats(&left)])?;
        assert_eq!(found[0].f32s()?, expected);
        let all = floats(&[left, right].concat());
        let found = both.prepare(isa, &[10])?.pass(&[&all])?;
        assert_eq!(found[0].f32s()?, expected);
    }
    let inputs = ["q", "sa", "za", "sy", "zy"];
    let mean = own("QLinearAveragePool", &inputs);
    let mean = graph([0.03, 1.0, 0.03], [100, 0, 101])
        .with(mean.with(AttributeProto::ints("kernel_shape", &[2, 2])))
        .with(as_floats());
    let rows = [
        204, 176, 150, 136, 241, 190, 29, 229, 59, 117, 8, 8, 79, 196, 148, 117, 52, 200,
    ];
    let rows = rows.map(|value: u8| f32::from(value));
    // The second lies at 86.5 with its zero point, and at -14.5 without.
    let expected = [127.0, 86.0, 94.0, 164.0, 195.0, 122.0, 108.0, 136.0];
    assert_eq!(mean.run(&[1, 1, 2, 9], &rows)?.0, expected);
    Ok(())
}

#[test]
fn a_product_may_stay_as_it_is() -> Result<()> {
    let graph = on_integers(quantized()).bytes("w", &[2, 2], &[4, 6, 8, -2]);
    let mut gemm = node("QGemm", &["q", "xs", "xz", "w", "ws", "wz", "b"], "y");
    gemm.domain = "com.microsoft".into();
    let (found, _) = graph.with(gemm).run(&[2, 2], &VALUES)?;
    assert_eq!(found, [5.0, -10.0, 3.0, 1.5]);
    Ok(())
}

#[test]
fn an_unknown_operator_is_said_to_be_one() {
    let mut several = node("LSTM", &["x"], "y");
    several.output.push("h".into());
    let graph = Graph::new()
        .with(several)
        .with(node("Add", &["y", "h"], "z"));
    let error = graph.run(&[1], &[1.0]).expect_err("it is not implemented");
    assert!(
        error
            .to_string()
            .contains("this operator is not implemented"),
        "{error}"
    );
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
