//! Operators that find their values by indices, or sum up products of named axes.

use firstpass_onnx::{
    AttributeProto, NodeProto, Result, decode_with_opset,
    write::{constant, encode, f32_value},
};

use super::{Case, counting, of};
use crate::{
    Engine, Settings, graph::flat, plan::Plan, prepared::Prepared, prepared::Values, tests::Graph,
};

impl Case {
    fn indices(self, shape: &[usize], values: &[i64]) -> Self {
        self.constant(|name| constant(name, shape, values))
    }
}

pub fn indexed() -> Vec<Case> {
    let x = |operator: &str| of(operator, &[2, 3], &counting(6));
    let ends = |case: Case| case.indices(&[2, 2], &[-1, 0, 1, 1]);
    let nan = f32::NAN;
    vec![
        ends(x("GatherElements").int("axis", 1)).gives(&[2, 2], &[2.0, 0.0, 4.0, 4.0]),
        x("GatherElements")
            .indices(&[1, 2], &[1, 0])
            .gives(&[1, 2], &[3.0, 1.0]),
        x("GatherND")
            .indices(&[2, 2], &[0, 1, 1, -1])
            .gives(&[2], &[1.0, 5.0]),
        x("GatherND")
            .indices(&[1, 1, 1], &[1])
            .gives(&[1, 1, 3], &[3.0, 4.0, 5.0]),
        x("GatherND")
            .int("batch_dims", 1)
            .indices(&[2, 1], &[2, 0])
            .gives(&[2], &[2.0, 3.0]),
        ends(x("ScatterElements").int("axis", 1))
            .floats(&[2, 2], &[10.0, 11.0, 12.0, 13.0])
            .gives(&[2, 3], &[11.0, 1.0, 10.0, 3.0, 13.0, 5.0]),
        ends(x("ScatterElements").int("axis", 1).text("reduction", "add"))
            .floats(&[2, 2], &[10.0, 11.0, 12.0, 13.0])
            .gives(&[2, 3], &[11.0, 1.0, 12.0, 3.0, 29.0, 5.0]),
        x("Scatter")
            .indices(&[1, 1], &[1])
            .floats(&[1, 1], &[9.0])
            .opset(10)
            .gives(&[2, 3], &[0.0, 1.0, 2.0, 9.0, 4.0, 5.0]),
        x("ScatterND")
            .indices(&[1, 1], &[-2])
            .floats(&[1, 3], &[7.0, 8.0, 9.0])
            .gives(&[2, 3], &[7.0, 8.0, 9.0, 3.0, 4.0, 5.0]),
        x("ScatterND")
            .text("reduction", "max")
            .indices(&[2, 2], &[0, 2, 1, 0])
            .floats(&[2], &[7.0, 1.0])
            .gives(&[2, 3], &[0.0, 1.0, 7.0, 3.0, 4.0, 5.0]),
        of("TopK", &[1, 5], &[1.0, 4.0, 2.0, 4.0, 3.0])
            .ints(&[3])
            .gives(&[1, 3], &[4.0, 4.0, 3.0]),
        of("TopK", &[3, 2], &[5.0, 1.0, 4.0, 2.0, 6.0, 0.0])
            .int("axis", 0)
            .int("largest", 0)
            .ints(&[2])
            .gives(&[2, 2], &[4.0, 0.0, 5.0, 1.0]),
        of("TopK", &[3], &[1.0, 2.0, 3.0])
            .int("k", 1)
            .opset(9)
            .gives(&[1], &[3.0]),
        x("CumSum")
            .indices(&[], &[1])
            .gives(&[2, 3], &[0.0, 1.0, 3.0, 3.0, 7.0, 12.0]),
        x("CumSum")
            .int("exclusive", 1)
            .int("reverse", 1)
            .indices(&[], &[-1])
            .gives(&[2, 3], &[3.0, 2.0, 0.0, 9.0, 5.0, 0.0]),
        x("CumSum")
            .indices(&[], &[0])
            .gives(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 5.0, 7.0]),
        // Negative indices count from the end; what is out of range is nowhere.
        of("OneHot", &[3], &[1.0, -1.0, 5.0])
            .indices(&[], &[3])
            .floats(&[2], &[2.0, 7.0])
            .gives(&[3, 3], &[2.0, 7.0, 2.0, 2.0, 2.0, 7.0, 2.0, 2.0, 2.0]),
        of("OneHot", &[2], &[1.0, 0.0])
            .int("axis", 0)
            .indices(&[1], &[2])
            .floats(&[2], &[0.0, 1.0])
            .gives(&[2, 2], &[0.0, 1.0, 1.0, 0.0]),
        of("Mod", &[4], &[5.0, -5.0, 5.5, -4.0])
            .floats(&[4], &[3.0, 3.0, -2.0, 2.0])
            .gives(&[4], &[2.0, 1.0, -0.5, 0.0]),
        of("Mod", &[2], &[-5.0, 5.5])
            .int("fmod", 1)
            .floats(&[2], &[3.0, -2.0])
            .gives(&[2], &[-2.0, 1.5]),
        x("Trilu").gives(&[2, 3], &[0.0, 1.0, 2.0, 0.0, 4.0, 5.0]),
        x("Trilu")
            .int("upper", 0)
            .indices(&[], &[-1])
            .gives(&[2, 3], &[0.0, 0.0, 0.0, 3.0, 0.0, 0.0]),
        of("IsNaN", &[3], &[0.0, nan, f32::INFINITY]).gives(&[3], &[0.0, 1.0, 0.0]),
        of("IsInf", &[3], &[f32::NEG_INFINITY, nan, f32::INFINITY])
            .int("detect_negative", 0)
            .gives(&[3], &[0.0, 0.0, 1.0]),
        of("LpPool", &[1, 1, 4], &[3.0, -4.0, 0.0, 1.0])
            .list("kernel_shape", &[2])
            .list("strides", &[2])
            .gives(&[1, 1, 2], &[5.0, 1.0]),
        of("LpPool", &[1, 1, 2, 2], &[1.0, -2.0, 2.0, 3.0])
            .list("kernel_shape", &[2, 2])
            .int("p", 3)
            .gives(&[1, 1, 1, 1], &[44.0_f32.cbrt()]),
    ]
}

pub fn sums_of_products() -> Vec<Case> {
    let x = |equation: &str| of("Einsum", &[2, 3], &counting(6)).text("equation", equation);
    let ones = |case: Case, shape: &[usize]| {
        let count = shape.iter().product();
        case.floats(shape, &vec![1.0; count])
    };
    vec![
        x("ij->ji").gives(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        x("ij->i").gives(&[2], &[3.0, 12.0]),
        x("ij->").gives(&[], &[15.0]),
        ones(x("ij, jk -> ik"), &[3, 2]).gives(&[2, 2], &[3.0, 3.0, 12.0, 12.0]),
        // Without an output: the names that are there once, sorted.
        ones(x("kj,jb"), &[3, 1]).gives(&[1, 2], &[3.0, 12.0]),
        ones(x("bi,bj->bij"), &[2, 1]).gives(&[2, 3, 1], &counting(6)),
        ones(ones(x("ij,jk,kl->il"), &[3, 2]), &[2, 1]).gives(&[2, 1], &[6.0, 24.0]),
        ones(x("...j,jk->...k"), &[3, 1]).gives(&[2, 1], &[3.0, 12.0]),
        // Unnamed axes are broadcast.
        ones(x("...ij,...jk->...ik"), &[2, 3, 1]).gives(&[2, 2, 1], &[3.0, 12.0, 3.0, 12.0]),
        of("Einsum", &[2, 2], &counting(4))
            .text("equation", "ii->i")
            .gives(&[2], &[0.0, 3.0]),
        of("Einsum", &[2, 2], &counting(4))
            .text("equation", "ii")
            .gives(&[], &[3.0]),
        of("Einsum", &[1, 2], &[3.0, 4.0])
            .text("equation", "ab,cb->ac")
            .floats(&[2, 2], &[1.0, 0.0, 1.0, 1.0])
            .gives(&[1, 2], &[3.0, 7.0]),
    ]
}

/// A graph of nodes that compute "y" from "x" by "i", integers of it.
fn by_indices(nodes: Vec<NodeProto>, input: &[f32]) -> Result<Vec<f32>> {
    let mut graph = Graph::new().0;
    graph.node = nodes;
    let graph = decode_with_opset(encode(graph, 21).into())?;
    let plan = Plan::new(&graph, &["x"], &["y"])?;
    let engine = Engine::new(Settings::default())?;
    let mut prepared = Prepared::new(&engine, &plan, &[vec![input.len()]])?;
    flat(&prepared.run(&[Values::F32(input)])?[0])
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: outputs.iter().map(|&name| name.into()).collect(),
        ..NodeProto::default()
    }
}

fn whole(name: &str, value: i64) -> NodeProto {
    node("Constant", &[], &[name]).with(AttributeProto::int("value_int", value))
}

#[test]
fn indices_of_a_pass_find_what_they_sorted() -> Result<()> {
    // The places of the largest values gather these values again, and scatter them to where they were.
    let input = [0.5, -1.0, 7.0, 7.0, 3.0];
    let top = || {
        vec![
            node("Constant", &[], &["k"]).with(AttributeProto::ints("value_ints", &[3])),
            node("TopK", &["x", "k"], &["largest", "places"]),
        ]
    };
    let mut gathered = top();
    gathered.push(node("GatherElements", &["x", "places"], &["y"]));
    assert_eq!(by_indices(gathered, &input)?, [7.0, 7.0, 3.0]);
    let mut places = top();
    places.push(node("Cast", &["places"], &["y"]).with(AttributeProto::int("to", 1)));
    assert_eq!(by_indices(places, &input)?, [2.0, 3.0, 4.0]);
    let mut scattered = top();
    scattered.extend([
        node("Mul", &["x", "x"], &["squares"]),
        node("ScatterElements", &["squares", "places", "largest"], &["y"]),
    ]);
    assert_eq!(by_indices(scattered, &input)?, [0.25, 1.0, 7.0, 7.0, 3.0]);
    Ok(())
}

#[test]
fn integers_wrap_nowhere() -> Result<()> {
    // The remainder of integers has the sign of the divisor, or of the dividend; a divisor of 0 is an error.
    let remainder = |dividend: i64, divisor: i64, fmod: i64| {
        by_indices(
            vec![
                whole("a", dividend),
                whole("b", divisor),
                node("Mod", &["a", "b"], &["m"]).with(AttributeProto::int("fmod", fmod)),
                node("Cast", &["m"], &["c"]).with(AttributeProto::int("to", 1)),
                node("Add", &["x", "c"], &["y"]),
            ],
            &[0.0],
        )
    };
    assert_eq!(remainder(-7, 3, 0)?, [2.0]);
    assert_eq!(remainder(7, -3, 0)?, [-2.0]);
    assert_eq!(remainder(-7, 3, 1)?, [-1.0]);
    assert_eq!(remainder(i64::MIN, -1, 0)?, [0.0]);
    assert!(remainder(1, 0, 0).is_err());
    Ok(())
}

#[test]
fn what_no_index_finds_is_an_error() {
    for case in [
        of("GatherElements", &[2], &[1.0, 2.0]).indices(&[1], &[2]),
        of("GatherElements", &[2], &[1.0, 2.0]).indices(&[1, 1], &[0]),
        of("GatherND", &[2, 2], &counting(4)).indices(&[1, 3], &[0, 0, 0]),
        of("GatherND", &[2, 2], &counting(4)).indices(&[1, 1], &[-3]),
        of("GatherND", &[2, 2], &counting(4))
            .int("batch_dims", 3)
            .indices(&[1, 1], &[0]),
        of("ScatterElements", &[2], &[1.0, 2.0])
            .indices(&[1], &[0])
            .floats(&[2], &[1.0, 2.0]),
        of("ScatterND", &[2], &[1.0, 2.0])
            .indices(&[1, 1], &[-3])
            .floats(&[1], &[1.0]),
        of("TopK", &[2], &[1.0, 2.0]).ints(&[3]),
        of("TopK", &[2], &[1.0, 2.0]).ints(&[-1]),
        of("OneHot", &[1], &[0.0])
            .indices(&[], &[-1])
            .floats(&[2], &[0.0, 1.0]),
        of("CumSum", &[2], &[1.0, 2.0]).indices(&[], &[1]),
        of("Einsum", &[2, 3], &counting(6)).text("equation", "ijk->i"),
        of("Einsum", &[2, 3], &counting(6)).text("equation", "ij->k"),
        of("Einsum", &[2, 3], &counting(6)).text("equation", "i!->i"),
        of("Einsum", &[2, 3], &counting(6)).text("equation", "ij,jk->ik"),
    ] {
        let operator = case.node.op_type.clone();
        let found = case.run();
        assert!(found.is_err(), "{operator}: {found:?}");
    }
}

#[test]
fn places_have_a_type_of_their_own() -> Result<()> {
    // Of i8, which wider integers hold, the places are i64 all the same.
    let mut graph = Graph::new().bytes("b", &[3], &[3, -4, 5]).0;
    graph.node = vec![
        node("Constant", &[], &["k"]).with(AttributeProto::ints("value_ints", &[1])),
        node("TopK", &["b", "k"], &["value", "place"]),
        node("Gather", &["x", "place"], &["y"]),
    ];
    graph.output = vec![f32_value("y", None)];
    let graph = decode_with_opset(encode(graph, 21).into())?;
    let plan = Plan::new(&graph, &["x"], &["y"])?;
    let engine = Engine::new(Settings::default())?;
    let mut prepared = Prepared::new(&engine, &plan, &[vec![3]])?;
    let found = flat::<f32>(&prepared.run(&[Values::F32(&[10.0, 20.0, 30.0])])?[0])?;
    assert_eq!(found, [30.0]);
    Ok(())
}
