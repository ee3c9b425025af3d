//! Operators between quantized values give what they give on the floats that these stand for, quantized.

use firstpass_onnx::Result;
use firstpass_onnx::data_type::INT64;

use super::Graph;
use crate::kernels::Isa;

const SHAPE: [usize; 4] = [2, 21, 5, 7];

/// Numbers of the grid of the input, and what an operator gives for them: on integers where `is_quantized`, else on
/// floats.
fn outputs(
    of: &dyn Fn(Graph) -> Graph,
    is_quantized: bool,
) -> Result<(Vec<f32>, Vec<&'static str>)> {
    let count: usize = SHAPE.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|at| ((at * 89 + at * at * 31 + at / 35 * 7) % 256) as f32 - 100.0)
        .map(|integer| integer * 0.3)
        .collect();
    let graph = match is_quantized {
        true => Graph::new().quantized("x", "x.d", 0.3, 100),
        false => Graph::new().node("Identity", &["x"], "x.d"),
    };
    let mut found = None;
    for isa in Isa::available() {
        let mut prepared = of(graph.clone()).prepare(isa, &SHAPE)?;
        let outputs = prepared.pass(&[&values])?[0].f32s()?.to_vec();
        let names: Vec<_> = prepared.operators().map(|(name, _)| name).collect();
        if let Some((expected, _)) = &found {
            assert_eq!(&outputs, expected, "{}", isa.name());
        }
        found = Some((outputs, names));
    }
    Ok(found.expect("there is an instruction set"))
}

#[track_caller]
fn check(operator: &str, of: &dyn Fn(Graph) -> Graph) -> Result<()> {
    let (found, names) = outputs(of, true)?;
    let (expected, on_floats) = outputs(of, false)?;
    assert!(names.contains(&operator), "{names:?}");
    assert!(!on_floats.contains(&operator), "{on_floats:?}");
    assert_eq!(found, expected, "{operator}");
    let first = found.first();
    assert!(found.iter().any(|value| Some(value) != first), "{operator}");
    Ok(())
}

fn averaged(graph: Graph, counts_padding: usize) -> Graph {
    let window: [(&str, &[usize]); 3] = [
        ("kernel_shape", &[3, 3]),
        ("pads", &[1, 1, 1, 1]),
        ("count_include_pad", &[counts_padding]),
    ];
    graph.node_with("AveragePool", &["x.d"], "a", &window)
}

fn integers(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn means_of_windows() -> Result<()> {
    for counts_padding in [0, 1] {
        check("int-average-pool", &|graph| {
            averaged(graph, counts_padding).quantized("a", "y", 0.11, 90)
        })?;
    }
    check("int-average-pool", &|graph| {
        averaged(graph, 0)
            .node("Relu", &["a"], "r")
            .quantized("r", "y", 0.11, 90)
    })
}

#[test]
fn means_of_images() -> Result<()> {
    check("int-mean", &|graph| {
        graph
            .node("GlobalAveragePool", &["x.d"], "m")
            .quantized("m", "y", 0.02, 20)
    })?;
    check("int-mean", &|graph| {
        let attributes: [(&str, &[usize]); 2] = [("axes", &[2, 3]), ("keepdims", &[0])];
        let graph = graph.node_with("ReduceMean", &["x.d"], "m", &attributes);
        graph.quantized("m", "y", 0.02, 20)
    })
}

#[test]
fn products() -> Result<()> {
    let by_channel = |graph: Graph| {
        let graph = graph.node("GlobalAveragePool", &["x.d"], "m");
        graph.quantized("m", "m.d", 0.02, 110)
    };
    check("int-multiply", &|graph| {
        by_channel(graph)
            .node("Mul", &["x.d", "m.d"], "p")
            .quantized("p", "y", 0.8, 70)
    })?;
    check("int-multiply", &|graph| {
        by_channel(graph)
            .node("Mul", &["m.d", "x.d"], "p")
            .quantized("p", "y", 0.8, 70)
    })?;
    check("int-multiply", &|graph| {
        let graph = averaged(graph, 0).quantized("a", "a.d", 0.11, 90);
        graph
            .node("Mul", &["x.d", "a.d"], "p")
            .quantized("p", "y", 2.3, 50)
    })
}

#[test]
fn padding() -> Result<()> {
    for (pads, operator) in [
        ([0, 0, 1, 2, 0, 0, 0, 3], "int-pad"),
        // Of what is no integer of the grid, or of channels, as the file writes it.
        ([0, 1, 0, 0, 0, 2, 0, 0], "pad"),
    ] {
        let of = |graph: Graph| {
            let graph = graph.constant("pads", &[8], INT64, integers(&pads));
            let graph = graph.floats("fill", &[], &[0.3]);
            let graph = graph.node("Pad", &["x.d", "pads", "fill"], "p");
            graph.quantized("p", "y", 0.3, 100)
        };
        let (found, names) = outputs(&of, true)?;
        assert!(names.contains(&operator), "{names:?}");
        assert_eq!(found, outputs(&of, false)?.0);
    }
    Ok(())
}

#[test]
fn values_of_several_scales_are_put_together() -> Result<()> {
    check("int-channels", &|graph| {
        let graph = averaged(graph, 0).quantized("a", "a.d", 0.11, 90);
        let graph = graph.node_with("Concat", &["x.d", "a.d", "x.d"], "c", &[("axis", &[1])]);
        graph.quantized("c", "y", 0.25, 80)
    })?;
    // Along another axis.
    check("int-table", &|graph| {
        let graph = averaged(graph, 0).quantized("a", "a.d", 0.11, 90);
        let graph = graph.node_with("Concat", &["x.d", "a.d"], "c", &[("axis", &[3])]);
        graph.quantized("c", "y", 0.25, 80)
    })
}

#[test]
fn channels_are_shuffled() -> Result<()> {
    check("int-channels", &|graph| {
        let wide = [2, 3, 7, 5, 7];
        let graph = graph
            .constant("wide", &[5], INT64, integers(&wide))
            .constant(
                "back",
                &[4],
                INT64,
                integers(&SHAPE.map(|length| length as i64)),
            )
            .node("Reshape", &["x.d", "wide"], "r")
            .node_with("Transpose", &["r"], "t", &[("perm", &[0, 2, 1, 3, 4])])
            .node("Reshape", &["t", "back"], "s");
        graph.quantized("s", "y", 0.3, 100)
    })
}
