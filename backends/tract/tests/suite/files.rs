//! Files of kinds that users have.

use firstpass_conformance::{Test, copied, external_weights, integer_operators, run_onnx, types};
use firstpass_onnx::{
    GraphProto, ValueInfoProto,
    write::{constant, encode, f32_value, node},
};
use firstpass_probe::{Data, Error, Result, Tensor, bf16, f16};
use firstpass_tract::Tract;
use prost::Message;
use tract_onnx::pb;

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        a_dynamic_axis_is_as_long_as_it_is_given,
        integer_operators_are_onnx,
        tensors_of_every_type_are_given_and_returned,
        bf16_is_refused_by_name,
        weights_may_lie_beside_the_file_and_nowhere_else,
    ]
}

fn integer_operators_are_onnx() -> anyhow::Result<()> {
    integer_operators::<Tract>()
}

fn tensors_of_every_type_are_given_and_returned() -> anyhow::Result<()> {
    types::<Tract>([
        (1, Data::F32(vec![1.5, -0.25])),
        (2, Data::U8(vec![0, 255])),
        (3, Data::I8(vec![-128, 127])),
        (4, Data::U16(vec![0, u16::MAX])),
        (5, Data::I16(vec![i16::MIN, 7])),
        (6, Data::I32(vec![i32::MIN, 7])),
        (7, Data::I64(vec![i64::MIN, 7])),
        (9, Data::Bool(vec![true, false])),
        (10, Data::F16(vec![f16::MAX, f16::NEG_ZERO])),
        (11, Data::F64(vec![f64::MAX, -0.0])),
        (12, Data::U32(vec![0, u32::MAX])),
        (13, Data::U64(vec![0, u64::MAX])),
    ])
}

/// With the axis `N` and no other.
fn open_batch(name: &str, length: usize) -> ValueInfoProto {
    let mut value = f32_value(name, Some(&[1, length]));
    let tensor = value.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
    if let Some(batch) = tensor.and_then(|t| t.shape.as_mut()?.dim.first_mut()) {
        batch.dim_value = None;
        batch.dim_param = Some("N".into());
    }
    value
}

/// What exporters leave in a file: inner tensors and outputs of the shape that was exported.
fn a_dynamic_axis_is_as_long_as_it_is_given() -> Result<()> {
    let graph = GraphProto {
        node: vec![
            node("Relu", &["x"], "h"),
            node("MatMul", &["h", "w"], "m"),
            node("Relu", &["m"], "y"),
        ],
        initializer: vec![constant("w", &[3, 2], &[1.0_f32, 0.0, 0.0, 1.0, 1.0, 1.0])],
        input: vec![open_batch("x", 3)],
        output: vec![f32_value("y", Some(&[1, 2]))],
        ..GraphProto::default()
    };
    let mut model = decode(&encode(graph, 13))?;
    if let Some(graph) = &mut model.graph {
        // The inner tensors as for a batch of 1, and one with another symbol.
        let [mut h, mut m] = [graph.output[0].clone(), graph.input[0].clone()];
        (h.name, m.name) = ("m".into(), "h".into());
        rename_symbols(&mut m, "floor(N/2) + 1");
        graph.value_info = vec![h, m];
    }
    let x = Tensor::new(&[2, 3], vec![1.0_f32, -2.0, 3.0, 4.0, 5.0, -6.0])?;
    let outputs = run_onnx::<Tract>(&model.encode_to_vec(), &[("x", x)])?;
    assert_eq!(
        outputs,
        [Tensor::new(&[2, 2], vec![4.0_f32, 3.0, 4.0, 5.0])?]
    );
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<pb::ModelProto> {
    pb::ModelProto::decode(bytes).map_err(Error::input)
}

fn rename_symbols(value: &mut pb::ValueInfoProto, to: &str) {
    use pb::{tensor_shape_proto::dimension::Value, type_proto};
    let tensor = value.r#type.as_mut().and_then(|t| t.value.as_mut());
    if let Some(type_proto::Value::TensorType(tensor)) = tensor {
        for dim in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
            if let Some(Value::DimParam(name)) = &mut dim.value {
                *name = to.into();
            }
        }
    }
}

fn bf16_is_refused_by_name() -> Result<()> {
    let input = Tensor::new(&[1], vec![bf16::ONE])?;
    let error = copied::<Tract>(16, &input).expect_err("tract has no such type");
    let error = error.to_string().to_lowercase();
    assert!(
        error.contains("bf16") || error.contains("bfloat16"),
        "{error}"
    );
    Ok(())
}

fn weights_may_lie_beside_the_file_and_nowhere_else() -> anyhow::Result<()> {
    external_weights::<Tract>()
}
