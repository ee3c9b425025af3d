//! What combines values one by one, each tensor broadcast to the shape of all.

use std::sync::Arc;

use firstpass_probe::{Error, Result};

use crate::{
    array::{Array, broadcast_dims},
    operators::{Call, Table},
    requantize::Bounds,
    value::{Dequantized, Exact, Integers, Pending, Value},
};

pub const TABLE: Table = &[
    ("Add", add),
    ("And", |call| logical(call, |a, b| a && b)),
    ("BitShift", bit_shift),
    ("BitwiseAnd", |call| whole(call, |a, b| Some(a & b))),
    ("BitwiseOr", |call| whole(call, |a, b| Some(a | b))),
    ("BitwiseXor", |call| whole(call, |a, b| Some(a ^ b))),
    ("Div", |call| numeric(call, |a, b| a / b, i128::checked_div)),
    ("Equal", |call| compare(call, |a, b| a == b, |a, b| a == b)),
    ("Greater", |call| compare(call, |a, b| a > b, |a, b| a > b)),
    ("GreaterOrEqual", |call| {
        compare(call, |a, b| a >= b, |a, b| a >= b)
    }),
    ("Less", |call| compare(call, |a, b| a < b, |a, b| a < b)),
    ("LessOrEqual", |call| {
        compare(call, |a, b| a <= b, |a, b| a <= b)
    }),
    ("Max", |call| fold(call, maximum, i128::max)),
    ("Mean", mean),
    ("Min", |call| fold(call, minimum, i128::min)),
    ("Mod", modulo),
    ("Mul", |call| {
        numeric(call, |a, b| a * b, |a, b| Some(a * b))
    }),
    ("Or", |call| logical(call, |a, b| a || b)),
    ("Pow", pow),
    ("Sub", |call| {
        numeric(call, |a, b| a - b, |a, b| Some(a - b))
    }),
    ("Sum", |call| fold(call, |a, b| a + b, |a, b| a + b)),
    ("Where", choose),
    ("Xor", |call| logical(call, |a, b| a != b)),
];

pub fn select<T>(condition: bool, a: T, b: T) -> T {
    if condition { a } else { b }
}

/// NaN where one is NaN.
pub fn maximum(a: f64, b: f64) -> f64 {
    select(a.is_nan() || a > b, a, b)
}

/// Likewise.
pub fn minimum(a: f64, b: f64) -> f64 {
    select(a.is_nan() || a < b, a, b)
}

/// What is computed of every two values.
pub fn pairs<A: Copy, B: Copy, T>(
    a: &Array<A>,
    b: &Array<B>,
    mut of: impl FnMut(A, B) -> T,
) -> Result<Array<T>> {
    let dims = broadcast_dims(&a.dims, &b.dims)?;
    let (a, b) = (a.broadcast(&dims)?, b.broadcast(&dims)?);
    let both = a.values.iter().zip(&b.values);
    Ok(Array {
        values: both.map(|(&a, &b)| of(a, b)).collect(),
        dims,
    })
}

fn of_whole(a: &Integers, b: &Integers, of: impl Fn(i128, i128) -> Option<i128>) -> Result<Value> {
    if a.kind != b.kind {
        return Err(Error::engine(format!(
            "{} and {} are combined",
            a.kind, b.kind
        )));
    }
    let mut is_defined = true;
    let array = pairs(&a.array, &b.array, |a, b| {
        let found = of(a.into(), b.into());
        is_defined &= found.is_some();
        found.unwrap_or_default()
    })?;
    if !is_defined {
        return Err(Error::unsupported("integers are divided by zero"));
    }
    let kind = a.kind;
    Ok(Value::whole(array.map(|v| kind.wrapped(v)), kind))
}

fn of_two(
    a: &Value,
    b: &Value,
    of: impl Fn(f64, f64) -> f64,
    of_integers: impl Fn(i128, i128) -> Option<i128>,
) -> Result<Value> {
    if let (Value::Whole(a), Value::Whole(b)) = (a, b) {
        return of_whole(a, b, of_integers);
    }
    let (a, b) = (a.reals()?, b.reals()?);
    if a.kind != b.kind {
        return Err(Error::engine(format!(
            "{} and {} are combined",
            a.kind, b.kind
        )));
    }
    Ok(Value::real(pairs(&a.array, &b.array, of)?, a.kind))
}

fn numeric(
    call: &Call<'_>,
    of: impl Fn(f64, f64) -> f64,
    of_integers: impl Fn(i128, i128) -> Option<i128>,
) -> Result<Vec<Value>> {
    Ok(vec![of_two(
        call.value(0)?,
        call.value(1)?,
        of,
        of_integers,
    )?])
}

fn whole(call: &Call<'_>, of: impl Fn(i128, i128) -> Option<i128>) -> Result<Vec<Value>> {
    Ok(vec![of_whole(
        &*call.integers(0)?,
        &*call.integers(1)?,
        of,
    )?])
}

/// Of any number of tensors, one after the other, each result rounded.
fn fold(
    call: &Call<'_>,
    of: impl Fn(f64, f64) -> f64,
    of_integers: impl Fn(i128, i128) -> i128,
) -> Result<Vec<Value>> {
    let mut result = match call.value(0)? {
        Value::Whole(integers) => Value::Whole(Arc::clone(integers)),
        other => Value::Real(other.reals()?),
    };
    for position in 1..call.inputs.len() {
        let next = call.value(position)?;
        result = of_two(&result, next, &of, |a, b| Some(of_integers(a, b)))?;
    }
    Ok(vec![result])
}

fn mean(call: &Call<'_>) -> Result<Vec<Value>> {
    let count = call.inputs.len() as f64;
    let sum = fold(call, |a, b| a + b, |a, b| a + b)?;
    let sum = sum[0].reals()?;
    Ok(vec![Value::real(sum.array.map(|v| v / count), sum.kind)])
}

fn compare(
    call: &Call<'_>,
    of: impl Fn(f64, f64) -> bool,
    of_integers: impl Fn(i64, i64) -> bool,
) -> Result<Vec<Value>> {
    let (a, b) = (call.value(0)?, call.value(1)?);
    let truths = if let (Value::Whole(a), Value::Whole(b)) = (a, b) {
        pairs(&a.array, &b.array, of_integers)?
    } else {
        pairs(&a.reals()?.array, &b.reals()?.array, of)?
    };
    Ok(vec![Value::truths(truths)])
}

fn logical(call: &Call<'_>, of: impl Fn(bool, bool) -> bool) -> Result<Vec<Value>> {
    let (a, b) = (call.integers(0)?, call.integers(1)?);
    let truths = pairs(&a.array, &b.array, |a, b| of(a != 0, b != 0))?;
    Ok(vec![Value::truths(truths)])
}

/// By as many bits as there are or more nothing is left but the sign.
fn bit_shift(call: &Call<'_>) -> Result<Vec<Value>> {
    let left = call.word("direction", "") == "left";
    let by = call.integers(1)?;
    if by.array.values.iter().any(|&by| by < 0) {
        return Err(Error::unsupported("it shifts by less than no bits"));
    }
    whole(call, |a, by| {
        // Wider than any type.
        let by = u32::try_from(by).unwrap_or(u32::MAX).min(64);
        Some(if left { a << by } else { a >> by })
    })
}

/// The sign is that of the divisor, or with `fmod` that of the dividend.
fn modulo(call: &Call<'_>) -> Result<Vec<Value>> {
    if call.is_set("fmod")? {
        return numeric(call, |a, b| a % b, i128::checked_rem);
    }
    let floored = |a: f64, b: f64| {
        let rest = a % b;
        select(rest != 0.0 && (rest < 0.0) != (b < 0.0), rest + b, rest)
    };
    numeric(call, floored, |a, b| {
        let rest = a.checked_rem(b)?;
        Some(select(rest != 0 && (rest < 0) != (b < 0), rest + b, rest))
    })
}

/// The result has the type of the base; the exponent may be of another.
fn pow(call: &Call<'_>) -> Result<Vec<Value>> {
    let (base, exponent) = (call.value(0)?, call.value(1)?);
    let real = |value: &Value| -> Result<Array<f64>> {
        Ok(match value {
            Value::Whole(integers) => integers.array.map(|v| v as f64),
            other => other.reals()?.array.clone(),
        })
    };
    let Value::Whole(integers) = base else {
        let array = pairs(&real(base)?, &real(exponent)?, f64::powf)?;
        return Ok(vec![Value::real(array, base.kind())]);
    };
    let kind = integers.kind;
    if let Value::Whole(exponents) = exponent
        && exponents.array.values.iter().all(|&v| v >= 0)
    {
        let power = |base: i64, exponent: i64| {
            (0..exponent).fold(1, |product, _| {
                i128::from(kind.wrapped(product * i128::from(base)))
            })
        };
        let array = pairs(&integers.array, &exponents.array, power)?;
        return Ok(vec![Value::whole(array.map(|v| kind.wrapped(v)), kind)]);
    }
    let array = pairs(&real(base)?, &real(exponent)?, f64::powf)?;
    Ok(vec![Value::whole(array.map(|v| v as i64), kind)])
}

/// Where: of three tensors.
fn choose(call: &Call<'_>) -> Result<Vec<Value>> {
    let condition = call.integers(0)?;
    let (a, b) = (call.value(1)?, call.value(2)?);
    let dims = broadcast_dims(&condition.array.dims, &broadcast_dims(a.dims(), b.dims())?)?;
    let condition = condition.array.broadcast(&dims)?;
    if let (Value::Whole(a), Value::Whole(b)) = (a, b) {
        let both = pairs(
            &a.array.broadcast(&dims)?,
            &b.array.broadcast(&dims)?,
            |a, b| (a, b),
        )?;
        let array = pairs(&condition, &both, |c, (a, b)| select(c != 0, a, b))?;
        return Ok(vec![Value::whole(array, a.kind)]);
    }
    let (a, b) = (a.reals()?, b.reals()?);
    let both = pairs(
        &a.array.broadcast(&dims)?,
        &b.array.broadcast(&dims)?,
        |a, b| (a, b),
    )?;
    let array = pairs(&condition, &both, |c, (a, b)| select(c != 0, a, b))?;
    Ok(vec![Value::real(array, a.kind)])
}

fn add(call: &Call<'_>) -> Result<Vec<Value>> {
    let (a, b) = (call.value(0)?, call.value(1)?);
    if let (Value::Dequantized(a), Value::Dequantized(b)) = (a, b)
        && let Some(sum) = exact_sum(call, a, b)?
    {
        return Ok(vec![sum]);
    }
    numeric(call, |a, b| a + b, |a, b| Some(a + b))
}

/// The sum of two quantized values, where a rule is to round it.
pub fn exact_sum(
    call: &Call<'_>,
    a: &Arc<Dequantized>,
    b: &Arc<Dequantized>,
) -> Result<Option<Value>> {
    let have_one_scale = a.quantization().is_some() && b.quantization().is_some();
    if !call.keeps_integers() || !have_one_scale {
        return Ok(None);
    }
    let dims = broadcast_dims(&a.integers.array.dims, &b.integers.array.dims)?;
    let broadcast = |value: &Arc<Dequantized>| -> Result<Arc<Dequantized>> {
        Ok(Arc::new(Dequantized {
            integers: Arc::new(Integers {
                array: value.integers.array.broadcast(&dims)?,
                kind: value.integers.kind,
            }),
            ..(**value).clone()
        }))
    };
    Ok(Some(Value::Pending(Arc::new(Pending {
        exact: Exact::Addition([broadcast(a)?, broadcast(b)?]),
        bounds: Bounds::NONE,
    }))))
}
