//! Operators of ONNX Runtime's domain `com.microsoft` whose definition is public (its `ContribOperators.md`).
//! Those of the family QLinear are the operator on dequantized values, quantized again.

use std::sync::Arc;

use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    kind::Kind,
    operators::{
        Call, Table,
        activations::{gelu, gelu_by_tanh, sigmoid},
        axis, binary,
        dynamic_lstm::dynamic_lstm,
        find,
        matmul::{self, product},
        movement::concatenated,
        on_bytes::{self, Output},
        pool,
        quantize::{bias_in_steps, dequantized, requantized},
    },
    value::{Dequantized, Value},
};

pub const TABLE: Table = &[
    ("BiasGelu", |call| activated(call, gelu)),
    ("DequantizeLinear", standard),
    ("DynamicQuantizeLSTM", dynamic_lstm),
    ("DynamicQuantizeMatMul", dynamic_matmul),
    ("FastGelu", |call| activated(call, gelu_by_tanh)),
    ("FusedMatMul", fused_matmul),
    ("Gelu", |call| activated(call, gelu)),
    ("MatMulIntegerToFloat", matmul_to_float),
    ("QGemm", qgemm),
    ("QLinearAdd", |call| {
        let [a, b] = operands(call)?;
        if let Some(output) = Output::of(call, &a, [6, 7])?
            && let Some(sum) = on_bytes::sum(call, [&a, &b], &output)?
        {
            return Ok(vec![sum]);
        }
        let sum = match binary::exact_sum(call, &a, &b)? {
            Some(sum) => sum,
            None => of_two(&a, &b, |a, b| a + b)?,
        };
        Ok(vec![requantized(call, &sum, [6, 7], a.integers.kind)?])
    }),
    ("QLinearAveragePool", |call| {
        if call.is_set("channels_last")? {
            return Err(Error::unsupported("its channels are the last axis"));
        }
        let x = dequantized(call, 0, [1, 2], 1)?;
        let mean = pool::average(call, &Value::Dequantized(Arc::clone(&x)))?;
        if let Some(output) = Output::of(call, &x, [3, 4])? {
            return Ok(vec![on_bytes::means(call, &mean.reals()?.array, &output)]);
        }
        Ok(vec![requantized(call, &mean, [3, 4], x.integers.kind)?])
    }),
    ("QLinearConcat", qlinear_concat),
    ("QLinearGlobalAveragePool", global_average),
    ("QLinearLeakyRelu", |call| {
        let alpha = call.float("alpha", 0.01);
        unary(call, |v| if v < 0.0 { alpha * v } else { v })
    }),
    ("QLinearMul", |call| {
        let [a, b] = operands(call)?;
        if let Some(output) = Output::of(call, &a, [6, 7])?
            && let Some(product) = on_bytes::product(call, [&a, &b], &output)?
        {
            return Ok(vec![product]);
        }
        let product = of_two(&a, &b, |a, b| a * b)?;
        Ok(vec![requantized(call, &product, [6, 7], a.integers.kind)?])
    }),
    ("QLinearSigmoid", |call| unary(call, sigmoid)),
    ("QLinearSoftmax", qlinear_softmax),
    ("QuantizeLinear", standard),
    ("QuickGelu", |call| {
        let alpha = call.float("alpha", 1.702);
        activated(call, |v| v * sigmoid(alpha * v))
    }),
    ("SkipLayerNormalization", skip_layer_normalization),
];

/// The operator of the same name in ONNX's own domain.
fn standard(call: &Call<'_>) -> Result<Vec<Value>> {
    another(call, &call.node.op_type, call.inputs)
}

/// An operator of ONNX's own domain, with the attributes of this node.
fn another(call: &Call<'_>, name: &str, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
    let node = firstpass_onnx::NodeProto {
        op_type: name.into(),
        domain: String::new(),
        ..call.node.clone()
    };
    let operator = find(&node).ok_or_else(|| Error::engine(format!("there is no {name}")))?;
    operator(&Call {
        node: &node,
        inputs,
        ..*call
    })
}

/// Of a value, to which an optional second input is added first.
fn activated(call: &Call<'_>, of: impl Fn(f64) -> f64) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let array = match call.optional(1) {
        None => reals.array.clone(),
        Some(bias) => binary::pairs(&reals.array, &bias.reals()?.array, |v, bias| v + bias)?,
    };
    Ok(vec![Value::real(array.map(of), reals.kind)])
}

fn unary(call: &Call<'_>, of: impl Fn(f64) -> f64) -> Result<Vec<Value>> {
    let x = dequantized(call, 0, [1, 2], 1)?;
    let kind = x.integers.kind;
    let reals = Value::Dequantized(x).reals()?;
    let result = Value::real(reals.array.map(of), reals.kind);
    Ok(vec![requantized(call, &result, [3, 4], kind)?])
}

fn operands(call: &Call<'_>) -> Result<[Arc<Dequantized>; 2]> {
    Ok([
        dequantized(call, 0, [1, 2], 1)?,
        dequantized(call, 3, [4, 5], 1)?,
    ])
}

fn of_two(
    a: &Arc<Dequantized>,
    b: &Arc<Dequantized>,
    of: impl Fn(f64, f64) -> f64,
) -> Result<Value> {
    let [a, b] = [a, b].map(|value| Value::Dequantized(Arc::clone(value)).reals());
    let (a, b) = (a?, b?);
    Ok(Value::real(binary::pairs(&a.array, &b.array, of)?, a.kind))
}

fn qlinear_concat(call: &Call<'_>) -> Result<Vec<Value>> {
    let parts: Vec<Value> = (2..call.inputs.len())
        .step_by(3)
        .map(|at| {
            Ok(Value::Dequantized(dequantized(
                call,
                at,
                [at + 1, at + 2],
                1,
            )?))
        })
        .collect::<Result<_>>()?;
    let all: Vec<&Value> = parts.iter().collect();
    let rank = all.first().map_or(0, |part| part.dims().len());
    let joined = concatenated(&all, axis(call.int("axis", 0)?, rank)?)?;
    Ok(vec![requantized(call, &joined, [0, 1], Kind::U8)?])
}

fn global_average(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = dequantized(call, 0, [1, 2], 1)?;
    let kind = x.integers.kind;
    let rank = x.integers.array.dims.len();
    let channels_last = call.is_set("channels_last")?;
    let along: Vec<usize> = if channels_last {
        (1..rank.saturating_sub(1)).collect()
    } else {
        (2..rank).collect()
    };
    if let Some(output) = Output::of(call, &x, [3, 4])?
        && let Some(mean) = on_bytes::mean(call, &x, &along, &output)?
    {
        return Ok(vec![mean]);
    }
    let reals = Value::Dequantized(x).reals()?;
    let (dims, groups) = super::reduce::groups(&reals.array, &along);
    let means = groups
        .iter()
        .map(|all| all.iter().sum::<f64>() / all.len() as f64);
    let array = Array {
        values: means.collect(),
        dims,
    };
    let mean = Value::real(array, reals.kind);
    Ok(vec![requantized(call, &mean, [3, 4], kind)?])
}

fn qlinear_softmax(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = dequantized(call, 0, [1, 2], 1)?;
    let kind = x.integers.kind;
    let opset = call.int("opset", call.context.opset)?;
    let inner = Call {
        context: crate::graph::Context {
            opset,
            ..call.context
        },
        ..*call
    };
    let result = another(&inner, "Softmax", &[Some(Value::Dequantized(x))])?;
    Ok(vec![requantized(call, &result[0], [3, 4], kind)?])
}

fn qgemm(call: &Call<'_>) -> Result<Vec<Value>> {
    let transposes_b = call.is_set("transB")?;
    if call.is_set("transA")? || call.float("alpha", 1.0) != 1.0 {
        return Err(Error::unsupported(
            "its first matrix is transposed or scaled",
        ));
    }
    let a = dequantized(call, 0, [1, 2], 1)?;
    let b = dequantized(call, 3, [4, 5], if transposes_b { 0 } else { 1 })?;
    let bias = bias_in_steps(call, 6, [&a, &b])?;
    let b = matmul::transposed(call, "transB", &Value::Dequantized(b))?;
    let Value::Dequantized(b) = b else {
        return Err(Error::engine("a matrix of bytes stays one"));
    };
    let pending = matmul::exact(&a, &b, bias.as_ref())?;
    let pending = pending.ok_or_else(|| Error::unsupported("its matrices are not of bytes"))?;
    if call.optional(7).is_none() {
        return Ok(vec![Value::Real(pending.reals()?)]);
    }
    Ok(vec![requantized(call, &pending, [7, 8], a.integers.kind)?])
}

fn fused_matmul(call: &Call<'_>) -> Result<Vec<Value>> {
    let swapped = |position: usize, name: &str| -> Result<Array<f64>> {
        let array = call.reals(position)?.array.clone();
        let rank = array.dims.len();
        if !call.is_set(name)? || rank < 2 {
            return Ok(array);
        }
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 1, rank - 2);
        array.transposed(&order)
    };
    if call.is_set("transBatchA")? || call.is_set("transBatchB")? {
        return Err(Error::unsupported("it moves the axes of batches"));
    }
    let (a, b) = (swapped(0, "transA")?, swapped(1, "transB")?);
    let alpha = call.float("alpha", 1.0);
    let found = product(&a, &b)?.map(|v| alpha * v);
    Ok(vec![Value::real(found, call.value(0)?.kind())])
}

/// Exact sums of bytes times the product of the scales, and a bias.
fn scaled(call: &Call<'_>, sums: &Array<f64>, scale: Array<f64>, bias: usize) -> Result<Value> {
    let scaled = binary::pairs(sums, &scale, |sum, scale| Kind::F32.rounded(sum * scale))?;
    let all = match call.optional(bias) {
        None => scaled,
        Some(bias) => binary::pairs(&scaled, &bias.reals()?.array, |v, bias| v + bias)?,
    };
    Ok(Value::real(all, Kind::F32))
}

fn matmul_to_float(call: &Call<'_>) -> Result<Vec<Value>> {
    let rank = |position: usize| Ok::<_, Error>(call.value(position)?.dims().len());
    let a = matmul::centred(call, 0, 4, rank(0)?.saturating_sub(2))?;
    let b = matmul::centred(call, 1, 5, rank(1)?.saturating_sub(1))?;
    let scale = binary::pairs(&call.reals(2)?.array, &call.reals(3)?.array, |a, b| {
        Kind::F32.rounded(a * b)
    })?;
    Ok(vec![scaled(call, &product(&a, &b)?, scale, 6)?])
}

fn dynamic_matmul(call: &Call<'_>) -> Result<Vec<Value>> {
    let quantized = another(call, "DynamicQuantizeLinear", &call.inputs[..1])?;
    let [Value::Whole(a), scale, Value::Whole(zero)] = &quantized[..] else {
        return Err(Error::engine("it is quantized to bytes"));
    };
    let zero = zero.array.values.first().copied().unwrap_or_default();
    let a = a.array.map(|v| (v - zero) as f64);
    let rank = call.value(1)?.dims().len();
    let b = matmul::centred(call, 1, 3, rank.saturating_sub(1))?;
    let scale = binary::pairs(&scale.reals()?.array, &call.reals(2)?.array, |a, b| {
        Kind::F32.rounded(a * b)
    })?;
    Ok(vec![scaled(call, &product(&a, &b)?, scale, 4)?])
}

fn skip_layer_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, skip) = (call.reals(0)?, call.reals(1)?);
    let mut sum = binary::pairs(&x.array, &skip.array, |v, skip| v + skip)?;
    if let Some(bias) = call.optional(4) {
        sum = binary::pairs(&sum, &bias.reals()?.array, |v, bias| v + bias)?;
    }
    let sum = Value::real(sum, x.kind);
    let inputs = [
        Some(sum.clone()),
        call.optional(2).cloned(),
        call.optional(3).cloned(),
    ];
    let mut outputs = another(call, "LayerNormalization", &inputs)?;
    outputs.truncate(3);
    outputs.push(sum);
    Ok(outputs)
}
