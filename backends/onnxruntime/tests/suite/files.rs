//! Files of kinds that users have.

use firstpass_conformance::{
    Test, external_weights, input_without_a_shape, integer_operators, types,
};
use firstpass_onnxruntime::OnnxRuntime;
use firstpass_probe::{Data, bf16, f16};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        an_input_without_a_shape_is_as_it_is_given,
        integer_operators_are_onnx,
        tensors_of_every_type_are_given_and_returned,
        weights_may_lie_beside_the_file_and_nowhere_else,
    ]
}

fn an_input_without_a_shape_is_as_it_is_given() -> anyhow::Result<()> {
    input_without_a_shape::<OnnxRuntime>()
}

fn integer_operators_are_onnx() -> anyhow::Result<()> {
    integer_operators::<OnnxRuntime>()
}

fn tensors_of_every_type_are_given_and_returned() -> anyhow::Result<()> {
    types::<OnnxRuntime>([
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
        (16, Data::BF16(vec![bf16::MAX, bf16::NEG_ZERO])),
    ])
}

fn weights_may_lie_beside_the_file_and_nowhere_else() -> anyhow::Result<()> {
    external_weights::<OnnxRuntime>()
}
