//! Shapes, ranges, constants and types.

use firstpass_probe::{Error, Result};

use crate::{
    array::{Array, iota, strides, volume},
    constants,
    kind::Kind,
    operators::{Call, Table, axis, length},
    value::Value,
};

pub const TABLE: Table = &[
    ("Cast", |call| {
        let kind = call.kind("to")?;
        let kind = kind.ok_or_else(|| Error::engine("it has no type"))?;
        Ok(vec![cast(call.value(0)?, kind)?])
    }),
    ("CastLike", |call| {
        Ok(vec![cast(call.value(0)?, call.value(1)?.kind())?])
    }),
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("EyeLike", eye_like),
    ("NonZero", non_zero),
    ("OneHot", one_hot),
    ("Range", range),
    ("Shape", shape),
    ("Size", |call| {
        let count = volume(call.value(0)?.dims())? as i64;
        Ok(vec![scalar(count)])
    }),
];

fn scalar(value: i64) -> Value {
    let array = Array {
        dims: vec![],
        values: vec![value],
    };
    Value::whole(array, Kind::I64)
}

/// Real numbers lose their fraction, integers their upper bits; beyond the ends of an integer type the
/// standard leaves the result open.
fn cast(value: &Value, kind: Kind) -> Result<Value> {
    if value.kind() == kind {
        return Ok(value.clone());
    }
    Ok(match value {
        Value::Whole(integers) if kind.is_real() => {
            // An integer of 64 bits is rounded once, not to f64 first.
            let number = |v: i64| match kind {
                Kind::F32 => f64::from(v as f32),
                _ => v as f64,
            };
            Value::real(integers.array.map(number), kind)
        }
        Value::Whole(integers) if kind == Kind::Bool => {
            Value::truths(integers.array.map(|v| v != 0))
        }
        Value::Whole(integers) => {
            Value::whole(integers.array.map(|v| kind.wrapped(v.into())), kind)
        }
        other => {
            let reals = other.reals()?;
            if kind.is_real() {
                Value::real(reals.array.clone(), kind)
            } else if kind == Kind::Bool {
                Value::truths(reals.array.map(|v| v != 0.0))
            } else {
                let (low, high) = kind.limits();
                if let Some(beyond) = reals.array.values.iter().find(|v| {
                    let whole = v.trunc();
                    !(low as f64..=high as f64).contains(&whole)
                }) {
                    return Err(Error::unsupported(format!(
                        "{beyond} becomes {kind}, which cannot hold it: ONNX leaves the result open"
                    )));
                }
                Value::whole(reals.array.map(|v| v as i64), kind)
            }
        }
    })
}

fn constant(call: &Call<'_>) -> Result<Vec<Value>> {
    let node = call.node;
    let of = |dims: Vec<usize>, values: Vec<f64>| Value::real(Array { dims, values }, Kind::F32);
    let value = if let Some(tensor) = node.tensor("value") {
        constants::value(tensor)?
    } else if let Some(value) = node.float("value_float") {
        of(vec![], vec![value.into()])
    } else if let Some(value) = node.int("value_int").unwrap_or_default() {
        scalar(value)
    } else if let Some(values) = node.floats("value_floats") {
        let values: Vec<f64> = values.iter().map(|&v| v.into()).collect();
        of(vec![values.len()], values)
    } else if let Some(values) = node.ints("value_ints") {
        Value::list(values.to_vec())
    } else {
        return Err(Error::unsupported("it is neither of numbers nor a tensor"));
    };
    Ok(vec![value])
}

fn constant_of_shape(call: &Call<'_>) -> Result<Vec<Value>> {
    let dims = call.list(0)?;
    let dims: Vec<usize> = dims.into_iter().map(length).collect::<Result<_>>()?;
    let value = match call.tensor("value") {
        Some(tensor) => constants::value(tensor)?,
        None => Value::real(
            Array {
                dims: vec![1],
                values: vec![0.0],
            },
            Kind::F32,
        ),
    };
    let places = iota(&dims)?.map(|_| 0);
    Ok(vec![value.gathered(&places)?])
}

fn eye_like(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let kind = call.kind("dtype")?.unwrap_or(value.kind());
    let by = call.int("k", 0)?;
    let &[_, columns] = value.dims() else {
        return Err(Error::engine("it takes a matrix"));
    };
    let ones = iota(value.dims())?.map(|at| {
        let (row, column) = (at / columns.max(1), at % columns.max(1));
        i64::from(column as i64 - row as i64 == by)
    });
    Ok(vec![cast(&Value::whole(ones, Kind::I64), kind)?])
}

fn non_zero(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let is_there: Vec<bool> = match value {
        Value::Whole(integers) => integers.array.map(|v| v != 0).values,
        other => other.reals()?.array.map(|v| v != 0.0).values,
    };
    let places: Vec<usize> = (0..is_there.len()).filter(|&at| is_there[at]).collect();
    let of = strides(value.dims());
    let rank = value.dims().len();
    let values = (0..rank).flat_map(|axis| {
        let (dim, stride) = (value.dims()[axis], of[axis]);
        places.iter().map(move |at| (at / stride % dim) as i64)
    });
    let array = Array {
        dims: vec![rank, places.len()],
        values: values.collect(),
    };
    Ok(vec![Value::whole(array, Kind::I64)])
}

fn one_hot(call: &Call<'_>) -> Result<Vec<Value>> {
    let indices = match call.value(0)? {
        Value::Whole(integers) => integers.array.clone(),
        other => other.reals()?.array.map(|v| v as i64),
    };
    let depth = call.number(1)? as i64;
    let rank = indices.dims.len() + 1;
    let at = axis(call.int("axis", -1)?, rank)?;
    let mut dims = indices.dims.clone();
    dims.insert(at, length(depth)?);
    let inner: usize = dims[at + 1..].iter().product();
    let places = iota(&dims)?.map(|place| {
        let along = (place / inner.max(1)) as i64 % depth;
        let outer = place / (inner.max(1) * depth as usize);
        let index = indices.values[outer * inner + place % inner.max(1)];
        // Indices from the end count; beyond the ends nothing is hot.
        let is_hot = index == along || index + depth == along;
        usize::from(is_hot)
    });
    // The values are those for off and for on.
    Ok(vec![call.value(2)?.gathered(&places)?])
}

fn range(call: &Call<'_>) -> Result<Vec<Value>> {
    let kind = call.value(0)?.kind();
    let (start, limit, step) = (call.number(0)?, call.number(1)?, call.number(2)?);
    let count = ((limit - start) / step).ceil().max(0.0);
    if step == 0.0 || !count.is_finite() {
        return Err(Error::engine(format!(
            "no range leads from {start} to {limit} by {step}"
        )));
    }
    let places = iota(&[count as usize])?;
    Ok(vec![if kind.is_real() {
        Value::real(places.map(|at| start + at as f64 * step), kind)
    } else {
        Value::whole(
            places.map(|at| start as i64 + at as i64 * step as i64),
            kind,
        )
    }])
}

fn shape(call: &Call<'_>) -> Result<Vec<Value>> {
    let dims = call.value(0)?.dims();
    let rank = dims.len() as i64;
    let end = |name: &str, default: i64| -> Result<usize> {
        let given = call.int(name, default)?;
        let from_start = if given < 0 { given + rank } else { given };
        Ok(from_start.clamp(0, rank) as usize)
    };
    let (start, end) = (end("start", 0)?, end("end", rank)?);
    let dims = dims.get(start..end).unwrap_or_default();
    Ok(vec![Value::list(
        dims.iter().map(|&dim| dim as i64).collect(),
    )])
}
