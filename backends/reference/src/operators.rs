//! The operators, each as the ONNX specification defines it, but exact on quantized values until
//! QuantizeLinear rounds them.

use std::sync::Arc;

use firstpass_onnx::{Constant, NodeProto};
use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    conv::convolve,
    graph::Context,
    requantize::{Bounds, Quantization, Requantizer},
    rules::Arithmetic,
    value::{Dequantized, Exact, Integers, Pending, Value},
};

/// What is implemented.
pub const NAMES: [&str; 14] = [
    "Add",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "DequantizeLinear",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Transpose",
];

/// The inputs of a node; an optional one may be left out.
pub type Inputs<'a> = &'a [Option<Value>];

/// Computes one of [`NAMES`].
///
/// # Errors
/// Fails where types or shapes do not fit.
pub fn compute(node: &NodeProto, inputs: Inputs<'_>, context: Context) -> Result<Value> {
    match node.op_type.as_str() {
        "Constant" => constant(node),
        "Identity" => Ok(input(inputs, 0)?.clone()),
        "QuantizeLinear" => quantize(node, inputs, context),
        "DequantizeLinear" => dequantize(node, inputs),
        "Conv" => convolve(node, inputs, context),
        "Add" => add(inputs, context),
        "Relu" => clamp(
            inputs,
            Bounds {
                low: 0.0,
                ..Bounds::NONE
            },
        ),
        "Clip" => clip(node, inputs),
        "Sigmoid" => Ok(float(input(inputs, 0)?.float()?.map(|value| {
            let value = f64::from(value);
            (1.0 / (1.0 + (-value).exp())) as f32
        }))),
        "Transpose" => transpose(node, inputs),
        "Reshape" => {
            let allow_zero = node.int("allowzero")?.unwrap_or(0) != 0;
            let dims = whole(inputs, 1)?;
            Ok(float(
                input(inputs, 0)?.float()?.reshaped(dims, allow_zero)?,
            ))
        }
        "Flatten" => flatten(node, inputs),
        "Resize" => resize(node, inputs),
        "Concat" => {
            let parts: Vec<Arc<Array<f32>>> = (0..inputs.len())
                .map(|position| input(inputs, position)?.float())
                .collect::<Result<_>>()?;
            let parts: Vec<&Array<f32>> = parts.iter().map(AsRef::as_ref).collect();
            let rank = parts.first().map_or(0, |part| part.dims.len());
            let given = node.int("axis")?;
            let given = given.ok_or_else(|| Error::engine("it has no axis"))?;
            Ok(float(Array::concatenated(&parts, axis(given, rank)?)?))
        }
        other => Err(Error::unsupported(format!("{other} is not implemented"))),
    }
}

pub fn input<'a>(inputs: Inputs<'a>, position: usize) -> Result<&'a Value> {
    let input = inputs.get(position).and_then(Option::as_ref);
    input.ok_or_else(|| Error::engine(format!("its input {position} is missing")))
}

fn whole<'a>(inputs: Inputs<'a>, position: usize) -> Result<&'a [i64]> {
    match input(inputs, position)? {
        Value::Whole(values) => Ok(values),
        _ => Err(Error::unsupported(format!(
            "its input {position} must be a constant of i64"
        ))),
    }
}

pub fn float(array: Array<f32>) -> Value {
    Value::Float(Arc::new(array))
}

/// An axis that may be counted from the end.
fn axis(given: i64, rank: usize) -> Result<usize> {
    let from_start = usize::try_from(given).ok();
    let found =
        from_start.or_else(|| rank.checked_sub(usize::try_from(given.checked_neg()?).ok()?));
    found
        .filter(|axis| *axis <= rank)
        .ok_or_else(|| Error::engine(format!("{rank} axes have no axis {given}")))
}

fn constant(node: &NodeProto) -> Result<Value> {
    match node.tensor("value") {
        Some(tensor) => Ok(Value::of(&Constant::read(tensor)?)),
        None => Err(Error::unsupported(
            "only the attribute `value` is implemented",
        )),
    }
}

/// Scales, zero points, and the smallest and the largest value of their type.
type Scales = (Vec<f32>, Vec<i32>, (i32, i32));

/// What is in inputs 1 and 2; the type is u8 where there is no zero point.
fn scales(inputs: Inputs<'_>) -> Result<Scales> {
    let scales = input(inputs, 1)?.float()?.values.clone();
    if scales.is_empty() || !scales.iter().all(|s| s.is_normal() && *s > 0.0) {
        return Err(Error::engine("a scale is no normal positive number"));
    }
    let (zeros, limits) = match inputs.get(2).and_then(Option::as_ref) {
        None => (vec![0], (0, 255)),
        Some(Value::Quantized(zeros)) => (zeros.array.values.clone(), zeros.limits),
        Some(_) => return Err(Error::engine("zero points must be integers")),
    };
    Ok((scales, zeros, limits))
}

fn quantize(node: &NodeProto, inputs: Inputs<'_>, context: Context) -> Result<Value> {
    let (scales, zeros, limits) = scales(inputs)?;
    let (&[scale], &[zero]) = (&scales[..], &zeros[..]) else {
        return Err(node.unsupported("activations must have one scale and zero point"));
    };
    let output = Quantization {
        scale,
        zero,
        limits,
    };
    let requantizer =
        |arithmetic, bounds| Requantizer::new(arithmetic, context.rules.rounding, bounds, output);
    let array = match input(inputs, 0)? {
        Value::Pending(pending) => {
            let rule = requantizer(context.arithmetic, pending.bounds);
            match &pending.exact {
                Exact::Convolution { sums, channels } => {
                    let [_, count, height, width] = sums.image_dims()?;
                    let values =
                        sums.values.iter().enumerate().map(|(at, &sum)| {
                            rule.sum(sum, &channels[at / (height * width) % count])
                        });
                    Array {
                        dims: sums.dims.clone(),
                        values: values.collect(),
                    }
                }
                Exact::Addition([a, b]) => {
                    let quantizations = [a.quantization()?, b.quantization()?];
                    let values = a.integers.array.values.iter().zip(&b.integers.array.values);
                    Array {
                        dims: a.integers.array.dims.clone(),
                        values: values
                            .map(|(&a, &b)| rule.add([a, b], quantizations))
                            .collect(),
                    }
                }
            }
        }
        other => {
            let values = other.float()?;
            let rule = |arithmetic| requantizer(arithmetic, Bounds::NONE);
            match context.rules.end {
                None => {
                    let rule = rule(context.arithmetic);
                    values.map(|value| rule.quantize(value))
                }
                Some(end) => {
                    // Engines multiply by 1/s or divide by s.
                    let [by_inverse, by_division] =
                        [Arithmetic::FixedPoint, Arithmetic::QLinear].map(rule);
                    values.map(|value| {
                        end.of(by_inverse.quantize(value), by_division.quantize(value))
                    })
                }
            }
        }
    };
    Ok(Value::Quantized(Arc::new(Integers { array, limits })))
}

fn dequantize(node: &NodeProto, inputs: Inputs<'_>) -> Result<Value> {
    let Value::Quantized(integers) = input(inputs, 0)? else {
        return Err(Error::engine("its input is not quantized"));
    };
    let (scales, zeros, _) = scales(inputs)?;
    let dims = &integers.array.dims;
    let axis = if scales.len() == 1 && zeros.len() == 1 {
        0
    } else {
        axis(node.int("axis")?.unwrap_or(1), dims.len())?
    };
    let length = dims.get(axis).copied().unwrap_or(1);
    for count in [scales.len(), zeros.len()] {
        if count != 1 && count != length {
            return Err(Error::engine(format!(
                "{count} scales or zero points along axis {axis} of {dims:?}"
            )));
        }
    }
    Ok(Value::Dequantized(Arc::new(Dequantized {
        integers: Arc::clone(integers),
        scales,
        zeros,
        axis,
    })))
}

fn add(inputs: Inputs<'_>, context: Context) -> Result<Value> {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let same = |a: &[usize], b: &[usize]| {
        if a == b {
            Ok(())
        } else {
            Err(Error::unsupported(format!("{a:?} and {b:?} are added")))
        }
    };
    // Of two numbers there is only one sum in f32.
    if let (Value::Dequantized(a), Value::Dequantized(b), None) = (a, b, context.rules.end) {
        same(&a.integers.array.dims, &b.integers.array.dims)?;
        return Ok(Value::Pending(Arc::new(Pending {
            exact: Exact::Addition([Arc::clone(a), Arc::clone(b)]),
            bounds: Bounds::NONE,
        })));
    }
    let (a, b) = (a.float()?, b.float()?);
    same(&a.dims, &b.dims)?;
    let values = a.values.iter().zip(&b.values).map(|(a, b)| a + b);
    Ok(float(Array {
        dims: a.dims.clone(),
        values: values.collect(),
    }))
}

/// Relu and Clip: of an exact result they become part, because engines clamp it once.
fn clamp(inputs: Inputs<'_>, next: Bounds) -> Result<Value> {
    match input(inputs, 0)? {
        Value::Pending(pending) => Ok(Value::Pending(Arc::new(Pending {
            exact: pending.exact.clone(),
            bounds: pending.bounds.then(next),
        }))),
        other => {
            let clamped = other
                .float()?
                .map(|value| value.max(next.low).min(next.high));
            Ok(float(clamped))
        }
    }
}

fn clip(node: &NodeProto, inputs: Inputs<'_>) -> Result<Value> {
    // Until operator set 10 the bounds were attributes.
    let bound = |position: usize, attribute: &str, none: f32| -> Result<f32> {
        match inputs.get(position).and_then(Option::as_ref) {
            None => Ok(node.float(attribute).unwrap_or(none)),
            Some(value) => match value.float()?.values[..] {
                [bound] => Ok(bound),
                _ => Err(Error::engine("a bound is no single number")),
            },
        }
    };
    let low = bound(1, "min", f32::NEG_INFINITY)?;
    let high = bound(2, "max", f32::INFINITY)?;
    if low <= high {
        clamp(inputs, Bounds { low, high })
    } else {
        Err(Error::unsupported(format!("it clips to {low}..{high}")))
    }
}

fn transpose(node: &NodeProto, inputs: Inputs<'_>) -> Result<Value> {
    let array = input(inputs, 0)?.float()?;
    let order: Vec<usize> = match node.ints("perm") {
        None => (0..array.dims.len()).rev().collect(),
        Some(axes) => axes
            .iter()
            .map(|&given| axis(given, array.dims.len()))
            .collect::<Result<_>>()?,
    };
    Ok(float(array.transposed(&order)?))
}

/// To the nearest value at a whole number of times the size, where all the standard's ways of rounding
/// coordinates agree on the one that is repeated: `asymmetric` with `floor`, `half_pixel` with any.
fn resize(node: &NodeProto, inputs: Inputs<'_>) -> Result<Value> {
    let text = |name: &str, default: &'static [u8]| node.text(name).unwrap_or(default).to_vec();
    let coordinates = text("coordinate_transformation_mode", b"half_pixel");
    let rounding = text("nearest_mode", b"round_prefer_floor");
    let repeats = match &coordinates[..] {
        b"asymmetric" => rounding == b"floor",
        b"half_pixel" => matches!(&rounding[..], b"round_prefer_floor" | b"round_prefer_ceil"),
        _ => false,
    };
    if text("mode", b"nearest") != b"nearest" || !repeats {
        return Err(Error::unsupported(
            "it resizes otherwise than by repeating the nearest value",
        ));
    }
    let array = input(inputs, 0)?.float()?;
    let scales = input(inputs, 2)?.float()?;
    let whole = |&scale: &f32| {
        let is_whole = (1.0..=64.0).contains(&scale) && scale.fract() == 0.0;
        is_whole.then_some(scale as usize)
    };
    let times: Option<Vec<usize>> = scales.values.iter().map(whole).collect();
    let times = times.filter(|times| times.len() == array.dims.len());
    let times = times.ok_or_else(|| {
        Error::unsupported(format!(
            "{:?} times a tensor of {:?}",
            scales.values, array.dims
        ))
    })?;
    Ok(float(array.repeated(&times)?))
}

fn flatten(node: &NodeProto, inputs: Inputs<'_>) -> Result<Value> {
    let array = input(inputs, 0)?.float()?;
    let axis = axis(node.int("axis")?.unwrap_or(1), array.dims.len())?;
    let rows: usize = array.dims[..axis].iter().product();
    let columns: usize = array.dims[axis..].iter().product();
    Ok(float(Array {
        dims: vec![rows, columns],
        values: array.values.clone(),
    }))
}
