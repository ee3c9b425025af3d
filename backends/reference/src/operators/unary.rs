//! What treats every value alike.

use firstpass_probe::Result;

use crate::{
    operators::{Call, Table},
    value::Value,
};

pub const TABLE: Table = &[
    ("Abs", |call| signed(call, f64::abs, i128::abs)),
    ("Acos", |call| real(call, f64::acos)),
    ("Acosh", |call| real(call, f64::acosh)),
    ("Asin", |call| real(call, f64::asin)),
    ("Asinh", |call| real(call, f64::asinh)),
    ("Atan", |call| real(call, f64::atan)),
    ("Atanh", |call| real(call, f64::atanh)),
    ("Ceil", |call| real(call, f64::ceil)),
    ("Cos", |call| real(call, f64::cos)),
    ("Cosh", |call| real(call, f64::cosh)),
    ("Erf", |call| real(call, libm::erf)),
    ("Exp", |call| real(call, f64::exp)),
    ("Floor", |call| real(call, f64::floor)),
    ("IsInf", is_inf),
    ("IsNaN", |call| truth(call, f64::is_nan)),
    ("Log", |call| real(call, f64::ln)),
    ("Neg", |call| signed(call, |v| -v, |v| -v)),
    ("Not", not),
    ("BitwiseNot", |call| signed(call, |v| v, |v| !v)),
    ("Reciprocal", |call| real(call, f64::recip)),
    ("Round", |call| real(call, f64::round_ties_even)),
    ("Sign", |call| signed(call, sign, i128::signum)),
    ("Sin", |call| real(call, f64::sin)),
    ("Sinh", |call| real(call, f64::sinh)),
    ("Sqrt", |call| real(call, f64::sqrt)),
    ("Tan", |call| real(call, f64::tan)),
    ("Tanh", |call| real(call, f64::tanh)),
];

/// Of numbers.
pub fn real(call: &Call<'_>, of: impl Fn(f64) -> f64) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    Ok(vec![Value::real(reals.array.map(of), reals.kind)])
}

/// Of numbers and integers.
pub fn signed(
    call: &Call<'_>,
    of: impl Fn(f64) -> f64,
    of_integer: impl Fn(i128) -> i128,
) -> Result<Vec<Value>> {
    match call.value(0)? {
        Value::Whole(integers) => {
            let kind = integers.kind;
            let array = integers.array.map(|v| kind.wrapped(of_integer(v.into())));
            Ok(vec![Value::whole(array, kind)])
        }
        _ => real(call, of),
    }
}

fn truth(call: &Call<'_>, of: impl Fn(f64) -> bool) -> Result<Vec<Value>> {
    Ok(vec![Value::truths(call.reals(0)?.array.map(of))])
}

fn sign(value: f64) -> f64 {
    if value == 0.0 || value.is_nan() {
        value
    } else {
        value.signum()
    }
}

fn is_inf(call: &Call<'_>) -> Result<Vec<Value>> {
    let positive = call.int("detect_positive", 1)? != 0;
    let negative = call.int("detect_negative", 1)? != 0;
    truth(call, |value| {
        value.is_infinite() && if value > 0.0 { positive } else { negative }
    })
}

fn not(call: &Call<'_>) -> Result<Vec<Value>> {
    Ok(vec![Value::truths(call.integers(0)?.array.map(|v| v == 0))])
}
