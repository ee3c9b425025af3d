//! NNEF, tract's own file format, with the two operators that it lacks.

use std::any::TypeId;

use tract_nnef::{framework::Nnef, internal::*};
use tract_onnx::tract_core::ops::{
    element_wise::ElementWiseOp,
    quant::{DequantizeLinearF32, QuantizeLinearU8, quantize_linear_u8},
};

const QUANTIZE: &str = "firstpass_quantize_linear_u8";
const DEQUANTIZE: &str = "firstpass_dequantize_linear_f32";

/// A reader and writer of NNEF that knows quantization, for which tract's own has no serializer.
pub fn nnef() -> Nnef {
    tract_nnef::nnef().with_registry(quantization())
}

fn quantization() -> Registry {
    let parameters = || {
        vec![
            TypeName::Scalar.tensor().named("input"),
            TypeName::Scalar.named("scale"),
            TypeName::Integer.named("zero_point"),
        ]
    };
    let mut registry = Registry::new("firstpass_quantization");
    registry.register_element_wise(
        QUANTIZE,
        TypeId::of::<QuantizeLinearU8>(),
        Box::new(|ast, node| {
            let op = node.op_as::<ElementWiseOp>();
            let op = op.and_then(|op| op.0.downcast_ref::<QuantizeLinearU8>());
            Ok(op.map(|op| write(QUANTIZE, ast, node, op.scale, op.zero_point.into())))
        }),
        parameters(),
        |builder, invocation| {
            let (input, scale, zero_point) = read(builder, invocation)?;
            builder.wire(quantize_linear_u8(scale, zero_point.try_into()?), &[input])
        },
    );
    registry.register_dumper::<DequantizeLinearF32>(|ast, node, op| {
        Ok(Some(write(DEQUANTIZE, ast, node, op.scale, op.zero_point)))
    });
    registry.register_primitive(
        DEQUANTIZE,
        &parameters(),
        &[("output", TypeName::Scalar.tensor())],
        |builder, invocation| {
            let (input, scale, zero_point) = read(builder, invocation)?;
            builder.wire(DequantizeLinearF32::new(scale, zero_point), &[input])
        },
    );
    registry
}

fn write(
    id: &str,
    ast: &mut IntoAst,
    node: &TypedNode,
    scale: f32,
    zero_point: i32,
) -> Arc<RValue> {
    // Rust writes as many digits as bring back the same float.
    let named = [
        ("scale", numeric(scale)),
        ("zero_point", numeric(zero_point)),
    ];
    invocation(id, &[ast.mapping[&node.inputs[0]].clone()], &named)
}

fn read(
    builder: &mut ModelBuilder,
    invocation: &ResolvedInvocation,
) -> TractResult<(OutletId, f32, i32)> {
    let zero_point: i64 = invocation.named_arg_as(builder, "zero_point")?;
    Ok((
        invocation.named_arg_as(builder, "input")?,
        invocation.named_arg_as(builder, "scale")?,
        i32::try_from(zero_point)?,
    ))
}
