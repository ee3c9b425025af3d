//! What becomes part of a convolution: the same bits as one step after the other, and only where nothing else reads
//! what lies in between.

use firstpass_onnx::{AttributeProto, Result, write::node};

use super::Graph;
use crate::kernels::Isa;

const SHAPE: [usize; 4] = [2, 6, 9, 21];

fn input() -> Vec<f32> {
    let count = SHAPE.iter().product();
    (0..count)
        .map(|at: usize| (at * 7919 % 1009) as f32 / 200.0 - 2.5)
        .collect()
}

/// Weights of as many channels as the input has, under a name.
fn with_conv(graph: Graph, name: &str, output: &str, groups: usize) -> Graph {
    let dims = [6, 6 / groups, 3, 3];
    let weights: Vec<f32> = (0..dims.iter().product())
        .map(|at: usize| (at * 31 % 53) as f32 / 53.0 - 0.5)
        .collect();
    graph.floats(name, &dims, &weights).node_with(
        "Conv",
        &["x", name],
        output,
        &[("pads", &[1, 1, 1, 1]), ("group", &[groups])],
    )
}

/// The output, and the names of the operators that ran.
fn run(graph: &Graph, isa: Isa, input: &[f32]) -> Result<(Vec<f32>, Vec<&'static str>)> {
    let mut prepared = graph.prepare(isa, &SHAPE)?;
    let out = prepared.pass(&[input])?[0].f32s()?.to_vec();
    // A second pass finds buffers that were written to.
    assert_eq!(prepared.pass(&[input])?[0].f32s()?, out);
    Ok((out, prepared.operators().map(|(name, _)| name).collect()))
}

/// Instruction sets with kernels that take functions in.
fn vectors() -> impl Iterator<Item = Isa> {
    Isa::available()
        .into_iter()
        .filter(|isa| *isa != Isa::Reference)
}

/// Has `functions` make "y" of "c", which is a convolution of "x"; all of them must become part of it.
fn check(functions: impl Fn(Graph) -> Graph) -> Result<()> {
    for isa in vectors() {
        for groups in [1, 6] {
            let conv = with_conv(Graph::new(), "w", "y", groups);
            let (between, _) = run(&conv, isa, &input())?;
            let behind = Graph::new().node("Identity", &["x"], "c");
            let (expected, _) = run(&functions(behind), isa, &between)?;
            let whole = functions(with_conv(Graph::new(), "w", "c", groups));
            let (found, names) = run(&whole, isa, &input())?;
            assert_eq!(found, expected, "{} with {groups} groups", isa.name());
            assert_eq!(names.len(), 1, "{names:?}");
        }
    }
    Ok(())
}

#[test]
fn a_sigmoid_and_its_product() -> Result<()> {
    check(|graph| {
        graph
            .node("Sigmoid", &["c"], "s")
            .node("Mul", &["c", "s"], "y")
    })
}

#[test]
fn hard_swish_written_out() -> Result<()> {
    check(|graph| {
        graph
            .floats("three", &[], &[3.0])
            .floats("zero", &[], &[0.0])
            .floats("six", &[1], &[6.0])
            .node("Add", &["c", "three"], "a")
            .node("Clip", &["a", "zero", "three"], "b")
            .node("Mul", &["c", "b"], "d")
            .node("Div", &["d", "six"], "y")
    })
}

#[test]
fn factors_and_offsets_of_channels() -> Result<()> {
    check(|graph| {
        let numbers = [0.5, -1.5, 2.0, 0.25, 1.0, -0.75];
        let variances = numbers.map(f32::abs);
        graph
            .floats("scale", &[6], &numbers)
            .floats("mean", &[6], &numbers.map(|x| x / 3.0))
            .floats("variance", &[6], &variances)
            .node(
                "BatchNormalization",
                &["c", "scale", "scale", "mean", "variance"],
                "n",
            )
            .floats("image", &[1, 6, 1, 1], &numbers)
            .node("Mul", &["image", "n"], "m")
            .floats("planes", &[6, 1, 1], &numbers)
            .node("Sub", &["planes", "m"], "d")
            .node("PRelu", &["d", "planes"], "p")
            .with(node("LeakyRelu", &["p"], "y").with(AttributeProto::float("alpha", 0.3)))
    })
}

#[test]
fn a_shortcut_before_or_behind_the_function() -> Result<()> {
    for isa in vectors() {
        let (conv, _) = run(&with_conv(Graph::new(), "w", "y", 1), isa, &input())?;
        let sigmoid = Graph::new().node("Sigmoid", &["x"], "y");
        let before = with_conv(Graph::new(), "w", "c", 1)
            .node("Add", &["x", "c"], "sum")
            .node("Sigmoid", &["sum"], "y");
        let sums: Vec<f32> = input().iter().zip(&conv).map(|(x, c)| x + c).collect();
        let (expected, _) = run(&sigmoid, isa, &sums)?;
        let (found, names) = run(&before, isa, &input())?;
        assert_eq!((found, names.len()), (expected, 1));
        let behind = with_conv(Graph::new(), "w", "c", 1)
            .node("Sigmoid", &["c"], "s")
            .node("Add", &["x", "s"], "y");
        let (functions, _) = run(&sigmoid, isa, &conv)?;
        let expected: Vec<f32> = input().iter().zip(&functions).map(|(x, s)| x + s).collect();
        let (found, names) = run(&behind, isa, &input())?;
        assert_eq!((found, names.len()), (expected, 1));
    }
    Ok(())
}

#[test]
fn two_convolutions_added_are_two_steps() -> Result<()> {
    for isa in vectors() {
        let one = |groups| run(&with_conv(Graph::new(), "w", "y", groups), isa, &input());
        let ((a, _), (b, _)) = (one(1)?, one(6)?);
        let graph = with_conv(with_conv(Graph::new(), "v", "a", 1), "w", "b", 6)
            .node("Add", &["a", "b"], "sum")
            .node("Relu", &["sum"], "y");
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b).max(0.0)).collect();
        let (found, names) = run(&graph, isa, &input())?;
        assert_eq!(found, expected);
        assert_eq!(names, ["float-conv-depthwise", "float-conv"]);
    }
    Ok(())
}

#[test]
fn what_is_read_elsewhere_stays_a_step() -> Result<()> {
    for isa in vectors() {
        let (conv, _) = run(&with_conv(Graph::new(), "w", "y", 1), isa, &input())?;
        let sigmoid = Graph::new().node("Sigmoid", &["x"], "y");
        let (functions, _) = run(&sigmoid, isa, &conv)?;
        let graph = with_conv(Graph::new(), "w", "c", 1)
            .node("Sigmoid", &["c"], "s")
            .node_with("Concat", &["c", "s"], "y", &[("axis", &[1])]);
        let (found, names) = run(&graph, isa, &input())?;
        let sample = conv.len() / SHAPE[0];
        let samples = conv.chunks(sample).zip(functions.chunks(sample));
        let expected: Vec<f32> = samples.flat_map(|(c, s)| [c, s].concat()).collect();
        assert_eq!(found, expected);
        assert_eq!(names, ["float-conv", "sigmoid", "concat"]);
        // A mean of all values is not there before the last of them is.
        let graph = with_conv(Graph::new(), "w", "c", 1)
            .node("GlobalAveragePool", &["c"], "mean")
            .node("Mul", &["c", "mean"], "y");
        let (_, names) = run(&graph, isa, &input())?;
        assert_eq!(names, ["float-conv", "reduce", "mul"]);
    }
    Ok(())
}
