use super::*;
use firstpass_trial::{workload::Workload, workspace::Workspace};

fn fixture() -> Result<Graph> {
    let model = Workload::find_model(&Workspace::find()?, "faceboxes-int8-per-channel")?;
    let file = model
        .artifact(firstpass_probe::Format::ONNX)
        .context("it has an ONNX file")?;
    Graph::read(&file.path, &file.inputs)
}

#[test]
fn the_work_of_the_fixture_is_known() -> Result<()> {
    let graph = fixture()?;
    let work = graph.multiply_adds();
    assert_eq!(work.len(), 63);
    // 3x3 on three channels, 32 channels of 240x320 pixels.
    assert_eq!(work["backbone.features.0.0.conv/Conv"], 27 * 32 * 240 * 320);
    Ok(())
}

#[test]
fn every_convolution_and_addition_is_a_layer() -> Result<()> {
    let graph = fixture()?;
    let layers = graph.layers()?;
    let of = |operator: &str| layers.iter().filter(|l| l.operator == operator).count();
    assert_eq!((of("Conv"), of("QuantizeLinear")), (63, 1));
    assert!(of("Add") > 0);
    assert!(layers.iter().all(|layer| layer.scale > 0.0));
    let after_relu = layers.iter().filter(|layer| layer.zero_point == 0);
    assert!((32..layers.len()).contains(&after_relu.count()));
    let names: Vec<&str> = layers.iter().map(|layer| layer.output.as_str()).collect();
    for layer in &layers {
        assert_eq!(
            layer.inputs.len(),
            match layer.operator.as_str() {
                "Add" => 2,
                "Conv" => 1,
                _ => 0,
            }
        );
        assert!(
            layer
                .inputs
                .iter()
                .all(|input| names.contains(&input.as_str()))
        );
    }
    Ok(())
}

/// Files that anybody may have made: nothing in them is as it should be.
#[test]
fn a_graph_of_nonsense_is_no_panic() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.onnx");
    let ints = |name: &str, value: i64| AttributeProto::ints(name, &[value; 4]);
    let conv = |pads: i64, strides: i64, dilations: i64| {
        node("Conv", &["x", "w"], "c")
            .with(ints("pads", pads))
            .with(ints("strides", strides))
            .with(ints("dilations", dilations))
    };
    let constant_node = node("Constant", &[], "s");
    let quantize = node("QuantizeLinear", &["x", "s"], "q");
    let dequantize = node("DequantizeLinear", &["q", "s"], "d");
    let most = i64::MAX;
    for nodes in [
        vec![node("QuantizeLinear", &[], "q")],
        vec![constant_node, quantize.clone(), dequantize],
        vec![quantize.clone(), node("DequantizeLinear", &[], "d")],
        vec![
            node("DequantizeLinear", &[], "x2"),
            node("Add", &["x", "x2"], "a"),
            node("QuantizeLinear", &["a", "s"], "q"),
            node("DequantizeLinear", &["q", "s"], "d"),
        ],
        vec![conv(most, 1, 1)],
        vec![conv(i64::MIN, 1, 1)],
        vec![conv(0, 0, 1)],
        vec![conv(0, -1, most)],
        vec![conv(most / 2, i64::MIN, i64::MIN)],
    ] {
        let mut weights = constant("w", &[2, 3, 3, 3], &[0.0_f32; 54]);
        for dims in [vec![2, 3, 3, 3], vec![most; 4], vec![-1; 4]] {
            weights.dims = dims;
            let graph = GraphProto {
                node: nodes.clone(),
                initializer: vec![weights.clone()],
                ..GraphProto::default()
            };
            std::fs::write(&path, encode(graph, OPSET))?;
            let inputs = [TensorSpec::f32("x", [1, 3, 8, 8])];
            let Ok(graph) = Graph::read(&path, &inputs) else {
                continue;
            };
            let _ = graph.multiply_adds();
            for layer in graph.layers().unwrap_or_default() {
                let _ = graph.alone(&layer, "input");
            }
        }
    }
    Ok(())
}

#[test]
fn a_marked_file_is_the_same_graph_with_more_outputs() -> Result<()> {
    let graph = fixture()?;
    let marked = decode(graph.with_outputs(&["a", "b"]).into())?;
    assert_eq!(marked.node, graph.graph.node);
    assert_eq!(marked.initializer, graph.graph.initializer);
    let names: Vec<&str> = marked.output.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names[names.len() - 2..], ["a", "b"]);
    Ok(())
}

#[test]
fn a_layer_alone_reads_all_its_inputs_from_one() -> Result<()> {
    let graph = fixture()?;
    let layers = graph.layers()?;
    let add = layers
        .iter()
        .find(|l| l.operator == "Add")
        .context("it adds")?;
    let (bytes, shape) = graph.alone(add, "x")?.context("it has inputs")?;
    assert_eq!(shape[1], 2 * add.shape[1]);
    let alone = decode(bytes.into())?;
    let operators = |name: &str| alone.node.iter().filter(|n| n.op_type == name).count();
    assert_eq!((operators("Conv"), operators("Add")), (2, 1));
    assert!(
        graph.alone(&layers[0], "x")?.is_none(),
        "it quantizes the input"
    );
    Ok(())
}
