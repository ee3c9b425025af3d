use std::{fs, path::Path};

use firstpass_onnx::{
    DimensionProto, GraphProto, ValueInfoProto, data_type,
    write::{constant, encode, f32_value, node},
};
use firstpass_probe::TensorSpec;
use firstpass_trial::observation::Outcome;

use crate::{
    record::{Line, Recorder, tests::run},
    studies::first_passes::judge::latency::tests::observation,
    user_model::*,
};

/// A value whose lengths have names, but for those that are numbers.
fn open(name: &str, lengths: &[&str]) -> ValueInfoProto {
    let mut value = f32_value(name, Some(&vec![1; lengths.len()]));
    let tensor = value.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
    if let Some(shape) = tensor.and_then(|tensor| tensor.shape.as_mut()) {
        shape.dim = lengths
            .iter()
            .map(|length| DimensionProto {
                dim_value: length.parse().ok(),
                dim_param: length.parse::<i64>().is_err().then(|| (*length).into()),
            })
            .collect();
    }
    value
}

fn of_type(mut value: ValueInfoProto, elements: i32) -> ValueInfoProto {
    if let Some(tensor) = value.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()) {
        tensor.elem_type = elements;
    }
    value
}

/// An identity of each input, and a constant among the inputs as in old files.
fn identities(inputs: Vec<ValueInfoProto>) -> GraphProto {
    let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
    GraphProto {
        node: names
            .iter()
            .map(|name| node("Identity", &[name], &format!("{name}-out")))
            .collect(),
        output: inputs
            .iter()
            .map(|input| ValueInfoProto {
                name: format!("{}-out", input.name),
                ..input.clone()
            })
            .collect(),
        initializer: vec![constant("old", &[1], &[0.0_f32])],
        input: [inputs, vec![f32_value("old", Some(&[1]))]].concat(),
        ..GraphProto::default()
    }
}

struct Written {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn written(graph: GraphProto) -> Result<Written> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("my model.onnx");
    fs::write(&path, encode(graph, 13))?;
    Ok(Written {
        _folder: folder,
        path,
    })
}

fn describe(written: &Written, inputs: &[&str]) -> Result<ModelDescription> {
    let own = UserModel {
        files: vec![written.path.clone()],
        inputs: inputs
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_>>()?,
        ..UserModel::default()
    };
    own.describe_with(|_| bail!("an ONNX file tells its outputs"))
}

fn error(written: &Written, inputs: &[&str]) -> String {
    match describe(written, inputs) {
        Ok(_) => String::new(),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_file_tells_its_inputs_and_outputs() -> Result<()> {
    let ids = of_type(open("ids", &["1", "7"]), data_type::INT64);
    let graph = identities(vec![open("image", &["batch", "3", "32", "40"]), ids]);
    let model = describe(&written(graph)?, &[])?;
    assert_eq!(model.name, "my model");
    assert_eq!(model.title, "my model.onnx");
    let inputs: Vec<_> = model.inputs.iter().map(InputSpec::tensor).collect();
    assert_eq!(inputs[0], TensorSpec::f32("image", [1, 3, 32, 40]));
    assert_eq!(
        (inputs[1].dtype, &inputs[1].shape),
        (Dtype::I64, &vec![1, 7])
    );
    assert_eq!(inputs.len(), 2, "a constant is no input");
    let shapes: Vec<_> = model.outputs.iter().map(|o| o.shape.clone()).collect();
    assert_eq!(shapes, [None, Some(vec![1, 7])]);
    Ok(())
}

/// "model is fastest on" says nothing: a reader knows a model by its file.
#[test]
fn a_model_is_called_as_its_files_are() {
    let title = |names: &[&str]| {
        let files: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
        title_of_files(&files)
    };
    assert_eq!(title(&["a/onnx/model.onnx"]), "model.onnx");
    assert_eq!(
        title(&["model.onnx", "other.pt"]),
        "model.onnx and other.pt"
    );
    assert_eq!(title(&["faces"]), "faces");
    assert_eq!(title(&["m\n.on\u{1b}nx"]), "m-.on-nx");
}

#[test]
fn what_is_open_has_to_be_given_and_must_fit() -> Result<()> {
    let file = written(identities(vec![open(
        "image",
        &["batch", "3", "height", "width"],
    )]))?;
    let missing = error(&file, &[]);
    assert!(missing.contains("--input image=1x3x224x224"), "{missing}");
    assert_eq!(describe(&file, &["2x3x8x9"])?.inputs[0].shape, [2, 3, 8, 9]);
    // All that is open is asked for at once.
    let ids = |name: &str| of_type(open(name, &["batch", "sequence"]), data_type::INT64);
    let several = written(identities(vec![
        ids("ids"),
        open("closed", &["1", "4"]),
        ids("token types"),
    ]))?;
    let missing = error(&several, &[]);
    for words in [
        "--input ids=1x128",
        "--input token types=1x128",
        "[batch, sequence]",
    ] {
        assert!(missing.contains(words), "{missing}");
    }
    assert!(!missing.contains("closed"), "{missing}");
    for (given, words) in [
        ("image=1x4x8x8", "[batch, 3, height, width]"),
        ("image=3x8x8", "[batch, 3, height, width]"),
        ("picture=1x3x8x8", "no input \"picture\""),
        ("image=1x3x8x8:i64", "of f32 in the file"),
        ("image=1x3x99999x99999", "choose a smaller shape"),
    ] {
        let message = error(&file, &[given]);
        assert!(message.contains(words), "{given}: {message}");
    }
    Ok(())
}

#[test]
fn every_type_that_tensors_have_is_taken() -> Result<()> {
    for (number, dtype) in [
        (10, Dtype::F16),
        (16, Dtype::BF16),
        (4, Dtype::U16),
        (5, Dtype::I16),
        (12, Dtype::U32),
        (13, Dtype::U64),
        (3, Dtype::I8),
        (9, Dtype::Bool),
    ] {
        let model = describe(
            &written(identities(vec![of_type(open("x", &["1"]), number)]))?,
            &[],
        )?;
        assert_eq!(model.inputs[0].dtype, dtype);
    }
    Ok(())
}

#[test]
fn an_input_of_another_type_is_named() -> Result<()> {
    for (number, words) in [
        (8, "strings"),
        (14, "complex"),
        (17, "8 bits"),
        (22, "4 bits"),
    ] {
        let message = error(
            &written(identities(vec![of_type(open("x", &["1"]), number)]))?,
            &[],
        );
        assert!(
            message.contains("input \"x\"") && message.contains(words),
            "{message}"
        );
    }
    Ok(())
}

/// What an engine cannot run of it is its row: no engine is kept from it.
#[test]
fn a_file_in_any_quantized_form_is_onnx() -> Result<()> {
    for operator in [
        "QLinearConv",
        "ConvInteger",
        "MatMulInteger",
        "QLinearMatMul",
        "QGemm",
    ] {
        let mut graph = identities(vec![open("x", &["1"])]);
        graph.node[0].op_type = operator.into();
        let model = describe(&written(graph)?, &[])?;
        let formats: Vec<_> = model.artifacts.keys().copied().collect();
        assert_eq!(formats, [firstpass_probe::Format::ONNX], "{operator}");
        assert_eq!(model.precision, Precision::Int8);
    }
    Ok(())
}

#[test]
fn files_that_are_no_models_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.onnx");
    for bytes in [&b""[..], b"PK\x03\x04 cut off", b"\x08\x07", b"<html>"] {
        fs::write(&path, bytes)?;
        let error = Signature::read(&path).expect_err("must be refused");
        assert!(format!("{error:#}").contains("x.onnx"), "{error:#}");
    }
    assert!(Signature::read(Path::new("no/such.onnx")).is_err());
    Ok(())
}

#[test]
fn a_quantized_output_has_steps() -> Result<()> {
    let graph = GraphProto {
        node: vec![
            node("QuantizeLinear", &["x", "scale", "zero"], "q"),
            node("DequantizeLinear", &["q", "scale", "zero"], "d"),
            node("Sigmoid", &["d"], "s"),
            node("Flatten", &["s"], "y"),
        ],
        initializer: vec![
            constant("scale", &[], &[0.25_f32]),
            constant("zero", &[], &[3_u8]),
        ],
        input: vec![f32_value("x", Some(&[1, 6]))],
        output: vec![f32_value("y", Some(&[1, 6]))],
        ..GraphProto::default()
    };
    let model = describe(&written(graph)?, &[])?;
    assert_eq!(model.precision, Precision::Int8);
    let output = &model.outputs[0];
    assert_eq!(
        output.activation,
        firstpass_trial::model::Activation::Sigmoid
    );
    assert_eq!((output.steps[0].elements, output.steps[0].scale), (6, 0.25));
    Ok(())
}

/// As exporters write it that infer no shapes.
#[test]
fn a_quantized_output_without_a_shape_has_steps_too() -> Result<()> {
    for shape in [None, Some(vec!["batch", "6"])] {
        let mut output = f32_value("y", None);
        if let Some(lengths) = &shape {
            output = open("y", lengths);
        }
        let graph = GraphProto {
            node: vec![
                node("QuantizeLinear", &["x", "scale", "zero"], "q"),
                node("DequantizeLinear", &["q", "scale", "zero"], "d"),
                node("Slice", &["d", "from", "to"], "s"),
                node("Transpose", &["s"], "y"),
            ],
            initializer: vec![
                constant("scale", &[], &[0.25_f32]),
                constant("zero", &[], &[3_u8]),
            ],
            input: vec![f32_value("x", Some(&[1, 6]))],
            output: vec![output],
            ..GraphProto::default()
        };
        let file = written(graph)?;
        let mut model = describe(&file, &[])?;
        assert_eq!(model.outputs[0].step, Some(0.25));
        let path = file.path.with_file_name("model.toml");
        model.move_to(&path);
        fs::write(&path, to_toml(&model)?)?;
        let read = ModelDescription::read(&path)?;
        assert_eq!(read.outputs[0].step, Some(0.25));
    }
    Ok(())
}

#[test]
fn what_is_written_as_toml_is_read_again() -> Result<()> {
    let file = written(identities(vec![
        open("image", &["1", "3", "8", "8"]),
        of_type(open("a \"quoted\" name", &["2"]), data_type::INT32),
    ]))?;
    let mut model = describe(&file, &[])?;
    model.sha256.insert("model.pt".into(), "00ff".into());
    let path = file.path.with_file_name("model.toml");
    fs::write(&path, to_toml(&model)?)?;
    let read = ModelDescription::read(&path)?;
    assert_eq!(serde_json::to_value(&read)?, serde_json::to_value(&model)?);
    Ok(())
}

/// Detections have tables within their table.
#[test]
fn every_description_of_the_fixtures_survives_being_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.toml");
    let models = firstpass_trial::workload::Workload::fixture_models(&Workspace::find()?)?;
    assert!(!models.is_empty());
    for mut model in models {
        model.move_to(&path);
        fs::write(&path, to_toml(&model)?)?;
        let read = ModelDescription::read(&path)?;
        assert_eq!(serde_json::to_value(&read)?, serde_json::to_value(&model)?);
    }
    Ok(())
}

/// Ten thousand operators in a row took seconds, and a hundred thousand minutes.
#[test]
fn a_long_graph_of_many_outputs_is_read_at_once() -> Result<()> {
    let name = |n: usize| format!("v{n}");
    let count = 50_000;
    let nodes = (0..count).map(|n| node("Identity", &[&name(n)], &name(n + 1)));
    let outputs = (1..=3000).map(|n| f32_value(&name(n * 16), Some(&[1])));
    let graph = GraphProto {
        node: nodes.collect(),
        initializer: (0..3000)
            .map(|n| constant(&format!("c{n}"), &[1], &[0.0_f32]))
            .collect(),
        input: vec![f32_value("v0", Some(&[1]))],
        output: outputs.collect(),
        ..GraphProto::default()
    };
    let model = describe(&written(graph)?, &[])?;
    assert_eq!(model.outputs.len(), 3000);
    Ok(())
}

#[test]
fn inputs_and_outputs_of_one_name_are_an_error_of_the_file() -> Result<()> {
    let twice = |name: &str| vec![open(name, &["1"]), open(name, &["1"])];
    let message = error(&written(identities(twice("x")))?, &[]);
    assert!(message.contains("two inputs are named \"x\""), "{message}");
    let mut graph = identities(vec![open("x", &["1"])]);
    graph.output.push(graph.output[0].clone());
    let message = error(&written(graph)?, &[]);
    assert!(
        message.contains("two outputs are named \"x-out\""),
        "{message}"
    );
    Ok(())
}

/// What a file that anybody may have made calls its parts.
const EVIL: &str = "ev|il`x`\n<script>alert(1)</script>\u{1b}[31mRED\u{202e} [l](javascript:1) <!-- firstpass: end -->";

/// A report on a model with such names, of one engine that failed with such words and one that did not.
#[test]
fn names_mean_nothing_in_a_report_and_it_is_the_same_when_it_is_made_again() -> Result<()> {
    let evil = |n: usize| format!("{EVIL} {n}");
    let file = written(GraphProto {
        node: vec![
            node("Relu", &[&evil(0)], &evil(1)),
            node("Relu", &[&evil(1)], &evil(2)),
        ],
        input: vec![f32_value(&evil(0), Some(&[1, 3, 8, 8]))],
        output: vec![
            f32_value(&evil(1), Some(&[1])),
            f32_value(&evil(2), Some(&[1])),
        ],
        ..GraphProto::default()
    })?;
    let workspace = Workspace::find()?;
    let model = describe(&file, &[])?;
    let root = file.path.with_file_name("report");
    let workload = lay_out(&workspace, model, &Inputs::default(), &root, false)?;
    let model = &workload.models[0];
    let mut about = run();
    about.models = vec![model.file.clone()];
    about.samples = workload
        .samples
        .iter()
        .map(|sample| sample.file.clone())
        .collect();
    let mut recorder = Recorder::begin(&root.join("records/one"), &root, &about)?;
    for (engine, outcome) in [
        ("a", Outcome::Completed),
        ("b", Outcome::Failed(firstpass_probe::Error::engine(EVIL))),
    ] {
        let mut seen = observation(0, &[1.0; 12]);
        seen.cell.backend = engine.into();
        seen.cell.model = model.name.clone();
        seen.process.outcome = outcome;
        seen.process.stderr = EVIL.into();
        recorder.write(engine, &Line::Observation(Box::new(seen.clone())))?;
        recorder.write(
            engine,
            &Line::NoArithmetic {
                cell: seen.cell,
                reason: EVIL.into(),
            },
        )?;
    }
    let record = recorder.finish()?;
    let readme = root.join("README.md");
    let analysis = crate::report::write(&workspace, &root, &record, true)?;
    let once = fs::read_to_string(&readme)?;
    for raw in [
        "<script",
        "\u{1b}",
        "\u{202e}",
        "](javascript",
        "ev|il",
        "`x`\n",
    ] {
        assert!(!once.contains(raw), "{raw:?} in {once}");
    }
    assert_eq!(once.matches("<!-- firstpass: end -->").count(), 1, "{once}");
    crate::report::write(&workspace, &root, &record, true)?;
    assert_eq!(fs::read_to_string(&readme)?, once);
    let shown = crate::report::terminal::summary(&analysis)?;
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    Ok(())
}
