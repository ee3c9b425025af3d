//! Values of every type that a file may declare: f16 and bf16, and integers that candle has no type for.

use candle_core::{DType, Tensor};
use firstpass_onnx::{
    AttributeProto, EngineResult, NodeProto, Result, TensorProto, ValueInfoProto, data_type,
    decode_with_opset,
    write::{constant, encode, node},
};
use half::{bf16, f16};

use super::Graph;
use crate::{Engine, Settings, Values, graph::flat, ops::ConvKind, plan::Plan, prepared::Prepared};

/// Says of which type the elements of a value are.
fn declare(value: &mut ValueInfoProto, elements: i32) {
    if let Some(tensor) = value.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()) {
        tensor.elem_type = elements;
    }
}

/// A graph from "x" to "y" of these types.
fn graph(nodes: Vec<NodeProto>, constants: Vec<TensorProto>, types: [i32; 2]) -> Graph {
    let mut graph = Graph::new();
    graph.0.node = nodes;
    graph.0.initializer = constants;
    declare(&mut graph.0.input[0], types[0]);
    declare(&mut graph.0.output[0], types[1]);
    graph
}

fn prepare(graph: &Graph, shape: &[usize]) -> Result<Prepared> {
    let graph = decode_with_opset(encode(graph.0.clone(), 21).into())?;
    let plan = Plan::new(&graph, &["x"], &["y"])?;
    Prepared::new(&Engine::new(Settings::default())?, &plan, &[shape.to_vec()])
}

fn run(graph: &Graph, shape: &[usize], input: Values<'_>) -> Result<Tensor> {
    let mut prepared = prepare(graph, shape)?;
    let first = prepared.run(&[input])?.swap_remove(0).copy().engine()?;
    let again = prepared.run(&[input])?.swap_remove(0);
    let values = |tensor: &Tensor| flat::<f64>(tensor);
    assert_eq!(values(&first)?, values(&again)?, "a pass leaves something");
    Ok(first)
}

fn halves(name: &str, shape: &[usize], values: &[f32], elements: i32) -> TensorProto {
    let bits = |value: &f32| match elements {
        data_type::FLOAT16 => f16::from_f32(*value).to_le_bytes(),
        _ => bf16::from_f32(*value).to_le_bytes(),
    };
    TensorProto {
        data_type: elements,
        raw_data: values.iter().flat_map(bits).collect::<Vec<u8>>().into(),
        ..constant::<f32>(name, shape, &[])
    }
}

#[test]
fn every_operator_rounds_to_the_halves_of_the_file() -> Result<()> {
    // One more than 2048 is no f16, and one more than 256 no bf16: f32 would have 2050 and 258 in the end.
    let steps = || {
        vec![
            node("Add", &["x", "one"], "a"),
            node("Add", &["a", "one"], "y"),
        ]
    };
    let of = data_type::FLOAT16;
    let twice = graph(steps(), vec![halves("one", &[], &[1.0], of)], [of; 2]);
    let found = run(&twice, &[1], Values::F16(&[f16::from_f32(2048.0)]))?;
    assert_eq!(
        (found.dtype(), flat(&found)?),
        (DType::F16, vec![2048.0_f32])
    );
    let of = data_type::BFLOAT16;
    let twice = graph(steps(), vec![halves("one", &[], &[1.0], of)], [of; 2]);
    let found = run(&twice, &[1], Values::BF16(&[bf16::from_f32(256.0)]))?;
    assert_eq!(
        (found.dtype(), flat(&found)?),
        (DType::BF16, vec![256.0_f32])
    );
    Ok(())
}

/// One operator on halves is that on f32, rounded once.
#[test]
fn operators_take_halves() -> Result<()> {
    let ints = |name: &str, values: &[i64]| constant(name, &[values.len()], values);
    let w: Vec<f32> = (0..8).map(|at| 0.37 * at as f32 - 1.1).collect();
    let cases: Vec<(Vec<NodeProto>, Vec<TensorProto>)> = vec![
        (vec![node("Sigmoid", &["x"], "y")], vec![]),
        (vec![node("Relu", &["x"], "y")], vec![]),
        (vec![node("Conv", &["x", "w"], "y")], vec![]),
        (
            vec![node("Conv", &["x", "w"], "c"), node("Relu", &["c"], "y")],
            vec![],
        ),
        (vec![node("ConvTranspose", &["x", "w"], "y")], vec![]),
        (
            vec![node("MatMul", &["x", "m"], "y")],
            vec![constant("m", &[3, 2], &w[..6])],
        ),
        (
            vec![node("LayerNormalization", &["x", "s"], "y")],
            vec![constant("s", &[3], &w[..3])],
        ),
        (vec![node("Softmax", &["x"], "y")], vec![]),
        (vec![node("GlobalAveragePool", &["x"], "y")], vec![]),
        (
            vec![node("MaxPool", &["x"], "y").with(AttributeProto::ints("kernel_shape", &[2, 2]))],
            vec![],
        ),
        (
            vec![node("Pad", &["x", "p"], "y")],
            vec![ints("p", &[0, 0, 1, 0, 0, 0, 0, 2])],
        ),
        (
            vec![node("Slice", &["x", "b", "e", "a", "t"], "y")],
            vec![
                ints("b", &[2]),
                ints("e", &[-9]),
                ints("a", &[3]),
                ints("t", &[-1]),
            ],
        ),
        (vec![node("Transpose", &["x"], "y")], vec![]),
        (
            vec![node("Concat", &["x", "x"], "y").with(AttributeProto::int("axis", 1))],
            vec![],
        ),
        (
            vec![node("ReduceMean", &["x", "a"], "y")],
            vec![ints("a", &[1, 3])],
        ),
        (
            vec![
                node("Less", &["x", "m"], "l"),
                node("Where", &["l", "x", "m"], "y"),
            ],
            vec![constant("m", &[3], &w[..3])],
        ),
        (
            vec![node("Clip", &["x", "b", "e"], "y")],
            vec![
                constant("b", &[], &[-0.3_f32]),
                constant("e", &[], &[0.7_f32]),
            ],
        ),
    ];
    let shape = [1, 2, 3, 3];
    let values: Vec<f32> = (0..18).map(|at| 0.211 * at as f32 - 2.03).collect();
    for elements in [data_type::FLOAT16, data_type::BFLOAT16] {
        let round = |value: f32| match elements {
            data_type::FLOAT16 => f16::from_f32(value).to_f32(),
            _ => bf16::from_f32(value).to_f32(),
        };
        let as_halves: Vec<f32> = values.iter().map(|&value| round(value)).collect();
        for (nodes, constants) in &cases {
            let mut constants = constants.clone();
            constants.push(constant("w", &[2, 2, 1, 1], &w[..4]));
            let of_halves = |tensor: &TensorProto| match tensor.data_type {
                data_type::FLOAT => {
                    let dims: Vec<usize> = tensor.dims.iter().map(|&dim| dim as usize).collect();
                    let values = bytemuck::pod_collect_to_vec::<u8, f32>(&tensor.raw_data);
                    let rounded: Vec<f32> = values.iter().map(|&value| round(value)).collect();
                    (
                        halves(&tensor.name, &dims, &values, elements),
                        constant(&tensor.name, &dims, &rounded),
                    )
                }
                _ => (tensor.clone(), tensor.clone()),
            };
            let (in_halves, in_f32) = constants.iter().map(of_halves).unzip();
            let label = nodes.last().map_or("", |node| node.op_type.as_str());
            let input: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
            let input_b: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
            let input = match elements {
                data_type::FLOAT16 => Values::F16(&input),
                _ => Values::BF16(&input_b),
            };
            let found = run(
                &graph(nodes.clone(), in_halves, [elements; 2]),
                &shape,
                input,
            )?;
            let reals = graph(nodes.clone(), in_f32, [data_type::FLOAT; 2]);
            let expected = run(&reals, &shape, Values::F32(&as_halves))?;
            let expected: Vec<f32> = flat::<f32>(&expected)?.into_iter().map(round).collect();
            assert_ne!(found.dtype(), DType::F32, "{label}");
            assert_eq!(flat::<f32>(&found)?, expected, "{label}");
        }
    }
    Ok(())
}

#[test]
fn scales_may_be_halves() -> Result<()> {
    let of = data_type::FLOAT16;
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "z"], "q"),
        node("DequantizeLinear", &["q", "s", "z"], "d"),
        node("DequantizeLinear", &["w", "s"], "v"),
        node("Mul", &["d", "v"], "y"),
    ];
    let constants = vec![
        halves("s", &[], &[0.25], of),
        constant("z", &[], &[3_u8]),
        constant("w", &[2], &[4_i8, -8]),
    ];
    let input = [1.1, -9.0].map(f16::from_f32);
    let found = run(&graph(nodes, constants, [of; 2]), &[2], Values::F16(&input))?;
    // 4 and, from the lower end of the scale, -3 steps, times 1 and -2.
    assert_eq!(
        (found.dtype(), flat(&found)?),
        (DType::F16, vec![1.0_f32, 1.5])
    );
    Ok(())
}

/// As the standard's reference evaluator does it. ONNX Runtime divides halves in f32.
#[test]
fn a_quotient_of_halves_is_one() -> Result<()> {
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "z"], "q"),
        node("Cast", &["q"], "y").with(AttributeProto::int("to", 1)),
    ];
    let of = data_type::BFLOAT16;
    let constants = vec![
        halves("s", &[], &[255.0 / 256.0], of),
        constant("z", &[], &[0_u8]),
    ];
    let graph = graph(nodes, constants, [of, data_type::FLOAT]);
    let found = run(&graph, &[1], Values::BF16(&[bf16::from_f32(101.0)]))?;
    // 101.396 is 101.5 as bf16, and 101 where it is rounded at once.
    assert_eq!(flat::<f32>(&found)?, [102.0]);
    Ok(())
}

#[test]
fn mean_and_deviation_of_halves_are_f32() -> Result<()> {
    let mut normal = node("LayerNormalization", &["x", "s"], "n");
    normal.output.push("y".into());
    let of = data_type::FLOAT16;
    let scales = vec![halves("s", &[3], &[1.0; 3], of)];
    let input = [1.0, 2.0, 2049.0_f32].map(f16::from_f32);
    let graph = graph(vec![normal], scales, [of, data_type::FLOAT]);
    let found = run(&graph, &[1, 3], Values::F16(&input))?;
    // 2049 is 2048 as f16; the mean is not rounded to f16, where it would be 683.5.
    assert_eq!(found.dtype(), DType::F32);
    let mean = flat::<f32>(&found)?[0];
    assert!((mean - 2051.0 / 3.0).abs() < 1e-3, "{mean}");
    Ok(())
}

#[test]
fn integers_of_every_type_are_given_moved_and_computed() -> Result<()> {
    let nodes = || {
        vec![
            node("Transpose", &["x"], "t"),
            node("Concat", &["t", "t"], "c").with(AttributeProto::int("axis", 0)),
            node("Add", &["c", "c"], "y"),
        ]
    };
    let check = |of: i32, input: Values<'_>, expected: [f64; 4], dtype: DType| -> Result<()> {
        let found = run(&graph(nodes(), vec![], [of; 2]), &[2], input)?;
        assert_eq!((found.dtype(), flat(&found)?), (dtype, expected.to_vec()));
        Ok(())
    };
    let twice = |a: f64, b: f64| [2.0 * a, 2.0 * b, 2.0 * a, 2.0 * b];
    check(
        data_type::UINT8,
        Values::U8(&[3, 100]),
        twice(3.0, 100.0),
        DType::U8,
    )?;
    check(
        data_type::INT8,
        Values::I8(&[-64, 63]),
        twice(-64.0, 63.0),
        DType::I16,
    )?;
    check(
        data_type::UINT16,
        Values::U16(&[0, 32_767]),
        twice(0.0, 32_767.0),
        DType::I32,
    )?;
    check(
        data_type::INT16,
        Values::I16(&[-16_384, 5]),
        twice(-16_384.0, 5.0),
        DType::I32,
    )?;
    check(
        data_type::UINT32,
        Values::U32(&[7, 1 << 30]),
        twice(7.0, f64::from(1 << 30)),
        DType::I64,
    )?;
    check(
        data_type::UINT64,
        Values::U64(&[7, 1 << 40]),
        twice(7.0, (1_u64 << 40) as f64),
        DType::I64,
    )?;
    check(
        data_type::INT32,
        Values::I32(&[-9, 5]),
        twice(-9.0, 5.0),
        DType::I32,
    )?;
    check(
        data_type::INT64,
        Values::I64(&[-9, 5]),
        twice(-9.0, 5.0),
        DType::I64,
    )
}

/// The wider type that holds integers would have room for what leaves their own.
#[test]
fn what_leaves_its_type_is_an_error() -> Result<()> {
    let sum = |of: i32| graph(vec![node("Add", &["x", "x"], "y")], vec![], [of; 2]);
    let is_refused = |of: i32, input: Values<'_>| {
        let words = run(&sum(of), &[1], input).map_err(|error| format!("{error:?}"));
        assert!(
            words.is_err_and(|words| words.contains("does not fit")),
            "{of}"
        );
    };
    is_refused(data_type::INT8, Values::I8(&[100]));
    is_refused(data_type::UINT16, Values::U16(&[40_000]));
    is_refused(data_type::INT16, Values::I16(&[-20_000]));
    is_refused(data_type::UINT32, Values::U32(&[u32::MAX]));
    // There is no room for the upper half of u64.
    let of = data_type::UINT64;
    assert!(run(&sum(of), &[1], Values::U64(&[1 << 63])).is_err());
    // Nor is a value taken for one of another type.
    assert!(run(&sum(data_type::UINT16), &[1], Values::I32(&[1])).is_err());
    Ok(())
}

/// Cast keeps the lowest bits, whatever holds the integers.
#[test]
fn casts_between_integers_wrap() -> Result<()> {
    for (to, expected) in [
        (data_type::UINT8, [255.0, 0.0, 44.0]),
        (data_type::INT8, [-1.0, 0.0, 44.0]),
        (data_type::UINT16, [65_535.0, 0.0, 300.0]),
        (data_type::INT16, [-1.0, 0.0, 300.0]),
        (data_type::UINT32, [4_294_967_295.0, 65_536.0, 300.0]),
        (data_type::INT64, [-1.0, 65_536.0, 300.0]),
    ] {
        let cast = node("Cast", &["x"], "c").with(AttributeProto::int("to", to.into()));
        let again = node("Cast", &["c"], "y").with(AttributeProto::int("to", 11));
        let graph = graph(
            vec![cast, again],
            vec![],
            [data_type::INT32, data_type::DOUBLE],
        );
        let found = run(&graph, &[3], Values::I32(&[-1, 65_536, 300]))?;
        assert_eq!(flat::<f64>(&found)?, expected, "{}", data_type::name(to));
    }
    Ok(())
}

#[test]
fn integers_are_reduced_and_searched() -> Result<()> {
    let axes = constant("a", &[1], &[0_i64]);
    let cases = [
        (data_type::UINT8, Values::U8(&[3, 9, 9]), 9.0, 21.0),
        (data_type::INT8, Values::I8(&[-3, 9, 9]), 9.0, 15.0),
        (data_type::INT32, Values::I32(&[-30, 9, 9]), 9.0, -12.0),
        (data_type::INT64, Values::I64(&[-30, 9, 9]), 9.0, -12.0),
    ];
    for (of, input, largest, sum) in cases {
        for (operator, expected) in [("ReduceMax", largest), ("ReduceSum", sum)] {
            let nodes = vec![node(operator, &["x", "a"], "y")];
            let found = run(&graph(nodes, vec![axes.clone()], [of; 2]), &[3], input)?;
            assert_eq!(flat::<f64>(&found)?, [expected], "{operator} of {of}");
        }
        let types = [of, data_type::INT64];
        let found = run(
            &graph(vec![node("ArgMax", &["x"], "y")], vec![], types),
            &[3],
            input,
        )?;
        assert_eq!(flat::<i64>(&found)?, [1], "{of}");
    }
    Ok(())
}

#[test]
fn functions_that_integers_have_take_them() -> Result<()> {
    let of = data_type::INT32;
    let input = Values::I32(&[-7, 0, 5]);
    for (operator, expected) in [
        ("Abs", [7, 0, 5]),
        ("Neg", [7, 0, -5]),
        ("Sign", [-1, 0, 1]),
        ("Relu", [0, 0, 5]),
    ] {
        let found = run(
            &graph(vec![node(operator, &["x"], "y")], vec![], [of; 2]),
            &[3],
            input,
        )?;
        assert_eq!(flat::<i32>(&found)?, expected, "{operator}");
    }
    // Relu becomes part of the operator before it.
    let nodes = vec![node("Add", &["x", "x"], "a"), node("Relu", &["a"], "y")];
    let found = run(&graph(nodes, vec![], [of; 2]), &[3], input)?;
    assert_eq!(flat::<i32>(&found)?, [0, 0, 10]);
    // The negative of the smallest i8 is none.
    let of = data_type::INT8;
    let neg = graph(vec![node("Neg", &["x"], "y")], vec![], [of; 2]);
    assert!(run(&neg, &[1], Values::I8(&[-128])).is_err());
    Ok(())
}

#[test]
fn products_of_floats_are_counted_like_convolutions() -> Result<()> {
    let weights = constant("w", &[2, 2], &[1.0_f32, 2.0, 3.0, 4.0]);
    for operator in ["MatMul", "Gemm"] {
        let nodes = vec![node(operator, &["x", "w"], "y")];
        let graph = graph(nodes, vec![weights.clone()], [data_type::FLOAT; 2]);
        let prepared = prepare(&graph, &[1, 2])?;
        let kinds: Vec<ConvKind> = prepared.operators().filter_map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [ConvKind::Float], "{operator}");
    }
    Ok(())
}

/// The standard's formula gives no scale there; its reference evaluator does.
#[test]
fn zeros_are_quantized_to_a_scale_of_their_own() -> Result<()> {
    let mut quantize = node("DynamicQuantizeLinear", &["x"], "q");
    quantize.output.extend(["y".into(), "z".into()]);
    let graph = graph(vec![quantize], vec![], [data_type::FLOAT; 2]);
    for zeros in [[0.0_f32, 0.0], [-0.0, 0.0]] {
        let found = run(&graph, &[2], Values::F32(&zeros))?;
        assert_eq!(flat::<f32>(&found)?, [1.0_f32 / 255.0]);
    }
    Ok(())
}
