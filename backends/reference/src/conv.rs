//! The operator Conv: of integers and, where they are not quantized, of floats.

use std::sync::Arc;

use firstpass_onnx::NodeProto;
use firstpass_probe::{Error, Result};

use crate::{
    any_order::Products,
    array::Array,
    convolution::{MAX_PRODUCTS, Span, Window},
    graph::Context,
    operators::{Inputs, float, input},
    requantize::{Bias, Bounds, Channel},
    rules::Sums,
    value::{Dequantized, Exact, Pending, Value},
};

/// Of dequantized values it is exact; of floats it is rounded once.
///
/// # Errors
/// Fails where types or shapes do not fit.
pub fn convolve(node: &NodeProto, inputs: Inputs<'_>, context: Context) -> Result<Value> {
    let (activations, weights) = (input(inputs, 0)?, input(inputs, 1)?);
    let window = window(node)?;
    if let (Value::Dequantized(activations), Value::Dequantized(weights)) = (activations, weights)
        && weights.axis == 0
        && context.rules.end.is_none()
    {
        return convolve_integers(inputs, activations, weights, window, context);
    }
    let (activations, weights) = (activations.float()?, weights.float()?);
    let sums = window.sums(&*activations, &*weights, context.threads)?;
    let [_, channels, height, width] = sums.image_dims()?;
    let bias = match inputs.get(2).and_then(Option::as_ref) {
        None => vec![0.0; channels],
        Some(bias) => bias.float()?.values.clone(),
    };
    check_bias(bias.len(), channels)?;
    let bias = |at: usize| bias[at / (height * width) % channels];
    let places = sums.values.iter().enumerate();
    let values = match context.rules.end {
        None => places
            .map(|(at, sum)| (sum + f64::from(bias(at))) as f32)
            .collect(),
        Some(end) => {
            let magnitudes = |array: &Array<f32>| array.map(f32::abs);
            let nonzero = |array: &Array<f32>| array.map(|v| f32::from(u8::from(v != 0.0)));
            let of = |part: fn(&Array<f32>) -> Array<f32>| {
                window.sums(&part(&activations), &part(&weights), context.threads)
            };
            let (magnitudes, terms) = (of(magnitudes)?, of(nonzero)?);
            places
                .map(|(at, &total)| {
                    let products = Products {
                        total,
                        magnitude: magnitudes.values[at],
                        terms: terms.values[at],
                    };
                    products.in_f32(bias(at), end)
                })
                .collect()
        }
    };
    Ok(float(Array {
        values,
        dims: sums.dims.clone(),
    }))
}

fn convolve_integers(
    inputs: Inputs<'_>,
    activations: &Dequantized,
    weights: &Dequantized,
    window: Window,
    context: Context,
) -> Result<Value> {
    let quantization = activations.quantization()?;
    let centred = weights.centred()?;
    let [channels, group_inputs, rows, columns] = centred.image_dims()?;
    let products = group_inputs * rows * columns;
    if products > MAX_PRODUCTS {
        return Err(Error::unsupported(format!(
            "sums of {products} products may overflow"
        )));
    }
    let is_depthwise = group_inputs == 1 && window.groups == channels;
    let saturates = match context.rules.sums {
        Sums::Exact => false,
        Sums::DepthwisePairs => is_depthwise,
        Sums::Pairs => true,
    };
    let sums = if saturates {
        let raw = activations.integers.array.map(|value| value as i16);
        let zero = quantization.zero as i16;
        window.sums_of_saturating_pairs(&raw, zero, &centred, context.threads)?
    } else {
        window.sums(&activations.centred()?, &centred, context.threads)?
    };
    let bias = |channel: usize| -> Result<Bias> {
        match inputs.get(2).and_then(Option::as_ref) {
            None => Ok(Bias::Float(0.0)),
            Some(Value::Float(bias)) => {
                check_bias(bias.values.len(), channels)?;
                Ok(Bias::Float(bias.values[channel]))
            }
            Some(Value::Dequantized(bias)) => {
                let values = &bias.integers.array.values;
                check_bias(values.len(), channels)?;
                check_bias_scale(
                    bias.scale(channel),
                    quantization.scale * weights.scale(channel),
                )?;
                Ok(Bias::Int(values[channel]))
            }
            Some(_) => Err(Error::unsupported("its bias is no constant")),
        }
    };
    let channels = (0..channels).map(|channel| {
        Ok(Channel {
            input: quantization.scale,
            weight: weights.scale(channel),
            scales: weights.scales.len(),
            bias: bias(channel)?,
        })
    });
    Ok(Value::Pending(Arc::new(Pending {
        exact: Exact::Convolution {
            sums: Arc::new(sums),
            channels: Arc::new(channels.collect::<Result<_>>()?),
        },
        bounds: Bounds::NONE,
    })))
}

fn check_bias(values: usize, channels: usize) -> Result<()> {
    if values == channels {
        Ok(())
    } else {
        Err(Error::engine(format!(
            "its bias has {values} values for {channels} channels"
        )))
    }
}

/// An integer bias counts in steps of the sums that it is added to. Exporters compute the product of
/// the scales in f32 or in f64.
fn check_bias_scale(scale: f32, expected: f32) -> Result<()> {
    if (scale - expected).abs() <= expected * 1e-6 {
        Ok(())
    } else {
        Err(Error::unsupported(format!(
            "its bias has the scale {scale}; the product of those of input and weights is {expected}"
        )))
    }
}

fn window(node: &NodeProto) -> Result<Window> {
    if !matches!(
        node.text("auto_pad").unwrap_or(b"NOTSET"),
        b"NOTSET" | b"VALID"
    ) {
        return Err(Error::unsupported("padding must be explicit"));
    }
    let ints = |name: &str, count: usize, default: i64| -> Result<Vec<usize>> {
        let given = node
            .ints(name)
            .map_or_else(|| vec![default; count], <[i64]>::to_vec);
        let ints: Option<Vec<usize>> = given.iter().map(|&v| usize::try_from(v).ok()).collect();
        ints.filter(|ints| ints.len() == count)
            .ok_or_else(|| Error::unsupported(format!("it has {name} {given:?}")))
    };
    let (strides, dilations, pads) = (
        ints("strides", 2, 1)?,
        ints("dilations", 2, 1)?,
        ints("pads", 4, 0)?,
    );
    let groups = usize::try_from(node.int("group")?.unwrap_or(1)).unwrap_or(0);
    if groups == 0 || strides.contains(&0) || dilations.contains(&0) {
        return Err(Error::engine(
            "groups, strides and dilations are at least 1",
        ));
    }
    let span = |axis: usize| Span {
        stride: strides[axis],
        dilation: dilations[axis],
        padding: [pads[axis], pads[axis + 2]],
    };
    Ok(Window {
        vertical: span(0),
        horizontal: span(1),
        groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        any_order::End,
        operators::compute,
        rules::{Arithmetic, Rules},
        value::Integers,
    };

    fn dequantized(dims: [usize; 4], limits: (i32, i32), scale: f32) -> Value {
        let count: usize = dims.iter().product();
        let range = (limits.1 - limits.0 + 1) as usize;
        let value = |at: usize| limits.0 + (at * at * 31 % 257 % range) as i32;
        let array = Array {
            dims: dims.to_vec(),
            values: (0..count).map(value).collect(),
        };
        Value::Dequantized(Arc::new(Dequantized {
            integers: Arc::new(Integers { array, limits }),
            scales: vec![scale],
            zeros: vec![0],
            axis: 0,
        }))
    }

    /// The integers of a convolution that is quantized.
    fn layer(end: Option<End>) -> Result<Vec<i32>> {
        let context = Context {
            arithmetic: Arithmetic::Exact,
            rules: Rules {
                end,
                ..Rules::default()
            },
            threads: 1,
        };
        let node = |op_type: &str| NodeProto {
            op_type: op_type.into(),
            ..NodeProto::default()
        };
        let inputs = [
            dequantized([1, 8, 30, 30], (0, 255), 0.02),
            dequantized([4, 8, 3, 3], (-128, 127), 0.01),
        ];
        let sums = compute(&node("Conv"), &inputs.map(Some), context)?;
        let scale = float(Array {
            dims: vec![],
            values: vec![2.0],
        });
        let inputs = [Some(sums), Some(scale)];
        match compute(&node("QuantizeLinear"), &inputs, context)? {
            Value::Quantized(integers) => Ok(integers.array.values.clone()),
            other => Err(Error::engine(format!("not quantized: {other:?}"))),
        }
    }

    #[test]
    fn the_exact_integers_lie_between_the_ends_which_are_mostly_the_same() -> Result<()> {
        let exact = layer(None)?;
        let (lowest, highest) = (layer(Some(End::Lowest))?, layer(Some(End::Highest))?);
        assert!(exact.iter().any(|&value| 0 < value && value < 255));
        for ((low, value), high) in lowest.iter().zip(&exact).zip(&highest) {
            assert!((low..=high).contains(&value), "{low} <= {value} <= {high}");
        }
        let free = lowest
            .iter()
            .zip(&highest)
            .filter(|(low, high)| low != high);
        assert!(free.count() <= exact.len() / 200);
        Ok(())
    }
}
