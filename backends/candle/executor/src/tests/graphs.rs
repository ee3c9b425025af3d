//! Whole graphs: how they are recognised, and which are refused.

use firstpass_onnx::{
    EngineResult, ErrorKind, Result,
    data_type::{INT32, INT64},
    decode_with_opset,
    write::{encode, f32_value, node},
};
use proptest::{collection::vec, prelude::*};

use super::{Graph, prepare};
use crate::{
    Engine, Settings,
    kernels::Isa,
    ops::ConvKind,
    plan::Plan,
    prepared::{Prepared, Values},
};

/// Every operator that is implemented, in one graph.
fn network() -> Graph {
    let weights = |count: usize| -> Vec<i8> { (0..count).map(|i| (i * 37 % 255) as i8).collect() };
    let attributes: [(&str, &[usize]); 2] = [("pads", &[1, 1, 1, 1]), ("group", &[1])];
    let depthwise: [(&str, &[usize]); 2] = [("pads", &[1, 1, 1, 1]), ("group", &[8])];
    let shape: Vec<u8> = [0_i64, -1, 4]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    Graph::new()
        .quantized("x", "x.d", 0.02, 128)
        .bytes("w1", &[8, 3, 3, 3], &weights(216))
        .floats("w1.scale", &[], &[0.01])
        .node("DequantizeLinear", &["w1", "w1.scale"], "w1.d")
        .floats("b1", &[8], &[0.1; 8])
        .node_with("Conv", &["x.d", "w1.d", "b1"], "c1", &attributes)
        .floats("zero", &[], &[0.0])
        .floats("six", &[], &[6.0])
        .node("Clip", &["c1", "zero", "six"], "c1.clipped")
        .quantized("c1.clipped", "c1.d", 0.05, 0)
        .bytes("w2", &[8, 1, 3, 3], &weights(72))
        .floats("w2.scale", &[8], &[0.01; 8])
        .node_with(
            "DequantizeLinear",
            &["w2", "w2.scale"],
            "w2.d",
            &[("axis", &[0])],
        )
        .node_with("Conv", &["c1.d", "w2.d"], "c2", &depthwise)
        .quantized("c2", "c2.d", 0.06, 100)
        .node("Add", &["c1.d", "c2.d"], "sum")
        .node("Relu", &["sum"], "sum.relu")
        .quantized("sum.relu", "sum.d", 0.07, 90)
        .node("Sigmoid", &["sum.d"], "s")
        .node("Relu", &["s"], "s.relu")
        .node("Add", &["s.relu", "s"], "t")
        .floats("w3", &[8, 8, 1, 1], &[0.25; 64])
        .node("Conv", &["t", "w3"], "f")
        .node("Relu", &["f"], "f.relu")
        .node_with("Concat", &["f.relu", "sum.d"], "both", &[("axis", &[1])])
        .node_with("Transpose", &["both"], "last", &[("perm", &[0, 2, 3, 1])])
        .node_with("Flatten", &["last"], "flat", &[("axis", &[1])])
        .constant("shape", &[3], INT64, shape)
        .node("Reshape", &["flat", "shape"], "shaped")
        .node("Identity", &["shaped"], "y")
}

#[test]
fn runs_every_operator() -> Result<()> {
    let input: Vec<f32> = (0..360).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut prepared = network().prepare(Isa::Reference, &[1, 3, 12, 10])?;
    let expected = prepared.pass(&[&input])?;
    assert_eq!(expected[0].shape(), [1, 480, 4]);
    assert_eq!(
        prepared.pass(&[&input])?,
        expected,
        "a pass must leave nothing to the next"
    );
    for isa in Isa::available() {
        let mut prepared = network().prepare(isa, &[1, 3, 12, 10])?;
        assert_eq!(prepared.pass(&[&input])?, expected, "{}", isa.name());
    }
    let kinds: Vec<_> = prepared.operators().filter_map(|(_, kind)| kind).collect();
    assert_eq!(
        kinds,
        [ConvKind::Integer, ConvKind::Integer, ConvKind::Float]
    );
    Ok(())
}

#[test]
fn names_what_it_does_not_know() {
    let int_weights = |graph: Graph| {
        graph
            .bytes("w", &[1, 1, 1, 1], &[3])
            .floats("w.scale", &[], &[0.5])
            .node("DequantizeLinear", &["w", "w.scale"], "w.d")
    };
    let quantized = || int_weights(Graph::new().quantized("x", "x.d", 0.1, 3));
    let cases = [
        (Graph::new().node("NonZero", &["x"], "y"), "(NonZero)"),
        (Graph::new().node("If", &["x"], "y"), "(If)"),
        // A convolution of integers, as if they were floats.
        (
            quantized().node("Conv", &["x.d.q", "w.d"], "y"),
            "\"y/Conv\" (Conv)",
        ),
        // A shape that the values of the input decide.
        (
            Graph::new()
                .node_with("Cast", &["x"], "s", &[("to", &[7])])
                .node("Reshape", &["x", "s"], "y"),
            "\"y/Reshape\" (Reshape)",
        ),
        // Activations of another type.
        (
            Graph::new()
                .floats("s", &[], &[0.1])
                .constant("z", &[], INT32, vec![0; 4])
                .node("QuantizeLinear", &["x", "s", "z"], "y"),
            "(QuantizeLinear)",
        ),
    ];
    for (graph, part) in cases {
        let error = graph
            .prepare(Isa::Reference, &[1, 1, 4, 4])
            .err()
            .expect("the graph must be refused");
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn refuses_what_is_malformed() {
    let node = |inputs: &[&str]| Graph::new().node("Relu", inputs, "y");
    for graph in [
        Graph::new(),
        node(&["nothing"]),
        node(&["y"]),
        node(&[]),
        node(&["x"]).node("Relu", &["x"], "y"),
        Graph::new().quantized("x", "y", 0.0, 3),
        Graph::new().quantized("x", "y", f32::NAN, 3),
        Graph::new().node_with("Transpose", &["x"], "y", &[("perm", &[0, 0, 1, 2])]),
        Graph::new().node_with("Transpose", &["x"], "y", &[("perm", &[0, 1])]),
        Graph::new().node_with("Concat", &["x", "x"], "y", &[("axis", &[4])]),
        Graph::new()
            .floats("w", &[1, 2, 1, 1], &[1.0, 1.0])
            .node("Conv", &["x", "w"], "y"),
        Graph::new()
            .floats("w", &[1, 1, 9, 9], &[1.0; 81])
            .node("Conv", &["x", "w"], "y"),
    ] {
        assert!(
            graph.prepare(Isa::Reference, &[1, 1, 4, 4]).is_err(),
            "{:?}",
            graph.0.node
        );
    }
}

/// Shapes, windows, slices and rows, to be damaged.
fn floats() -> Graph {
    Graph::new()
        .node_with(
            "MaxPool",
            &["x"],
            "m",
            &[
                ("kernel_shape", &[2, 2]),
                ("strides", &[2, 2]),
                ("ceil_mode", &[1]),
            ],
        )
        .constant("twice", &[4], INT64, whole(&[1, 3, 12, 10]))
        .node("Resize", &["m", "", "", "twice"], "r")
        .constant("start", &[1], INT64, whole(&[1]))
        .constant("end", &[1], INT64, whole(&[-1]))
        .constant("axis", &[1], INT64, whole(&[3]))
        .node("Slice", &["r", "start", "end", "axis"], "s")
        .constant("pads", &[8], INT64, whole(&[0, 0, 0, 1, 0, 0, 0, 1]))
        .node("Pad", &["s", "pads"], "p")
        .node_with("Concat", &["p", "x"], "c", &[("axis", &[1])])
        .node_with("Softmax", &["c"], "soft", &[("axis", &[1])])
        .node("Shape", &["soft"], "shape")
        .node("Gather", &["shape", "axis"], "columns")
        .node_with("Concat", &["end", "columns"], "dims", &[("axis", &[0])])
        .node("Reshape", &["soft", "dims"], "rows")
        .floats("w", &[10, 4], &[0.5; 40])
        .floats("b", &[4], &[1.0; 4])
        .node("Gemm", &["rows", "w", "b"], "g")
        .node_with("ReduceMean", &["g", "start"], "mean", &[("keepdims", &[1])])
        .node("Div", &["g", "mean"], "y")
}

#[test]
fn the_network_that_is_damaged_runs() -> Result<()> {
    let mut prepared = floats().prepare(Isa::Reference, &[1, 3, 12, 10])?;
    assert_eq!(prepared.pass(&[&[0.5; 360]])?[0].shape(), [72, 4]);
    Ok(())
}

fn whole(values: &[i64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// As exporters write `x.view(x.size(0), -1)`, and a tensor of ones of the same batch.
fn of_any_batch() -> Graph {
    Graph::new()
        .constant("zero", &[], INT64, whole(&[0]))
        .constant("axes", &[1], INT64, whole(&[0]))
        .constant("rest", &[1], INT64, whole(&[-1]))
        .node("Shape", &["x"], "shape")
        .node_with("Gather", &["shape", "zero"], "batch", &[("axis", &[0])])
        .node("Unsqueeze", &["batch", "axes"], "first")
        .node_with("Concat", &["first", "rest"], "dims", &[("axis", &[0])])
        .node("Reshape", &["x", "dims"], "flat")
        .constant("one", &[1], INT64, whole(&[1]))
        .node_with("Concat", &["first", "one"], "column", &[("axis", &[0])])
        .node("ConstantOfShape", &["column"], "zeros")
        .node("Exp", &["zeros"], "ones")
        .node("Add", &["flat", "ones"], "y")
}

#[test]
fn shapes_are_computed_when_the_model_is_prepared() -> Result<()> {
    for batch in [1, 3] {
        let mut prepared = of_any_batch().prepare(Isa::Reference, &[batch, 2, 2])?;
        let names: Vec<_> = prepared.operators().map(|(name, _)| name).collect();
        assert_eq!(names, ["reshape", "add"], "nothing else is left for a pass");
        let input: Vec<f32> = (0..4 * batch as u8).map(f32::from).collect();
        let output = &prepared.pass(&[&input])?[0];
        assert_eq!(output.shape(), [batch, 4]);
        let expected: Vec<f32> = input.iter().map(|value| value + 1.0).collect();
        assert_eq!(output.f32s()?, expected);
    }
    Ok(())
}

#[test]
fn truth_values_choose() -> Result<()> {
    let numbers = [("start", 0), ("limit", 4), ("delta", 1)];
    let graph = numbers.iter().fold(Graph::new(), |graph, (name, value)| {
        graph.constant(name, &[], INT64, whole(&[*value]))
    });
    // 0, 1, 2, 3 against -1, 1, 3, 2.
    let graph = graph
        .node("Range", &["start", "limit", "delta"], "range")
        .node_with("Cast", &["range"], "r", &[("to", &[1])])
        .node("Less", &["x", "r"], "less")
        .floats("two", &[], &[2.0])
        .node("Greater", &["x", "two"], "large")
        .node("Or", &["less", "large"], "or")
        .node("And", &["less", "large"], "and")
        .node("Xor", &["or", "and"], "xor")
        .node("Not", &["xor"], "not")
        .node("Not", &["not"], "again")
        .node("Where", &["again", "x", "r"], "y");
    let mut prepared = graph.prepare(Isa::Reference, &[4])?;
    let output = &prepared.pass(&[&[-1.0, 1.0, 3.0, 2.0]])?[0];
    assert_eq!(output.f32s()?, [-1.0, 1.0, 3.0, 2.0]);
    let output = &prepared.pass(&[&[0.0, 9.0, 2.0, 9.0]])?[0];
    assert_eq!(output.f32s()?, [0.0, 9.0, 2.0, 9.0]);
    let output = &prepared.pass(&[&[0.0, 2.0, -5.0, 4.0]])?[0];
    assert_eq!(output.f32s()?, [0.0, 1.0, -5.0, 4.0]);
    Ok(())
}

#[test]
fn a_graph_may_have_several_inputs_and_outputs() -> Result<()> {
    let mut graph = Graph::new().node("Mul", &["x", "i"], "y").0;
    graph.input.push(f32_value("i", None));
    graph.output.push(f32_value("most", None));
    graph.output.push(f32_value("part", None));
    graph.node.push(node("ArgMax", &["x"], "most"));
    let mut split = node("Split", &["x"], "rest");
    split.output.push("part".into());
    graph.node.push(split);
    let graph = decode_with_opset(encode(graph, 18).into())?;
    let plan = Plan::new(&graph, &["i", "x"], &["part", "y", "most"])?;
    let engine = Engine::new(Settings::default())?;
    let mut prepared = Prepared::new(&engine, &plan, &[vec![], vec![3, 1]])?;
    let outputs = prepared.run(&[Values::F32(&[2.0]), Values::F32(&[1.0, 7.0, 3.0])])?;
    assert_eq!(outputs[0].to_vec2::<f32>().engine()?, [[3.0]]);
    assert_eq!(
        outputs[1].to_vec2::<f32>().engine()?,
        [[2.0], [14.0], [6.0]]
    );
    assert_eq!(outputs[2].to_vec2::<i64>().engine()?, [[1]]);
    assert!(prepared.run(&[Values::F32(&[2.0])]).is_err());
    assert!(
        prepared
            .run(&[Values::I64(&[2]), Values::F32(&[0.0; 3])])
            .is_err()
    );
    assert!(Prepared::new(&engine, &plan, &[vec![]]).is_err());
    for inputs in [&["x"][..], &["x", "j"], &["x", "x"], &["x", "i", "i"]] {
        assert!(Plan::new(&graph, inputs, &["y"]).is_err(), "{inputs:?}");
    }
    Ok(())
}

#[test]
fn relu_changes_nothing_that_another_node_reads() -> Result<()> {
    let graph = Graph::new()
        .floats("one", &[], &[1.0])
        .node("Sub", &["x", "one"], "less")
        .node("Identity", &["less"], "same")
        .node("Relu", &["same"], "positive")
        .node("Mul", &["less", "positive"], "y");
    let mut prepared = graph.prepare(Isa::Reference, &[2])?;
    assert_eq!(prepared.pass(&[&[-1.0, 4.0]])?[0].f32s()?, [0.0, 9.0]);
    // Without the other reader it is part of the operator.
    let graph = Graph::new()
        .floats("one", &[], &[1.0])
        .node("Sub", &["x", "one"], "less")
        .node("Relu", &["less"], "y");
    let mut prepared = graph.prepare(Isa::Reference, &[2])?;
    assert_eq!(prepared.pass(&[&[-1.0, 4.0]])?[0].f32s()?, [0.0, 3.0]);
    assert_eq!(prepared.operators().count(), 1);
    Ok(())
}

#[test]
fn absurd_sizes_are_refused() {
    let shape = |values: &[i64]| Graph::new().constant("s", &[values.len()], INT64, whole(values));
    let none = &[("kernel_shape", &[1_usize, 1][..])];
    let cases = [
        shape(&[1 << 40, 4]).node("Expand", &["x", "s"], "y"),
        shape(&[1 << 20, 1 << 20]).node("ConstantOfShape", &["s"], "y"),
        shape(&[1 << 27])
            .node("ConstantOfShape", &["s"], "z")
            .node("Add", &["x", "z"], "y"),
        shape(&[-3]).node("ConstantOfShape", &["s"], "y"),
        shape(&[1 << 40, 1, 1, 1]).node("Tile", &["x", "s"], "y"),
        shape(&[i64::MAX, i64::MAX]).node("Reshape", &["x", "s"], "y"),
        shape(&[0, 0, 0, i64::MAX, 0, 0, 0, i64::MAX]).node("Pad", &["x", "s"], "y"),
        shape(&[0, 0, 0, -5, 0, 0, 0, 0]).node("Pad", &["x", "s"], "y"),
        shape(&[i64::MIN]).node("Gather", &["x", "s"], "y"),
        shape(&[1, 1, 1, 1 << 40]).node("Resize", &["x", "", "", "s"], "y"),
        shape(&[9]).node("Slice", &["x", "s", "s"], "y"),
        shape(&[0]).node("Split", &["x", "s"], "y"),
        shape(&[i64::MIN]).node("Squeeze", &["x", "s"], "y"),
        shape(&[7, 7]).node("Unsqueeze", &["x", "s"], "y"),
        Graph::new().node_with(
            "DepthToSpace",
            &["x"],
            "y",
            &[("blocksize", &[usize::MAX / 2])],
        ),
        Graph::new().node_with("AveragePool", &["x"], "y", &[("strides", &[0, 0]), none[0]]),
        Graph::new().node_with(
            "MaxPool",
            &["x"],
            "y",
            &[("kernel_shape", &[usize::MAX / 2, 1])],
        ),
        Graph::new().node_with(
            "MaxPool",
            &["x"],
            "y",
            &[("pads", &[usize::MAX / 2; 4]), none[0]],
        ),
        Graph::new().node_with(
            "GroupNormalization",
            &["x", "x"],
            "y",
            &[("num_groups", &[0])],
        ),
    ];
    for graph in cases {
        let error = graph.prepare(Isa::Reference, &[1, 1, 4, 4]).err();
        let label = graph.0.node[0].label();
        let error = error.unwrap_or_else(|| panic!("{label} is not refused"));
        assert!(
            error.to_string().contains(&label),
            "{error} does not name {label}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    /// A damaged file gives an error or a model that runs, never a panic.
    #[test]
    fn survives_damage(
        flips in vec((any::<prop::sample::Index>(), 0..8_u32), 1..6),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
        other in any::<bool>(),
    ) {
        let mut bytes = if other { floats().encode() } else { network().encode() };
        for (index, bit) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= 1 << bit;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(mut prepared) = prepare(&bytes, Isa::detect(), &[1, 3, 12, 10]) {
            let _ = prepared.pass(&[&[0.5; 360]]);
        }
    }
}
