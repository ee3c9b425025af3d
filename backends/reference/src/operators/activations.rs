//! The functions between the layers of a network.

use std::{f64::consts::FRAC_1_SQRT_2, sync::Arc};

use firstpass_probe::{Error, Result};

use crate::{
    operators::{
        Call, Table,
        binary::{pairs, select},
        unary::real,
    },
    requantize::Bounds,
    value::{Pending, Value},
};

pub const TABLE: Table = &[
    ("Celu", |call| {
        let alpha = call.float("alpha", 1.0);
        real(call, |v| {
            v.max(0.0) + (alpha * (v / alpha).exp_m1()).min(0.0)
        })
    }),
    ("Clip", clip),
    ("Elu", |call| {
        let alpha = call.float("alpha", 1.0);
        real(call, |v| if v < 0.0 { alpha * v.exp_m1() } else { v })
    }),
    ("Gelu", |call| {
        if call.word("approximate", "none") == "tanh" {
            real(call, gelu_by_tanh)
        } else {
            real(call, gelu)
        }
    }),
    ("HardSigmoid", |call| {
        let (alpha, beta) = (call.float("alpha", 0.2), call.float("beta", 0.5));
        real(call, |v| (alpha * v + beta).clamp(0.0, 1.0))
    }),
    ("HardSwish", |call| {
        real(call, |v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0))
    }),
    ("LeakyRelu", |call| {
        let alpha = call.float("alpha", 0.01);
        real(call, |v| if v < 0.0 { alpha * v } else { v })
    }),
    ("Mish", |call| real(call, |v| v * softplus(v).tanh())),
    ("PRelu", prelu),
    ("Relu", |call| {
        let whole = |v: i128| v.max(0);
        let bounds = Bounds {
            low: 0.0,
            ..Bounds::NONE
        };
        clamp(call, bounds, whole)
    }),
    ("Selu", |call| {
        let alpha = call.float("alpha", 1.673_263_2);
        let gamma = call.float("gamma", 1.050_701);
        real(call, |v| {
            gamma * if v > 0.0 { v } else { alpha * v.exp_m1() }
        })
    }),
    ("Shrink", |call| {
        let (bias, lambda) = (call.float("bias", 0.0), call.float("lambd", 0.5));
        real(call, |v| {
            if v < -lambda {
                v + bias
            } else if v > lambda {
                v - bias
            } else {
                0.0
            }
        })
    }),
    ("Sigmoid", |call| real(call, sigmoid)),
    ("Softplus", |call| real(call, softplus)),
    ("Softsign", |call| real(call, |v| v / (1.0 + v.abs()))),
    ("Swish", |call| {
        let alpha = call.float("alpha", 1.0);
        real(call, |v| v * sigmoid(alpha * v))
    }),
    ("ThresholdedRelu", |call| {
        let alpha = call.float("alpha", 1.0);
        real(call, |v| if v > alpha { v } else { 0.0 })
    }),
];

pub fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

pub fn gelu(value: f64) -> f64 {
    0.5 * value * (1.0 + libm::erf(value * FRAC_1_SQRT_2))
}

pub fn gelu_by_tanh(value: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (value + 0.044_715 * value.powi(3));
    0.5 * value * (1.0 + inner.tanh())
}

fn softplus(value: f64) -> f64 {
    value.max(0.0) + (-value.abs()).exp().ln_1p()
}

fn prelu(call: &Call<'_>) -> Result<Vec<Value>> {
    let (values, slopes) = (call.reals(0)?, call.reals(1)?);
    // A slope is broadcast to the values, and not the other way round.
    let slopes = slopes.array.broadcast(&values.array.dims)?;
    let array = pairs(
        &values.array,
        &slopes,
        |v, slope| {
            if v < 0.0 { slope * v } else { v }
        },
    )?;
    Ok(vec![Value::real(array, values.kind)])
}

/// Relu and Clip: of an exact result they become part, because engines clamp it once.
fn clamp(call: &Call<'_>, next: Bounds, whole: impl Fn(i128) -> i128) -> Result<Vec<Value>> {
    match call.value(0)? {
        Value::Pending(pending) => Ok(vec![Value::Pending(Arc::new(Pending {
            exact: pending.exact.clone(),
            bounds: pending.bounds.then(next),
        }))]),
        Value::Whole(integers) => {
            let array = integers.array.map(|v| whole(v.into()) as i64);
            Ok(vec![Value::whole(array, integers.kind)])
        }
        _ => {
            let (low, high) = (f64::from(next.low), f64::from(next.high));
            // Not `max` and `min`, which lose NaN.
            real(call, |v| select(v < low, low, select(v > high, high, v)))
        }
    }
}

fn clip(call: &Call<'_>) -> Result<Vec<Value>> {
    // Until operator set 10 the bounds were attributes.
    let bound = |position: usize, attribute: &str| -> Result<Option<f64>> {
        match call.optional(position) {
            Some(_) => call.number(position).map(Some),
            None => Ok(call.node.float(attribute).map(f64::from)),
        }
    };
    let (low, high) = (bound(1, "min")?, bound(2, "max")?);
    let bounds = Bounds {
        low: low.unwrap_or(f64::NEG_INFINITY) as f32,
        high: high.unwrap_or(f64::INFINITY) as f32,
    };
    if bounds.low.is_nan() || bounds.high.is_nan() {
        return Err(Error::unsupported("a bound is not a number"));
    }
    if bounds.low > bounds.high {
        // The standard: every value becomes the upper bound.
        let high = f64::from(bounds.high);
        return real(call, |_| high);
    }
    clamp(call, bounds, |value| {
        let low = low.map_or(i128::MIN, |v| v as i128);
        let high = high.map_or(i128::MAX, |v| v as i128);
        value.max(low).min(high)
    })
}
