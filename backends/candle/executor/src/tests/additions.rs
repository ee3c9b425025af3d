//! Additions of quantized values that become part of a convolution: the same bits as one step after the other, and only
//! where nothing else reads what lies in between.

use firstpass_onnx::{Result, decode_with_opset, write::f32_value};

use super::Graph;
use crate::{Engine, Settings, kernels::Isa, plan::Plan, prepared::Prepared};

struct Conv {
    input: &'static str,
    output: &'static str,
    /// Of the output, then of the input.
    channels: [usize; 2],
    groups: usize,
    kernel: usize,
    has_bias: bool,
}

impl Conv {
    /// Between values whose quantized forms end with ".d"; both images are of one size.
    fn of(&self, graph: Graph) -> Graph {
        let [outputs, inputs] = self.channels;
        let dims = [outputs, inputs / self.groups, self.kernel, self.kernel];
        let weights = 0..dims.iter().product::<usize>();
        let weights: Vec<i8> = weights.map(|at| (at * 37 % 251) as u8 as i8).collect();
        let part = |part: &str| format!("{}.{part}", self.output);
        let [w, scale, real, bias] = ["w", "w.scale", "w.d", "b"].map(part);
        let mut operands = vec![self.input, &real];
        let mut graph = graph
            .bytes(&w, &dims, &weights)
            .floats(&scale, &[], &[0.01])
            .node("DequantizeLinear", &[&w, &scale], &real);
        if self.has_bias {
            // Then everything is computed as fbgemm does.
            let values: Vec<f32> = (0..outputs).map(|channel| channel as f32 * 0.1).collect();
            graph = graph.floats(&bias, &[outputs], &values);
            operands.push(&bias);
        }
        let pad = self.kernel / 2;
        let attributes: [(&str, &[usize]); 2] =
            [("group", &[self.groups]), ("pads", &[pad, pad, pad, pad])];
        let real = part("real");
        graph
            .node_with("Conv", &operands, &real, &attributes)
            .quantized(&real, self.output, 1.7, 90)
    }
}

/// The first output, and the names of the operators that ran, where the values `outputs` are wanted.
fn run(
    graph: &Graph,
    (isa, threads): (Isa, usize),
    shape: &[usize],
    outputs: &[&str],
) -> Result<(Vec<f32>, Vec<&'static str>)> {
    let engine = Engine::new(Settings {
        threads,
        kernels: isa,
        ..Settings::default()
    })?;
    let mut graph = graph.clone();
    let others = outputs.iter().filter(|name| **name != "y");
    graph
        .0
        .output
        .extend(others.map(|name| f32_value(name, None)));
    let plan = Plan::new(&decode_with_opset(graph.encode().into())?, &["x"], outputs)?;
    let mut prepared = Prepared::new(&engine, &plan, &[shape.to_vec()])?;
    let values = 0..shape.iter().product();
    let values: Vec<f32> = values
        .map(|at: usize| (at * 7919 % 1009) as f32 / 200.0 - 2.5)
        .collect();
    let out = prepared.pass(&[&values])?[0].f32s()?.to_vec();
    // A second pass finds buffers that were written to.
    assert_eq!(prepared.pass(&[&values])?[0].f32s()?, out);
    Ok((out, prepared.operators().map(|(name, _)| name).collect()))
}

/// Whether the addition is part of a convolution where only the sum is wanted, and no bit differs from where the values
/// `between` are wanted as well.
fn check(graph: &Graph, shape: &[usize], between: &[&str]) -> Result<()> {
    let reference = (Isa::Reference, 1);
    let (expected, names) = run(graph, reference, shape, &[&["y"][..], between].concat())?;
    assert!(names.contains(&"int-add"), "{names:?}");
    for isa in Isa::available() {
        for threads in 1..=3 {
            let (found, names) = run(graph, (isa, threads), shape, &["y"])?;
            assert!(!names.contains(&"int-add"), "{names:?}");
            let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(differs, None, "{} on {threads} threads", isa.name());
            assert_eq!(found.len(), expected.len());
        }
    }
    Ok(())
}

#[test]
fn convolutions_add_what_follows_them() -> Result<()> {
    for (groups, kernel, size) in [
        (1, 1, [19, 21]),
        (1, 3, [7, 7]),
        (72, 3, [9, 11]),
        (2, 3, [5, 6]),
    ] {
        for (has_bias, operands, has_relu) in [
            (true, ["c", "x.d"], true),
            (false, ["x.d", "c"], false),
            (true, ["x.d", "c"], false),
        ] {
            let conv = Conv {
                input: "x.d",
                output: "c",
                channels: [72, 72],
                groups,
                kernel,
                has_bias,
            };
            let graph = conv.of(Graph::new().quantized("x", "x.d", 0.02, 120));
            let graph = graph.node("Add", &operands, "sum");
            let graph = match has_relu {
                true => graph
                    .node("Relu", &["sum"], "r")
                    .quantized("r", "y", 0.9, 7),
                false => graph.quantized("sum", "y", 1.9, 100),
            };
            let [height, width] = size;
            // Two images.
            check(&graph, &[2, 72, height, width], &["c"])?;
        }
    }
    Ok(())
}

#[test]
fn the_last_convolution_of_a_chain_adds_too() -> Result<()> {
    let shape = [1, 16, 48, 56];
    let wide = Conv {
        input: "x.d",
        output: "wide",
        channels: [128, 16],
        groups: 1,
        kernel: 1,
        has_bias: true,
    };
    let middle = Conv {
        input: "wide",
        output: "middle",
        channels: [128, 128],
        groups: 128,
        kernel: 3,
        ..wide
    };
    let last = Conv {
        input: "middle",
        output: "c",
        channels: [16, 128],
        ..wide
    };
    let graph = last.of(middle.of(wide.of(Graph::new().quantized("x", "x.d", 0.02, 120))));
    let graph = graph
        .node("Add", &["x.d", "c"], "sum")
        .quantized("sum", "y", 1.9, 100);
    check(&graph, &shape, &["c"])
}

#[test]
fn the_later_of_two_convolutions_adds() -> Result<()> {
    let conv = |input, output| Conv {
        input,
        output,
        channels: [32, 32],
        groups: 1,
        kernel: 3,
        has_bias: true,
    };
    let graph = Graph::new().quantized("x", "x.d", 0.02, 120);
    let graph = conv("x.d", "other").of(conv("x.d", "c").of(graph));
    let graph = graph
        .node("Add", &["c", "other"], "sum")
        .quantized("sum", "y", 1.9, 100);
    let shape = [1, 32, 13, 17];
    check(&graph, &shape, &["c", "other"])?;
    // Where the later one is wanted, the earlier one adds, behind it.
    let (expected, _) = run(&graph, (Isa::Reference, 1), &shape, &["y"])?;
    let (found, names) = run(&graph, (Isa::detect(), 2), &shape, &["y", "other"])?;
    assert_eq!(found, expected);
    assert!(!names.contains(&"int-add"), "{names:?}");
    Ok(())
}

#[test]
fn a_value_that_something_else_reads_is_added_behind_it() -> Result<()> {
    let conv = Conv {
        input: "x.d",
        output: "c",
        channels: [8, 8],
        groups: 1,
        kernel: 1,
        has_bias: false,
    };
    let graph = conv.of(Graph::new().quantized("x", "x.d", 0.02, 120));
    // It is added to itself.
    let graph = graph
        .node("Add", &["c", "c"], "sum")
        .quantized("sum", "y", 3.0, 100);
    let (_, names) = run(&graph, (Isa::detect(), 1), &[1, 8, 3, 5], &["y"])?;
    assert!(names.contains(&"int-add"), "{names:?}");
    Ok(())
}
