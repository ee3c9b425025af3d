//! Files of kinds that users have.

use firstpass_conformance::{
    Test, external_weights, input_without_a_shape, integer_operators, of_type, run_onnx, types,
};
use firstpass_onnx::{
    AttributeProto, GraphProto,
    write::{encode, f32_value, node},
};
use firstpass_openvino::OpenVino;
use firstpass_probe::{Backend, Data, Format, Knobs, Model, Result, Tensor, TensorSpec, bf16, f16};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        a_single_number_stands_beside_inputs_whose_sizes_vary,
        an_input_without_a_shape_is_as_it_is_given,
        integer_operators_are_onnx,
        tensors_of_every_type_are_given_and_returned,
        weights_may_lie_beside_the_file_and_nowhere_else,
    ]
}

fn an_input_without_a_shape_is_as_it_is_given() -> anyhow::Result<()> {
    input_without_a_shape::<OpenVino>()
}

fn integer_operators_are_onnx() -> anyhow::Result<()> {
    integer_operators::<OpenVino>()
}

/// Values that have room in the types that the CPU plugin computes in: see the README.
fn tensors_of_every_type_are_given_and_returned() -> anyhow::Result<()> {
    types::<OpenVino>([
        (1, Data::F32(vec![1.5, -0.25])),
        (2, Data::U8(vec![0, 255])),
        (3, Data::I8(vec![-128, 127])),
        (4, Data::U16(vec![0, u16::MAX])),
        (5, Data::I16(vec![i16::MIN, 7])),
        (6, Data::I32(vec![i32::MIN, 7])),
        (7, Data::I64(vec![i64::from(i32::MIN), 7])),
        (9, Data::Bool(vec![true, false])),
        (10, Data::F16(vec![f16::MAX, f16::NEG_ZERO])),
        (11, Data::F64(vec![1.5, -0.0])),
        (12, Data::U32(vec![0, 7])),
        (13, Data::U64(vec![0, 7])),
        (16, Data::BF16(vec![bf16::MAX, bf16::NEG_ZERO])),
    ])
}

/// A sample rate, say, beside samples of any number, as recognizers of speech have it.
fn a_single_number_stands_beside_inputs_whose_sizes_vary() -> Result<()> {
    let graph = |number: Option<&[usize]>| GraphProto {
        node: vec![
            node("Cast", &["n"], "f").with(AttributeProto::int("to", 1)),
            node("Mul", &["x", "f"], "y"),
            node("ReduceSum", &["y"], "sum").with(AttributeProto::int("keepdims", 0)),
        ],
        input: vec![f32_value("x", None), of_type(f32_value("n", number), 7)],
        output: vec![f32_value("y", None), f32_value("sum", Some(&[]))],
        ..GraphProto::default()
    };
    let given = [
        ("x", Tensor::new(&[2], vec![1.0_f32, -2.5])?),
        ("n", Tensor::new(&[], vec![4_i64])?),
    ];
    let file = encode(graph(Some(&[])), 13);
    let outputs = run_onnx::<OpenVino>(&file, &given)?;
    assert_eq!(outputs[0], Tensor::new(&[2], vec![4.0_f32, -10.0])?);
    assert_eq!(outputs[1], Tensor::new(&[], vec![-6.0_f32])?);
    // What runs is told by the C API, which has the same trouble.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, &file)?;
    let spec = |(name, tensor): &(&str, Tensor)| TensorSpec {
        name: (*name).into(),
        shape: tensor.shape().into(),
        dtype: tensor.dtype(),
    };
    let model = Model {
        name: "model".into(),
        format: Format::ONNX,
        path,
        inputs: given.iter().map(spec).collect(),
        outputs: Vec::new(),
    };
    let inputs = given.clone().map(|(_, tensor)| tensor);
    let engine = OpenVino::start(&Knobs::default())?;
    let told = OpenVino::inspect(&engine, &model, &inputs)?;
    assert!(!told.operators.is_empty());
    // Where the file does not say that it is one, it cannot be told, and zeros are no answer.
    let refused = run_onnx::<OpenVino>(&encode(graph(None), 13), &given);
    let words = refused.map_err(|error| error.to_string());
    assert!(words.is_err_and(|words| words.contains("single number without axes")));
    Ok(())
}

fn weights_may_lie_beside_the_file_and_nowhere_else() -> anyhow::Result<()> {
    external_weights::<OpenVino>()
}
