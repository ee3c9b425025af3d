//! Quantizing and dequantizing, and operators on quantized values whose scales are inputs.

use std::sync::Arc;

use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    kind::Kind,
    operators::{Call, Table, axis, conv, length, matmul},
    requantize::{Quantization, Requantizer, quantized},
    rules::Arithmetic,
    value::{Dequantized, Exact, Integers, Layout, Value},
};

pub const TABLE: Table = &[
    ("DequantizeLinear", |call| {
        let scales = Scales::of(call, 0, [1, 2])?;
        let kind = call.kind("output_dtype")?.unwrap_or(scales.kind);
        Ok(vec![Value::Dequantized(
            scales.dequantized(call.integers(0)?, kind)?,
        )])
    }),
    ("DynamicQuantizeLinear", dynamic),
    ("QLinearConv", qlinear_conv),
    ("QLinearMatMul", qlinear_matmul),
    ("QuantizeLinear", |call| {
        let scales = Scales::of(call, 0, [1, 2])?;
        let kind = match call.optional(2) {
            Some(zero) => zero.kind(),
            None => call.kind("output_dtype")?.unwrap_or(Kind::U8),
        };
        Ok(vec![scales.quantized(call, call.value(0)?, kind)?])
    }),
];

/// Scales and zero points of a tensor.
pub struct Scales {
    scales: Vec<f32>,
    zeros: Vec<i64>,
    layout: Layout,
    /// Of the scales.
    pub kind: Kind,
}

impl Scales {
    /// Of the input at `of`, from those at the places of scale and zero point.
    ///
    /// # Errors
    /// Fails where they do not fit the input.
    pub fn of(call: &Call<'_>, of: usize, [scale, zero]: [usize; 2]) -> Result<Self> {
        let axis = call.int("axis", 1)?;
        Self::along(call, call.value(of)?.dims(), [scale, zero], axis)
    }

    /// The same of a tensor of these dimensions, whose scales are along `given`.
    pub fn along(
        call: &Call<'_>,
        dims: &[usize],
        [scale, zero]: [usize; 2],
        given: i64,
    ) -> Result<Self> {
        let scales = call.reals(scale)?;
        let values: Vec<f32> = scales.array.values.iter().map(|&v| v as f32).collect();
        if !values.iter().all(|s| *s >= 0.0 && s.is_finite()) {
            return Err(Error::unsupported("a scale is negative or no number"));
        }
        let (zeros, zero_dims) = match call.optional(zero) {
            None => (vec![0], vec![]),
            Some(_) => {
                let zeros = call.integers(zero)?;
                (zeros.array.values.clone(), zeros.array.dims.clone())
            }
        };
        let of = if zeros.len() > values.len() {
            &zero_dims
        } else {
            &scales.array.dims
        };
        let count = values.len().max(zeros.len());
        let misfit = || {
            Error::engine(format!(
                "{} scales and {} zero points do not fit {dims:?}",
                values.len(),
                zeros.len()
            ))
        };
        let block = length(call.int("block_size", 0)?)?;
        let layout = if block > 0 {
            let axis = axis(given, dims.len())?;
            let inner: usize = dims[axis + 1..].iter().product();
            let blocks = dims[axis].div_ceil(block);
            let mut expected = dims.to_vec();
            expected[axis] = blocks;
            if *of != expected {
                return Err(misfit());
            }
            Layout::Blocks {
                inner,
                length: dims[axis],
                blocks,
                size: block,
            }
        } else if count == 1 {
            Layout::One
        } else {
            let axis = axis(given, dims.len())?;
            if dims[axis] != count || of.len() != 1 {
                return Err(misfit());
            }
            Layout::Axis {
                count,
                inner: dims[axis + 1..].iter().product(),
            }
        };
        if [values.len(), zeros.len()]
            .iter()
            .any(|&n| n != 1 && n != count)
        {
            return Err(misfit());
        }
        Ok(Self {
            scales: values,
            zeros,
            layout,
            kind: scales.kind,
        })
    }

    pub fn dequantized(&self, integers: Arc<Integers>, kind: Kind) -> Result<Arc<Dequantized>> {
        Ok(Arc::new(Dequantized {
            integers,
            scales: self.scales.clone(),
            zeros: self.zeros.clone(),
            layout: self.layout.clone(),
            kind,
        }))
    }

    /// How values of a byte are quantized by one scale.
    fn one(&self, kind: Kind) -> Option<Quantization> {
        let (low, high) = kind.limits();
        match (&self.scales[..], &self.zeros[..]) {
            (&[scale], &[zero]) if high - low <= 255 => Some(Quantization {
                scale,
                zero: i32::try_from(zero).ok()?,
                limits: (i32::try_from(low).ok()?, i32::try_from(high).ok()?),
            }),
            _ => None,
        }
    }

    /// QuantizeLinear, to integers of this type.
    pub fn quantized(&self, call: &Call<'_>, value: &Value, kind: Kind) -> Result<Value> {
        let arithmetic = call.context.arithmetic;
        if let (Value::Pending(pending), Some(output)) = (value, self.one(kind)) {
            let rounding = call.context.rules.rounding;
            let rule = Requantizer::new(arithmetic, rounding, pending.bounds, output);
            let array = rounded(&pending.exact, &rule)?;
            return Ok(Value::whole(array, kind));
        }
        let numbers = match value {
            Value::Whole(integers) => integers.array.map(|v| v as f64),
            other => other.reals()?.array.clone(),
        };
        // A type of the division that the file names counts before that of the scale.
        let division = call.kind("precision")?.unwrap_or(self.kind);
        let rounding = call.context.rules.rounding;
        let integer = |arithmetic: Arithmetic, at: usize, value: f64| {
            let index = self.layout.index(at);
            let of = |count: usize| if count == 1 { 0 } else { index };
            let scale = self.scales[of(self.scales.len())];
            let zero = self.zeros[of(self.zeros.len())];
            let limits = kind.limits();
            quantized(arithmetic, rounding, division, value, scale, zero, limits)
        };
        let places = numbers.values.iter().enumerate();
        let values = places.map(|(at, &value)| match call.context.rules.end {
            None => integer(arithmetic, at, value),
            Some(end) => {
                // Engines multiply by 1/s or divide by s.
                let [by_inverse, by_division] = [Arithmetic::FixedPoint, Arithmetic::QLinear]
                    .map(|arithmetic| integer(arithmetic, at, value));
                end.of(by_inverse, by_division)
            }
        });
        let array = Array {
            values: values.collect(),
            dims: numbers.dims.clone(),
        };
        Ok(Value::whole(array, kind))
    }
}

/// Exact results as integers, by a rule.
fn rounded(exact: &Exact, rule: &Requantizer) -> Result<Array<i64>> {
    Ok(match exact {
        Exact::Products {
            sums,
            channels,
            inner,
        } => {
            let values = sums.values.iter().enumerate();
            let channel = |at: usize| &channels[at / inner % channels.len()];
            let values = values.map(|(at, &sum)| rule.sum(sum, channel(at)).into());
            Array {
                values: values.collect(),
                dims: sums.dims.clone(),
            }
        }
        Exact::Addition([a, b]) => {
            let (Some(of_a), Some(of_b)) = (a.quantization(), b.quantization()) else {
                return Err(Error::engine("an exact sum has several scales"));
            };
            let values = a.integers.array.values.iter().zip(&b.integers.array.values);
            // They are of a byte.
            let sum = |(&a, &b): (&i64, &i64)| rule.add([a as i32, b as i32], [of_a, of_b]);
            Array {
                values: values.map(sum).map(i64::from).collect(),
                dims: a.integers.array.dims.clone(),
            }
        }
    })
}

/// The scale and the zero point at these inputs, where there is one of each and `kind` is a byte.
pub fn one(
    call: &Call<'_>,
    dims: &[usize],
    scales: [usize; 2],
    kind: Kind,
) -> Result<Option<Quantization>> {
    Ok(Scales::along(call, dims, scales, 1)?.one(kind))
}

/// Quantized by scale and zero point at these inputs, each one number; the type is that of the zero point or
/// `default`.
pub fn requantized(
    call: &Call<'_>,
    value: &Value,
    scales: [usize; 2],
    default: Kind,
) -> Result<Value> {
    let kind = call.optional(scales[1]).map_or(default, Value::kind);
    Scales::along(call, value.dims(), scales, 1)?.quantized(call, value, kind)
}

/// An input dequantized by scale and zero point at these inputs.
pub fn dequantized(
    call: &Call<'_>,
    position: usize,
    scales: [usize; 2],
    axis: i64,
) -> Result<Arc<Dequantized>> {
    let dims = call.value(position)?.dims();
    let scales = Scales::along(call, dims, scales, axis)?;
    let kind = scales.kind;
    scales.dequantized(call.integers(position)?, kind)
}

/// In f32, as the standard writes it: the range always holds zero.
pub fn dynamic(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let values = || reals.array.values.iter().map(|&v| v as f32);
    let highest = values().fold(0.0_f32, f32::max);
    let lowest = values().fold(0.0_f32, f32::min);
    let scale = if highest == lowest {
        1.0 / 255.0
    } else {
        (highest - lowest) / 255.0
    };
    let zero = (0.0 - lowest / scale).clamp(0.0, 255.0).round_ties_even();
    let round = |value: f64| call.context.rules.rounding.round(value);
    let steps = |value: f32| (round((value / scale).into()) + f64::from(zero)).clamp(0.0, 255.0);
    let array = reals.array.map(|value| steps(value as f32) as i64);
    let one = |value| Array {
        dims: vec![],
        values: vec![value],
    };
    let zero = Array {
        dims: vec![],
        values: vec![zero as i64],
    };
    Ok(vec![
        Value::whole(array, Kind::U8),
        Value::real(one(scale.into()), Kind::F32),
        Value::whole(zero, Kind::U8),
    ])
}

/// A bias of i32, which counts in steps of the product of the scales.
pub fn bias_in_steps(
    call: &Call<'_>,
    position: usize,
    [a, b]: [&Dequantized; 2],
) -> Result<Option<Value>> {
    if call.optional(position).is_none() {
        return Ok(None);
    }
    let integers = call.integers(position)?;
    let count = b.scales.len();
    let scales: Vec<f32> = b.scales.iter().map(|scale| a.scale(0) * scale).collect();
    let layout = if count == 1 {
        Layout::One
    } else {
        Layout::Axis { count, inner: 1 }
    };
    Ok(Some(Value::Dequantized(Arc::new(Dequantized {
        integers,
        scales,
        zeros: vec![0],
        layout,
        kind: Kind::F32,
    }))))
}

fn no_sums() -> Error {
    Error::unsupported(
        "its types or scales are not those of bytes with one scale, or one a channel",
    )
}

fn qlinear_conv(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = dequantized(call, 0, [1, 2], 1)?;
    let w = dequantized(call, 3, [4, 5], 0)?;
    let bias = bias_in_steps(call, 8, [&x, &w])?;
    let pending = conv::exact(call, &x, &w, bias.as_ref())?.ok_or_else(no_sums)?;
    let kind = x.integers.kind;
    Ok(vec![requantized(call, &pending, [6, 7], kind)?])
}

fn qlinear_matmul(call: &Call<'_>) -> Result<Vec<Value>> {
    let a = dequantized(call, 0, [1, 2], -2)?;
    let b = dequantized(call, 3, [4, 5], -1)?;
    let pending = matmul::exact(&a, &b, None)?.ok_or_else(no_sums)?;
    let kind = a.integers.kind;
    Ok(vec![requantized(call, &pending, [6, 7], kind)?])
}
