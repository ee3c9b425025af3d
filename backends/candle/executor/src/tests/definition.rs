//! Quantized graphs as ONNX defines them: what the file's floats say is what comes out.

use firstpass_onnx::{
    AttributeProto, Result, Values,
    data_type::{FLOAT16, INT8, INT32, INT64, UINT8},
    write::node,
};

use super::Graph;
use crate::{kernels::Isa, ops::ConvKind};

/// A value quantized and dequantized, as ONNX defines it.
fn through(value: f32, scale: f32, zero: u8) -> f32 {
    let q = (value / scale).round_ties_even() + f32::from(zero);
    (q.clamp(0.0, 255.0) - f32::from(zero)) * scale
}

/// Halfway between the steps of a scale, where dividing and multiplying part.
fn ties(scale: f32) -> Vec<f32> {
    (0..256).map(|k| (k as f32 - 128.0 + 0.5) * scale).collect()
}

#[test]
fn values_are_divided_by_the_scale() -> Result<()> {
    let values = ties(0.16);
    let expected: Vec<f32> = values.iter().map(|&v| through(v, 0.16, 128)).collect();
    let (found, _) = Graph::new()
        .quantized("x", "y", 0.16, 128)
        .run(&[1, 256], &values)?;
    assert_eq!(found, expected);
    // So it is behind any operator on floats, and in images.
    let (found, _) = Graph::new()
        .node("Neg", &["x"], "n")
        .node("Neg", &["n"], "m")
        .quantized("m", "y", 0.16, 128)
        .run(&[1, 4, 8, 8], &values)?;
    assert_eq!(found, expected);
    let by_inverse = |v: f32| {
        (v * (1.0 / 0.16_f32))
            .round_ties_even()
            .clamp(-128.0, 127.0)
            * 0.16
    };
    let multiplied: Vec<f32> = values.iter().map(|&v| by_inverse(v)).collect();
    assert_ne!(multiplied, expected, "the two must differ here");
    // In fbgemm's files, which have float biases, they are multiplied by one over it.
    let fbgemm = |graph: Graph| {
        graph
            .bytes("w", &[1, 1, 1, 1], &[1])
            .floats("w.scale", &[], &[1.0])
            .node("DequantizeLinear", &["w", "w.scale"], "w.d")
            .floats("b", &[1], &[0.0])
    };
    let (found, kinds) = fbgemm(Graph::new())
        .quantized("x", "x.d", 0.16, 128)
        .node("Conv", &["x.d", "w.d", "b"], "c")
        .quantized("c", "y", 0.16, 128)
        .run(&[1, 1, 16, 16], &values)?;
    assert_eq!(found, multiplied);
    assert_eq!(kinds, [ConvKind::Integer]);
    Ok(())
}

#[test]
fn sums_are_those_of_the_dequantized_values() -> Result<()> {
    let values: Vec<f32> = (0..256).map(|k| k as f32 * 0.05 - 6.0).collect();
    let graph = Graph::new()
        .quantized("x", "a", 0.05, 120)
        .quantized("x", "b", 0.07, 100)
        .node("Add", &["a", "b"], "s")
        .quantized("s", "y", 0.06, 110);
    let expected: Vec<f32> = values
        .iter()
        .map(|&v| through(through(v, 0.05, 120) + through(v, 0.07, 100), 0.06, 110))
        .collect();
    for isa in Isa::available() {
        let mut prepared = graph.prepare(isa, &[256])?;
        assert_eq!(prepared.pass(&[&values])?[0].f32s()?, expected);
    }
    Ok(())
}

#[test]
fn operands_of_other_ranks_are_broadcast() -> Result<()> {
    let values: Vec<f32> = (0..24).map(|k| k as f32 - 12.0).collect();
    // [1, 2, 3, 4] and its largest values along the channels, of rank 3.
    let (found, _) = Graph::new()
        .quantized("x", "a", 1.0, 128)
        .node_with(
            "ReduceMax",
            &["x"],
            "m",
            &[("axes", &[0, 1]), ("keepdims", &[0])],
        )
        .constant("one", &[1], INT64, 0_i64.to_le_bytes().to_vec())
        .node("Unsqueeze", &["m", "one"], "u")
        .quantized("u", "b", 1.0, 128)
        .node("Add", &["a", "b"], "s")
        .quantized("s", "y", 1.0, 128)
        .run(&[1, 2, 3, 4], &values)?;
    let expected: Vec<f32> = (0..24)
        .map(|k: usize| values[k] + values[12 + k % 12])
        .collect();
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn other_scales_behind_dequantizing_are_another_grid() -> Result<()> {
    let values: Vec<f32> = (0..256).map(|k| k as f32 * 0.1 - 12.8).collect();
    let graph = Graph::new()
        .quantized("x", "a", 0.1, 128)
        .quantized("a", "y", 0.16, 99);
    let expected: Vec<f32> = values
        .iter()
        .map(|&v| through(through(v, 0.1, 128), 0.16, 99))
        .collect();
    assert_eq!(graph.run(&[1, 4, 8, 8], &values)?.0, expected);
    Ok(())
}

/// An image of two channels by two weights each, and what quantizes the sums.
fn conv(bias: impl FnOnce(Graph) -> Graph) -> Graph {
    let graph = Graph::new()
        .quantized("x", "x.d", 0.5, 10)
        .bytes("w", &[2, 2, 1, 1], &[2, -1, 3, 1])
        .floats("w.scale", &[], &[0.25])
        .node("DequantizeLinear", &["w", "w.scale"], "w.d");
    bias(graph)
        .node("Conv", &["x.d", "w.d", "b"], "c")
        .quantized("c", "y", 0.125, 100)
}

#[test]
fn a_bias_may_be_of_any_kind() -> Result<()> {
    let values = [1.0, 2.0, -1.5, 4.0];
    let expected = |bias: [f32; 2]| {
        let pixel = |p: usize| {
            [
                0.5 * values[p] - 0.25 * values[2 + p],
                0.75 * values[p] + 0.25 * values[2 + p],
            ]
        };
        let of = |channel: usize, p: usize| through(pixel(p)[channel] + bias[channel], 0.125, 100);
        vec![of(0, 0), of(0, 1), of(1, 0), of(1, 1)]
    };
    let dequantized = |graph: Graph, data_type: i32, raw: Vec<u8>, scale: f32| {
        graph
            .constant("b.q", &[2], data_type, raw)
            .floats("b.scale", &[], &[scale])
            .node("DequantizeLinear", &["b.q", "b.scale"], "b")
    };
    let wide = [3_i32, -4].map(i32::to_le_bytes).concat();
    let cases = [
        // i8 behind DequantizeLinear.
        (
            conv(|g| dequantized(g, INT8, vec![5, 0xfe], 0.25)),
            [1.25, -0.5],
            ConvKind::Integer,
        ),
        // i32 on the scale of the sums, and on another.
        (
            conv(|g| dequantized(g, INT32, wide.clone(), 0.125)),
            [0.375, -0.5],
            ConvKind::Integer,
        ),
        (
            conv(|g| dequantized(g, INT32, wide.clone(), 0.5)),
            [1.5, -2.0],
            ConvKind::Integer,
        ),
        // One that the input decides.
        (
            conv(|g| {
                let attributes: [(&str, &[usize]); 2] = [("axes", &[0, 2, 3]), ("keepdims", &[0])];
                g.node_with("ReduceMax", &["x"], "b", &attributes)
            }),
            [2.0, 4.0],
            ConvKind::Float,
        ),
    ];
    for (graph, bias, kind) in cases {
        let (found, kinds) = graph.run(&[1, 2, 1, 2], &values)?;
        assert_eq!(found, expected(bias), "{bias:?}");
        assert_eq!(kinds, [kind], "{bias:?}");
    }
    Ok(())
}

#[test]
fn products_are_of_any_rank() -> Result<()> {
    let values: Vec<f32> = (0..24).map(|k| (k * 7 % 11) as f32 - 5.0).collect();
    let graph = Graph::new()
        .quantized("x", "x.d", 1.0, 128)
        .bytes("w", &[4, 2], &[1, -1, 2, 0, 0, 3, 1, 1])
        .floats("w.scale", &[2], &[0.5, 1.0])
        .node_with(
            "DequantizeLinear",
            &["w", "w.scale"],
            "w.d",
            &[("axis", &[1])],
        )
        .node("MatMul", &["x.d", "w.d"], "p")
        .quantized("p", "y", 0.5, 128);
    let expected: Vec<f32> = values
        .chunks_exact(4)
        .flat_map(|v| [0.5 * v[0] + v[1] + 0.5 * v[3], -v[0] + 3.0 * v[2] + v[3]])
        .collect();
    for shape in [
        &[6, 4][..],
        &[2, 3, 4],
        &[1, 2, 3, 4],
        &[3, 1, 2, 4],
        &[1, 1, 2, 3, 4],
    ] {
        let (found, kinds) = graph.run(shape, &values)?;
        assert_eq!(found, expected, "{shape:?}");
        assert_eq!(kinds, [ConvKind::Integer]);
    }
    assert_eq!(graph.run(&[4], &values[..4])?.0, expected[..2]);
    Ok(())
}

#[test]
fn windows_may_be_over_a_line() -> Result<()> {
    let values = [1.0, -2.0, 3.0, 0.0, 5.0, 2.0, 2.0, -1.0, 0.0, 1.0];
    // Two channels of five values; three taps, padded by one, two steps at a time.
    let weights = [1, 0, -1, 2, 1, 0];
    let attributes: [(&str, AttributeProto); 2] = [
        ("pads", AttributeProto::ints("pads", &[1, 1])),
        ("strides", AttributeProto::ints("strides", &[2])),
    ];
    let conv = |inputs: &[&str], output: &str| {
        let made = node("Conv", inputs, output);
        attributes
            .iter()
            .fold(made, |made, (_, a)| made.with(a.clone()))
    };
    let at = |channel: usize, place: isize| match place {
        0..5 => values[channel * 5 + place as usize],
        _ => 0.0,
    };
    let expected: Vec<f32> = (0..3)
        .map(|p| {
            let first = 2 * p - 1;
            at(0, first) - at(0, first + 2) + 2.0 * at(1, first) + at(1, first + 1)
        })
        .collect();
    let (found, kinds) = Graph::new()
        .quantized("x", "x.d", 1.0, 128)
        .bytes("w", &[1, 2, 3], &weights)
        .floats("w.scale", &[], &[1.0])
        .node("DequantizeLinear", &["w", "w.scale"], "w.d")
        .with(conv(&["x.d", "w.d"], "c"))
        .quantized("c", "y", 1.0, 128)
        .run(&[1, 2, 5], &values)?;
    assert_eq!((found, kinds), (expected.clone(), vec![ConvKind::Integer]));
    let floats = weights.map(f32::from);
    let (found, kinds) = Graph::new()
        .floats("w", &[1, 2, 3], &floats)
        .with(conv(&["x", "w"], "y"))
        .run(&[1, 2, 5], &values)?;
    assert_eq!((found, kinds), (expected, vec![ConvKind::Float]));
    let pool = node("MaxPool", &["x.d"], "m")
        .with(AttributeProto::ints("kernel_shape", &[3]))
        .with(AttributeProto::ints("strides", &[2]));
    let (found, _) = Graph::new()
        .quantized("x", "x.d", 1.0, 128)
        .with(pool)
        .quantized("m", "y", 1.0, 128)
        .run(&[1, 2, 5], &values)?;
    assert_eq!(found, [3.0, 5.0, 2.0, 1.0]);
    Ok(())
}

#[test]
fn bytes_may_be_cast_to_bytes() -> Result<()> {
    let cast = |to: i32| {
        move |graph: Graph, from: &str, name: &str| {
            graph.with(node("Cast", &[from], name).with(AttributeProto::int("to", to.into())))
        }
    };
    let values = [-2.0, 0.0, 3.0, 60.0, 200.0, -200.0];
    let quantized = || {
        Graph::new()
            .floats("s", &[], &[0.5])
            .constant("z", &[], UINT8, vec![128])
            .constant("zi", &[], INT8, vec![0])
            .node("QuantizeLinear", &["x", "s", "z"], "q")
    };
    // PyTorch writes a cast that changes nothing.
    let same = cast(UINT8)(quantized(), "q", "c").node("DequantizeLinear", &["c", "s", "z"], "y");
    let expected = values.map(|v| through(v, 0.5, 128));
    assert_eq!(same.run(&[6], &values)?.0, expected);
    // One to the other sign reads the bits anew.
    let other = cast(INT8)(quantized(), "q", "c").node("DequantizeLinear", &["c", "s", "zi"], "y");
    let q = values.map(|v| (v / 0.5).round_ties_even().clamp(-128.0, 127.0) as i32 + 128);
    let expected = q.map(|q| f32::from(q as u8 as i8) * 0.5);
    assert_eq!(other.run(&[6], &values)?.0, expected);
    // One to floats gives the integers.
    let floats = cast(1)(quantized(), "q", "y");
    assert_eq!(floats.run(&[6], &values)?.0, q.map(|q| q as f32));
    Ok(())
}

#[test]
fn a_type_may_be_named_instead_of_a_zero_point() -> Result<()> {
    let quantize = node("QuantizeLinear", &["x", "s"], "q")
        .with(AttributeProto::int("output_dtype", INT8.into()));
    let graph = Graph::new().floats("s", &[], &[0.5]).with(quantize).node(
        "DequantizeLinear",
        &["q", "s"],
        "y",
    );
    let (found, _) = graph.run(&[4], &[-3.0, 70.0, -70.0, 0.25])?;
    assert_eq!(found, [-3.0, 63.5, -64.0, 0.0]);
    // The integers themselves are an output of i8.
    let mut graph = graph;
    graph.0.node.pop();
    graph.0.node[0].output = vec!["y".into()];
    let mut prepared = graph.prepare(Isa::Reference, &[4])?;
    let found = prepared.pass(&[&[-3.0, 70.0, -70.0, 0.25]])?;
    assert_eq!(found[0].values, Values::I8(vec![-6, 127, -128, 0].into()));
    Ok(())
}

#[test]
fn scales_may_lie_along_an_axis_or_in_blocks() -> Result<()> {
    let values = [1.0, -1.0, 3.0, 4.0, 0.5, 0.25, -8.0, 7.0];
    let both = |graph: Graph, attributes: &[(&str, &[usize])]| {
        graph
            .node_with("QuantizeLinear", &["x", "s", "z"], "q", attributes)
            .node_with("DequantizeLinear", &["q", "s", "z"], "y", attributes)
    };
    let scales = [0.5, 0.25, 2.0, 1.0];
    let along =
        Graph::new()
            .floats("s", &[4], &scales)
            .constant("z", &[4], UINT8, vec![0, 10, 20, 128]);
    let (found, _) = both(along, &[("axis", &[1])]).run(&[2, 4], &values)?;
    let zeros = [0, 10, 20, 128];
    let expected: Vec<f32> = (0..8)
        .map(|i| through(values[i], scales[i % 4], zeros[i % 4]))
        .collect();
    assert_eq!(found, expected);
    let blocks = Graph::new().floats("s", &[2, 2], &scales).constant(
        "z",
        &[2, 2],
        UINT8,
        vec![0, 10, 20, 128],
    );
    let attributes: [(&str, &[usize]); 2] = [("axis", &[1]), ("block_size", &[2])];
    let (found, _) = both(blocks, &attributes).run(&[2, 4], &values)?;
    let expected: Vec<f32> = (0..8)
        .map(|i| through(values[i], scales[i / 2], zeros[i / 2]))
        .collect();
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn indices_may_be_computed() -> Result<()> {
    let graph = Graph::new()
        .with(node("Cast", &["x"], "i").with(AttributeProto::int("to", INT64.into())))
        .bytes("table", &[3, 2], &[1, 2, -3, 4, 5, -6])
        .floats("s", &[], &[0.5])
        .node("DequantizeLinear", &["table", "s"], "t")
        .node("Gather", &["t", "i"], "y");
    let mut prepared = graph.prepare(Isa::Reference, &[4])?;
    for (indices, expected) in [
        (
            [0.0, 2.0, -1.0, 1.0],
            [0.5, 1.0, 2.5, -3.0, 2.5, -3.0, -1.5, 2.0],
        ),
        (
            [1.0, 1.0, 0.0, 0.0],
            [-1.5, 2.0, -1.5, 2.0, 0.5, 1.0, 0.5, 1.0],
        ),
    ] {
        assert_eq!(prepared.pass(&[&indices])?[0].f32s()?, expected);
    }
    let error = prepared
        .pass(&[&[0.0, 3.0, 0.0, 0.0]])
        .expect_err("there is no such row");
    assert!(error.to_string().contains("out of range"), "{error}");
    Ok(())
}

#[test]
fn a_choice_by_a_constant_is_made_when_the_model_is_loaded() -> Result<()> {
    let branch = |operator: &str| Graph::new().node(operator, &["x"], "inner").0;
    for (condition, expected) in [(1, [-1.0, 2.0]), (0, [1.0, 2.0])] {
        let attribute = |name: &str, operator: &str| {
            let mut graph = branch(operator);
            graph.input.clear();
            graph.output[0].name = "inner".into();
            AttributeProto {
                name: name.into(),
                g: Some(graph),
                r#type: 5,
                ..Default::default()
            }
        };
        let chosen = node("If", &["c"], "y")
            .with(attribute("then_branch", "Neg"))
            .with(attribute("else_branch", "Abs"));
        let graph = Graph::new()
            .constant("c", &[], 9, vec![condition])
            .with(chosen);
        assert_eq!(graph.run(&[2], &[1.0, -2.0])?.0, expected);
    }
    Ok(())
}

#[test]
fn weights_and_bounds_may_be_computed_or_halves() -> Result<()> {
    // Weights that are the input too: the sum of squares.
    let (found, kinds) = Graph::new()
        .node("Neg", &["x"], "w")
        .node("Conv", &["x", "w"], "y")
        .run(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0])?;
    assert_eq!((found, kinds), (vec![-30.0], vec![ConvKind::Float]));
    let (found, _) = Graph::new()
        .constant("h", &[2], FLOAT16, vec![0, 0x3c, 0, 0xc0])
        .with(node("Cast", &["h"], "f").with(AttributeProto::int("to", 1)))
        .node("Mul", &["x", "f"], "y")
        .run(&[2], &[3.0, 4.0])?;
    assert_eq!(found, [3.0, -8.0]);
    let (found, _) = Graph::new()
        .node_with("ReduceMin", &["x"], "low", &[("keepdims", &[0])])
        .node("Abs", &["low"], "high")
        .node("Clip", &["x", "low", "high"], "y")
        .run(&[3], &[-2.0, 5.0, 1.0])?;
    assert_eq!(found, [-2.0, 2.0, 1.0]);
    Ok(())
}

#[test]
fn what_moves_integers_or_takes_their_maximum_stays_on_integers() -> Result<()> {
    let pool = node("MaxPool", &["q"], "m").with(AttributeProto::ints("kernel_shape", &[1, 2]));
    let graph = Graph::new()
        .floats("s", &[], &[0.5])
        .constant("z", &[], INT8, vec![3])
        .node("QuantizeLinear", &["x", "s", "z"], "q")
        .with(pool)
        .node_with("Transpose", &["m"], "t", &[("perm", &[0, 3, 2, 1])])
        .node("DequantizeLinear", &["t", "s", "z"], "y");
    let values = [-2.0, 1.0, 4.0, -3.0, 0.5, -1.0, 70.0, 2.0];
    let mut prepared = graph.prepare(Isa::Reference, &[1, 2, 1, 4])?;
    let names: Vec<_> = prepared.operators().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["quantize", "int-max-pool", "transpose", "dequantize"]
    );
    let found = prepared.pass(&[&values])?[0].f32s()?.to_vec();
    // 70 is beyond the largest integer, which stands for 62.
    assert_eq!(found, [1.0, 0.5, 4.0, 62.0, 4.0, 62.0]);
    Ok(())
}

#[test]
fn bytes_may_be_computed_with() -> Result<()> {
    // Of every type that buffers hold.
    for (data_type, zero) in [(INT8, 0), (UINT8, 128)] {
        let graph = Graph::new()
            .floats("s", &[], &[1.0])
            .constant("z", &[], data_type, vec![zero])
            .node("QuantizeLinear", &["x", "s", "z"], "q")
            .constant("two", &[2], data_type, vec![2, 3])
            .node("Add", &["q", "two"], "sum")
            .node("DequantizeLinear", &["sum", "s", "z"], "y");
        assert_eq!(graph.run(&[2], &[-5.0, 7.0])?.0, [-3.0, 10.0]);
    }
    Ok(())
}
