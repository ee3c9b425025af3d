//! Small files of a kind that users have, for the tests of a backend.

use std::path::Path;

use anyhow::{anyhow, ensure};
use firstpass_onnx::{
    GraphProto, ValueInfoProto,
    write::{constant, encode, f32_value, node},
};
use firstpass_probe::{
    Backend, Data, Format, Knobs, Model, Result, Session, Tensor, TensorSpec, Tensors,
};

/// The outputs of an ONNX file with these bytes on inputs by name; all outputs that the file has.
///
/// # Errors
/// As the backend.
pub fn run_onnx<B: Backend>(bytes: &[u8], inputs: &[(&str, Tensor)]) -> Result<Tensors> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes)?;
    run_onnx_file::<B>(&path, inputs)
}

fn run_onnx_file<B: Backend>(path: &Path, inputs: &[(&str, Tensor)]) -> Result<Tensors> {
    let spec = |(name, tensor): &(&str, Tensor)| TensorSpec {
        name: (*name).into(),
        shape: tensor.shape().into(),
        dtype: tensor.dtype(),
    };
    let model = Model {
        name: "model".into(),
        format: Format::ONNX,
        path: path.into(),
        inputs: inputs.iter().map(spec).collect(),
        outputs: Vec::new(),
    };
    let mut session = Session::<B>::open(&model, &Knobs::default())?;
    let tensors: Vec<Tensor> = inputs.iter().map(|(_, tensor)| tensor.clone()).collect();
    session.pass(&tensors)
}

/// A value whose elements are of another ONNX type, by its number.
#[must_use]
pub fn of_type(mut value: ValueInfoProto, elements: i32) -> ValueInfoProto {
    if let Some(tensor) = value.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()) {
        tensor.elem_type = elements;
    }
    value
}

/// The outputs of a file that copies its input, whose ONNX type has this number.
///
/// # Errors
/// As the backend.
pub fn copied<B: Backend>(elements: i32, input: &Tensor) -> Result<Tensors> {
    let of = |name| of_type(f32_value(name, Some(input.shape())), elements);
    let graph = GraphProto {
        // An engine may end a graph of nothing but `Identity` before it has looked at a type.
        node: vec![
            node("Unsqueeze", &["x", "axes"], "u"),
            node("Squeeze", &["u", "axes"], "y"),
        ],
        initializer: vec![constant("axes", &[1], &[0_i64])],
        input: vec![of("x")],
        output: vec![of("y")],
        ..GraphProto::default()
    };
    run_onnx::<B>(&encode(graph, 13), &[("x", input.clone())])
}

/// Two values of each ONNX type, and a single number, come back from a file that copies them as they were given.
///
/// # Errors
/// Fails where the backend gives other values, or as it does.
pub fn types<B: Backend>(types: impl IntoIterator<Item = (i32, Data)>) -> anyhow::Result<()> {
    for (elements, data) in types {
        for shape in [&[2][..], &[2, 1]] {
            let outputs = copied::<B>(elements, &Tensor::new(shape, data.clone())?)?;
            ensure!(
                outputs[0].data() == &data,
                "of {data:?} in the shape {shape:?} it makes {:?}",
                outputs[0].data()
            );
        }
    }
    let number = Tensor::new(&[], vec![16_000_i64])?;
    ensure!(copied::<B>(7, &number)?[0].data() == number.data());
    Ok(())
}

/// `MatMulInteger`, an operator of integers, in a file of ONNX.
///
/// # Errors
/// Fails where the backend gives other values, or as it does.
pub fn integer_operators<B: Backend>() -> anyhow::Result<()> {
    let graph = GraphProto {
        node: vec![node("MatMulInteger", &["x", "w", "zx", "zw"], "y")],
        initializer: vec![
            constant("w", &[2, 1], &[3_i8, -4]),
            constant("zx", &[], &[1_u8]),
            constant("zw", &[], &[1_i8]),
        ],
        input: vec![of_type(f32_value("x", Some(&[1, 2])), 2)],
        output: vec![of_type(f32_value("y", Some(&[1, 1])), 6)],
        ..GraphProto::default()
    };
    let x = Tensor::new(&[1, 2], vec![5_u8, 3])?;
    let outputs = run_onnx::<B>(&encode(graph, 13), &[("x", x)])?;
    ensure!(outputs == [Tensor::new(&[1, 1], vec![4 * 2 + 2 * -5])?]);
    Ok(())
}

/// An input without a shape takes what it is given, as it does from Python.
///
/// # Errors
/// Fails where the backend gives other values, or as it does.
pub fn input_without_a_shape<B: Backend>() -> anyhow::Result<()> {
    let graph = GraphProto {
        node: vec![node("Neg", &["x"], "y")],
        input: vec![f32_value("x", None)],
        output: vec![f32_value("y", None)],
        ..GraphProto::default()
    };
    for shape in [&[1, 2][..], &[2], &[2, 1, 1]] {
        let x = Tensor::new(shape, vec![1.0_f32, -2.0])?;
        let outputs = run_onnx::<B>(&encode(graph.clone(), 13), &[("x", x)])?;
        ensure!(outputs == [Tensor::new(shape, vec![-1.0_f32, 2.0])?]);
    }
    Ok(())
}

/// Weights in a file beside the model are read; those of a file outside its folder are not, however the model
/// leads there.
///
/// # Errors
/// Fails where the backend does otherwise.
pub fn external_weights<B: Backend>() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let inside = folder.path().join("model");
    std::fs::create_dir(&inside)?;
    let outside = folder.path().join("w.bin");
    let values = [2.0_f32, 3.0].map(f32::to_le_bytes).concat();
    std::fs::write(&outside, &values)?;
    std::fs::write(inside.join("w.bin"), &values)?;
    #[cfg(unix)]
    std::os::unix::fs::symlink(&outside, inside.join("link.bin"))?;
    let path = inside.join("model.onnx");
    for (location, is_inside) in [
        ("w.bin", true),
        ("../w.bin", false),
        ("link.bin", false),
        (&*outside.to_string_lossy(), false),
    ] {
        let graph = GraphProto {
            node: vec![node("Mul", &["x", "w"], "y")],
            input: vec![f32_value("x", Some(&[2]))],
            output: vec![f32_value("y", Some(&[2]))],
            ..GraphProto::default()
        };
        // Protobuf adds the fields of a second message to those of the first.
        let file = [encode(graph, 13), external("w", 2, location)].concat();
        std::fs::write(&path, file)?;
        let x = Tensor::new(&[2], vec![1.0_f32, 1.0])?;
        match run_onnx_file::<B>(&path, &[("x", x)]) {
            Ok(outputs) => {
                ensure!(is_inside, "weights in {location} were read");
                ensure!(outputs == [Tensor::new(&[2], vec![2.0_f32, 3.0])?]);
            }
            Err(error) if is_inside => return Err(anyhow!("weights in {location}: {error}")),
            Err(_) => {}
        }
    }
    Ok(())
}

/// A model of nothing but weights of f32 in another file, in protobuf.
fn external(name: &str, length: u8, location: &str) -> Vec<u8> {
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        // A length of two groups of 7 bits, which is enough for a path.
        let length = content.len();
        let length = [0x80 | (length & 0x7f) as u8, (length >> 7 & 0x7f) as u8];
        [&[tag << 3 | 2][..], &length, content].concat()
    }
    let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
    let tensor = [
        // `dims` and `data_type`.
        vec![1 << 3, length, 2 << 3, 1],
        field(8, name.as_bytes()),
        field(13, &entry),
        // `data_location`: EXTERNAL.
        vec![14 << 3, 1],
    ];
    field(7, &field(5, &tensor.concat()))
}
