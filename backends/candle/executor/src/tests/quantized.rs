//! Quantized graphs: which of them run on integers, and that these are what the file means.

use firstpass_onnx::{
    Result,
    data_type::{INT8, INT32, INT64, UINT8},
};

use super::Graph;
use crate::{kernels::Isa, ops::ConvKind};

/// The output of a graph for an input, and the operators that it is made of.
fn run(graph: &Graph, shape: &[usize], input: &[f32]) -> Result<(Vec<f32>, Vec<&'static str>)> {
    let mut found = None;
    for isa in Isa::available() {
        let mut prepared = graph.prepare(isa, shape)?;
        let values = prepared.pass(&[input])?[0].f32s()?.to_vec();
        assert_eq!(prepared.pass(&[input])?[0].f32s()?, values);
        let names: Vec<_> = prepared.operators().map(|(name, _)| name).collect();
        if let Some((expected, _)) = &found {
            assert_eq!(&values, expected, "{}", isa.name());
        }
        found = Some((values, names));
    }
    Ok(found.expect("there is an instruction set"))
}

/// Two pixels of two channels, dequantized: -2, 3, 1 and 0.5.
fn input() -> Graph {
    Graph::new().quantized("x", "x.d", 0.5, 100)
}

const SHAPE: [usize; 4] = [1, 2, 1, 2];
const VALUES: [f32; 4] = [-2.0, 3.0, 1.0, 0.5];

/// A convolution without window by the matrix 1 2, 3 -1 in steps of 0.25.
fn weights(graph: Graph, of: &str) -> Graph {
    let scale = graph.floats("w.scale", &[], &[0.25]);
    let graph = match of {
        "i8" => scale
            .constant(
                "w",
                &[2, 2, 1, 1],
                INT8,
                vec![4, 8, 12, (-4_i8).cast_unsigned()],
            )
            .constant("w.zero", &[], INT8, vec![0]),
        "i8, not symmetric" => scale
            .constant(
                "w",
                &[2, 2, 1, 1],
                INT8,
                vec![5, 9, 13, (-3_i8).cast_unsigned()],
            )
            .constant("w.zero", &[], INT8, vec![1]),
        "u8" => scale
            .constant("w", &[2, 2, 1, 1], UINT8, vec![204, 208, 212, 196])
            .constant("w.zero", &[], UINT8, vec![200]),
        _ => {
            let graph = scale
                .floats("w.float", &[2, 2, 1, 1], &[1.0, 2.0, 3.0, -1.0])
                .constant("w.zero", &[], INT8, vec![0]);
            graph.node("QuantizeLinear", &["w.float", "w.scale", "w.zero"], "w")
        }
    };
    graph.node("DequantizeLinear", &["w", "w.scale", "w.zero"], "w.d")
}

const PRODUCTS: [f32; 4] = [0.0, 4.0, -7.0, 8.5];

#[test]
fn weights_may_be_of_any_bytes() -> Result<()> {
    for of in ["i8", "i8, not symmetric", "u8", "quantized here"] {
        let graph = weights(input(), of).node("Conv", &["x.d", "w.d"], "c");
        let (found, names) = run(&graph.quantized("c", "y", 0.5, 50), &SHAPE, &VALUES)?;
        assert_eq!(found, PRODUCTS, "{of}");
        assert_eq!(names, ["quantize", "int-conv-1x1", "dequantize"], "{of}");
    }
    // 0 - 200 is no i8.
    let graph = input()
        .constant("w", &[1, 2, 1, 1], UINT8, vec![0, 200])
        .floats("w.scale", &[], &[1.0])
        .constant("w.zero", &[], UINT8, vec![200])
        .node("DequantizeLinear", &["w", "w.scale", "w.zero"], "w.d")
        .node("Conv", &["x.d", "w.d"], "c")
        .quantized("c", "y", 1.0, 0);
    let mut prepared = graph.prepare(Isa::Reference, &SHAPE)?;
    let kinds = prepared.operators().filter_map(|(_, kind)| kind);
    assert_eq!(kinds.collect::<Vec<_>>(), [ConvKind::Float]);
    assert_eq!(prepared.pass(&[&VALUES])?[0].f32s()?, [255.0, 0.0]);
    Ok(())
}

#[test]
fn activations_may_be_i8() -> Result<()> {
    let signed = |graph: Graph, from: &str, to: &str, zero: i8| {
        let [s, z, q] = ["scale", "zero", "q"].map(|part| format!("{to}.{part}"));
        graph
            .floats(&s, &[], &[0.5])
            .constant(&z, &[], INT8, vec![zero.cast_unsigned()])
            .node("QuantizeLinear", &[from, &s, &z], &q)
            .node("DequantizeLinear", &[&q, &s, &z], to)
    };
    let graph = weights(signed(Graph::new(), "x", "x.d", -28), "i8");
    let graph = signed(graph.node("Conv", &["x.d", "w.d"], "c"), "c", "y", 127);
    // Of i8 with the zero point 127 the largest number is 0, the smallest -127.5.
    let (found, names) = run(&graph, &SHAPE, &VALUES)?;
    assert_eq!(found, PRODUCTS.map(|value| value.min(0.0)));
    assert_eq!(names, ["quantize", "int-conv-1x1", "dequantize"]);
    // What is quantized to u8 is not dequantized as i8.
    let mixed = Graph::new()
        .quantized("x", "x.d", 0.5, 1)
        .constant("z", &[], INT8, vec![0])
        .node("DequantizeLinear", &["x.d.q", "x.d.scale", "z"], "y");
    assert!(mixed.prepare(Isa::Reference, &SHAPE).is_err());
    Ok(())
}

#[test]
fn what_is_not_quantized_is_computed_as_the_file_writes_it() -> Result<()> {
    let cases = [
        // Nothing quantizes the result.
        weights(input(), "i8").node("Conv", &["x.d", "w.d"], "y"),
        // Only one side is quantized.
        weights(Graph::new(), "i8").node("Conv", &["x", "w.d"], "y"),
        input()
            .floats("w", &[2, 2, 1, 1], &[1.0, 2.0, 3.0, -1.0])
            .node("Conv", &["x.d", "w"], "y"),
    ];
    for graph in cases {
        let mut prepared = graph.prepare(Isa::Reference, &SHAPE)?;
        let kinds = prepared.operators().filter_map(|(_, kind)| kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [ConvKind::Float]);
        assert_eq!(prepared.pass(&[&VALUES])?[0].f32s()?, PRODUCTS);
    }
    // Read as integers and as floats: both.
    let graph = weights(input(), "i8")
        .node("Conv", &["x.d", "w.d"], "c")
        .node("Relu", &["c"], "r")
        .quantized("r", "r.d", 0.5, 0)
        .node("Add", &["r", "r.d"], "y");
    let (found, names) = run(&graph, &SHAPE, &VALUES)?;
    assert_eq!(found, PRODUCTS.map(|value| 2.0 * value.max(0.0)));
    assert!(names.contains(&"int-conv-1x1") && names.contains(&"matmul"));
    Ok(())
}

#[test]
fn a_bias_may_be_computed_from_constants() -> Result<()> {
    // As exporters write it: divided by the product of the scales, cast, dequantized.
    let graph = weights(input(), "i8")
        .floats("b", &[2], &[1.0, -0.5])
        .node("Mul", &["w.scale", "x.d.scale"], "b.scale")
        .node("Shape", &["b.scale"], "b.shape")
        .node_with("ConstantOfShape", &["b.shape"], "b.zero.f", &[])
        .node_with("Cast", &["b.zero.f"], "b.zero", &[("to", &[6])])
        .node("Div", &["b", "b.scale"], "b.steps")
        .node_with("Cast", &["b.steps"], "b.q", &[("to", &[6])])
        .node("DequantizeLinear", &["b.q", "b.scale", "b.zero"], "b.d")
        .node("Conv", &["x.d", "w.d", "b.d"], "c")
        .quantized("c", "y", 0.5, 50);
    let (found, names) = run(&graph, &SHAPE, &VALUES)?;
    assert_eq!(found, [1.0, 5.0, -7.5, 8.0]);
    assert_eq!(names, ["quantize", "int-conv-1x1", "dequantize"]);
    Ok(())
}

#[test]
fn products_with_quantized_matrices_are_on_integers() -> Result<()> {
    // Rows -2 3 and 1 0.5, by columns 1 2 and 3 -1, plus 1 and -1.
    let weights = |dims: &[usize], values: &[i8]| {
        input()
            .bytes("w", dims, values)
            .floats("w.scale", &[2], &[0.25, 0.5])
            .floats("b", &[2], &[1.0, -1.0])
    };
    let by_row = weights(&[2, 2], &[4, 8, 6, -2]).node_with(
        "DequantizeLinear",
        &["w", "w.scale"],
        "w.d",
        &[("axis", &[0])],
    );
    let by_column = weights(&[2, 2], &[4, 6, 8, -2]).node_with(
        "DequantizeLinear",
        &["w", "w.scale"],
        "w.d",
        &[("axis", &[1])],
    );
    let gemm = by_row.node_with("Gemm", &["x.d", "w.d", "b"], "c", &[("transB", &[1])]);
    let added =
        by_column
            .clone()
            .node("MatMul", &["x.d", "w.d"], "p")
            .node("Add", &["p", "b"], "c");
    let plain = by_column.node("Gemm", &["x.d", "w.d", "b"], "c");
    for graph in [gemm, added, plain] {
        let graph = graph.node("Relu", &["c"], "r").quantized("r", "y", 0.5, 50);
        let (found, names) = run(&graph, &[2, 2], &VALUES)?;
        assert_eq!(found, [5.0, 0.0, 3.0, 1.5]);
        assert_eq!(names, ["quantize", "int-conv-1x1", "dequantize"]);
    }
    Ok(())
}

#[test]
fn what_only_moves_values_moves_integers() -> Result<()> {
    let ints = |values: &[i64]| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let pool = input().node_with(
        "MaxPool",
        &["x.d"],
        "m",
        &[("kernel_shape", &[1, 2]), ("pads", &[0, 1, 0, 1])],
    );
    let shuffled = input()
        .constant("s", &[5], INT64, ints(&[1, 2, 1, 1, 2]))
        .node("Reshape", &["x.d", "s"], "r")
        .quantized("r", "r.d", 0.5, 100)
        .node_with("Transpose", &["r.d"], "t", &[("perm", &[0, 2, 1, 3, 4])])
        .quantized("t", "t.d", 0.5, 100)
        .constant("back", &[4], INT64, ints(&[1, 2, 1, 2]))
        .node("Reshape", &["t.d", "back"], "m");
    let twice = input().node_with("Concat", &["x.d", "x.d"], "m", &[("axis", &[1])]);
    let cases: [(Graph, &[f32], &[&str]); 3] = [
        (pool, &[-2.0, 3.0, 3.0, 1.0, 1.0, 0.5], &["int-max-pool"]),
        (shuffled, &VALUES, &["reshape", "transpose", "reshape"]),
        (
            twice,
            &[-2.0, 3.0, 1.0, 0.5, -2.0, 3.0, 1.0, 0.5],
            &["int-channels"],
        ),
    ];
    for (graph, expected, moving) in cases {
        let same = graph.clone().quantized("m", "y", 0.5, 100);
        let (found, names) = run(&same, &SHAPE, &VALUES)?;
        assert_eq!(found, expected);
        assert_eq!(names, [&["quantize"], moving, &["dequantize"]].concat());
        // Where the output is quantized otherwise, as the file writes it.
        let other = graph.quantized("m", "y", 0.25, 100);
        let (found, names) = run(&other, &SHAPE, &VALUES)?;
        assert_eq!(found, expected);
        assert_eq!(names.iter().filter(|name| **name == "quantize").count(), 2);
    }
    Ok(())
}

#[test]
fn functions_of_one_value_are_tables() -> Result<()> {
    let values: Vec<f32> = (0..240).map(|i| f32::from(i as u8) * 0.05 - 6.0).collect();
    let shape = [1, 4, 6, 10];
    let of = |function: fn(Graph) -> Graph| function(Graph::new().quantized("x", "x.d", 0.05, 120));
    let cases: [fn(Graph) -> Graph; 3] = [
        |graph| graph.node("Sigmoid", &["x.d"], "f"),
        |graph| {
            graph
                .node("HardSigmoid", &["x.d"], "h")
                .node("Mul", &["x.d", "h"], "f")
        },
        |graph| {
            let graph = graph
                .floats("half", &[], &[0.5])
                .node("Sub", &["x.d", "half"], "h");
            graph.node("Tanh", &["h"], "t").node("Relu", &["t"], "f")
        },
    ];
    for case in cases {
        let (floats, _) = run(&of(case).node("Identity", &["f"], "y"), &shape, &values)?;
        let graph = of(case).quantized("f", "y", 0.02, 30);
        let (found, names) = run(&graph, &shape, &values)?;
        assert_eq!(names, ["quantize", "int-table", "dequantize"]);
        let expected: Vec<f32> = floats
            .iter()
            .map(|value| (value / 0.02_f32).round_ties_even() + 30.0)
            .map(|step| (step.clamp(0.0, 255.0) - 30.0) * 0.02)
            .collect();
        assert_eq!(found, expected);
    }
    Ok(())
}

#[test]
fn quantized_operands_are_broadcast() -> Result<()> {
    let graph = input()
        .node_with("ReduceMax", &["x.d"], "most", &[("axes", &[2, 3])])
        .quantized("most", "most.d", 0.5, 0)
        .node("Add", &["x.d", "most.d"], "sum")
        .quantized("sum", "y", 0.5, 100);
    let (found, names) = run(&graph, &SHAPE, &VALUES)?;
    assert_eq!(found, [1.0, 6.0, 2.0, 1.5]);
    assert!(names.contains(&"int-add"));
    Ok(())
}

#[test]
fn what_cannot_be_read_is_refused() {
    let twice = |zero: usize| {
        Graph::new()
            .floats("s", &[], &[0.1])
            .constant("z", &[zero], UINT8, vec![0; zero])
            .node("QuantizeLinear", &["x", "s", "z"], "q")
            .node("DequantizeLinear", &["q", "s", "z"], "y")
    };
    assert!(twice(1).prepare(Isa::Reference, &SHAPE).is_ok());
    for graph in [
        twice(2),
        twice(0),
        input()
            .constant("b", &[1], INT32, vec![0; 4])
            .node("Add", &["x.d.q", "b"], "y"),
    ] {
        assert!(graph.prepare(Isa::Reference, &SHAPE).is_err());
    }
}
