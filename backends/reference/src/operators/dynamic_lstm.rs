//! DynamicQuantizeLSTM of ONNX Runtime's domain, which its quantizer writes for an LSTM.

use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    kind::Kind,
    operators::{Call, quantize, recurrent},
    value::Value,
};

/// An LSTM whose weights are bytes, and which quantizes what it multiplies them with as DynamicQuantizeLinear does:
/// the whole sequence once, and the states of all batches before each step.
pub fn dynamic_lstm(call: &Call<'_>) -> Result<Vec<Value>> {
    let dynamic = |values: &[f64]| -> Result<Vec<f64>> {
        let array = Array {
            dims: vec![values.len()],
            values: values.to_vec(),
        };
        let given = Some(Value::real(array, Kind::F32));
        let quantized = quantize::dynamic(&Call {
            inputs: &[given],
            ..*call
        })?;
        let [Value::Whole(steps), scale, Value::Whole(zero)] = &quantized[..] else {
            return Err(Error::engine("it is quantized to bytes"));
        };
        let zero = zero.array.values.first().copied().unwrap_or_default();
        let scale = scale.reals()?;
        let scale = scale.array.values.first().copied().unwrap_or_default();
        let steps = steps.array.values.iter();
        Ok(steps.map(|step| (step - zero) as f64 * scale).collect())
    };
    let mut inputs: Vec<Option<Value>> = call.inputs.iter().take(8).cloned().collect();
    for (position, input) in [(1, 8), (2, 10)] {
        inputs[position] = Some(weights_of_lstm(call, position, [input, input + 1])?);
    }
    recurrent::lstm_through(
        &Call {
            inputs: &inputs,
            ..*call
        },
        dynamic,
    )
}

/// Its weights at a position as real numbers, in the order of LSTM: of its own the last two axes are the other way
/// round. They have a scale for each direction, or for each row of each.
fn weights_of_lstm(call: &Call<'_>, position: usize, [scale, zero]: [usize; 2]) -> Result<Value> {
    let weights = call.integers(position)?;
    let misfit = || Error::engine(format!("its input {position} has scales of another shape"));
    let [directions, columns, rows] = weights.array.dims[..] else {
        return Err(misfit());
    };
    let scales = call.reals(scale)?;
    let zeros: Vec<i64> = match call.optional(zero) {
        None => vec![0],
        Some(_) => call.list(zero)?,
    };
    let scales = &scales.array.values;
    let counts = [1, directions, directions * rows];
    if !counts.contains(&scales.len()) || !counts.contains(&zeros.len()) {
        return Err(misfit());
    }
    let count = directions * rows;
    let array = weights.array.transposed(&[0, 2, 1])?;
    let values = array.values.iter().enumerate().map(|(at, &weight)| {
        let row = at / columns.max(1);
        let of = |length: usize| row * length / count;
        let steps = weight - zeros[of(zeros.len())];
        steps as f64 * scales[of(scales.len())]
    });
    Ok(Value::real(
        Array {
            values: values.collect(),
            dims: array.dims.clone(),
        },
        Kind::F32,
    ))
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::{
        AttributeProto, GraphProto, NodeProto,
        write::{constant, f32_value, node},
    };

    use super::*;
    use crate::{
        graph::{Interpretation, Model},
        rules::Rules,
    };

    /// What ONNX Runtime 1.31 gives for these weights of bytes.
    #[test]
    fn an_lstm_of_bytes_is_quantized_step_by_step() -> Result<()> {
        let bytes = |dims: &[usize], factor: usize, zero: i64| -> Vec<i8> {
            let count: usize = dims.iter().product();
            (0..count)
                .map(|at| (((at * factor) % 23) as i64 * 9 - 99 + zero) as i8)
                .collect()
        };
        let (w, r) = ([2, 3, 8], [2, 2, 8]);
        let biases: Vec<f32> = (0..32)
            .map(|at| ((at * 4 % 11) as f32 - 5.0) / 8.0)
            .collect();
        let graph = GraphProto {
            node: vec![NodeProto {
                domain: "com.microsoft".into(),
                output: ["y", "yh", "yc"].map(String::from).to_vec(),
                ..node(
                    "DynamicQuantizeLSTM",
                    &["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"],
                    "y",
                )
                .with(AttributeProto::int("hidden_size", 2))
                .with(AttributeProto::text("direction", "bidirectional"))
            }],
            initializer: vec![
                constant("w", &w, &bytes(&w, 5, 0)),
                constant("r", &r, &bytes(&r, 7, 0)),
                constant("b", &[2, 16], &biases),
                constant("ws", &[2], &[0.01_f32, 0.006]),
                constant("wz", &[2], &[0_i8, 3]),
                constant("rs", &[2], &[0.008_f32, 0.007]),
                constant("rz", &[2], &[0_i8, 0]),
            ],
            input: vec![f32_value("x", None)],
            output: ["y", "yh", "yc"].map(|name| f32_value(name, None)).to_vec(),
            ..GraphProto::default()
        };
        let model = Model::new(graph, 14, &["x"], &["y", "yh", "yc"])?;
        let x = (0..12).map(|at| (((at * 3) % 11) as f64 - 5.0) / 8.0);
        let x = Array {
            dims: vec![4, 1, 3],
            values: x.collect(),
        };
        let interpretation = Interpretation {
            rules: Rules::default(),
            threads: 1,
        };
        let inputs = [("x", Value::real(x, Kind::F32))].into();
        let found = model.run(interpretation, inputs, &mut |_, compute| compute())?;
        let expected = [Y, H, C];
        for (found, expected) in found.iter().zip(expected) {
            let found = &found.reals()?.array.values;
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{found} {expected}");
            }
        }
        Ok(())
    }

    const Y: &[f64] = &[
        -0.1462547, 0.0048557, 0.0568302, -0.1804540, -0.2205314, 0.0418368, 0.1190663, -0.0851184,
        -0.2844845, 0.0720377, 0.0826585, -0.0534211, -0.3266909, 0.1278801, 0.1114484, -0.0270400,
    ];
    const H: &[f64] = &[-0.3266909, 0.1278801, 0.0568302, -0.1804540];
    const C: &[f64] = &[-0.9974625, 0.5013290, 0.1188012, -0.2627445];
}
