//! What makes one value of many along some axes.

use firstpass_probe::Result;

use crate::{
    array::{Array, strides},
    kind::Kind,
    operators::{
        Call, Table, axes, axis,
        binary::{maximum, minimum},
    },
    value::Value,
};

pub const TABLE: Table = &[
    ("ArgMax", |call| arg(call, |a, b| a > b)),
    ("ArgMin", |call| arg(call, |a, b| a < b)),
    ("CumSum", cum_sum),
    ("LogSoftmax", |call| softmax(call, true)),
    ("ReduceL1", |call| {
        reduce(
            call,
            |all| all.iter().map(|v| v.abs()).sum(),
            |all| all.iter().map(|v| v.abs()).sum(),
        )
    }),
    ("ReduceL2", |call| {
        reduce(
            call,
            |all| all.iter().map(|v| v * v).sum::<f64>().sqrt(),
            |all| (all.iter().map(|v| v * v).sum::<i128>() as f64).sqrt() as i128,
        )
    }),
    ("ReduceLogSum", |call| {
        reduce(
            call,
            |all| all.iter().sum::<f64>().ln(),
            |all| (all.iter().sum::<i128>() as f64).ln() as i128,
        )
    }),
    ("ReduceLogSumExp", |call| {
        reduce(call, log_sum_exp, |all| {
            let all: Vec<f64> = all.iter().map(|&v| v as f64).collect();
            log_sum_exp(&all) as i128
        })
    }),
    ("ReduceMax", |call| {
        reduce(
            call,
            |all| all.iter().copied().fold(f64::NEG_INFINITY, maximum),
            |all| all.iter().copied().max().unwrap_or(i128::MIN),
        )
    }),
    ("ReduceMean", |call| {
        reduce(
            call,
            |all| all.iter().sum::<f64>() / all.len() as f64,
            |all| all.iter().sum::<i128>() / (all.len() as i128).max(1),
        )
    }),
    ("ReduceMin", |call| {
        reduce(
            call,
            |all| all.iter().copied().fold(f64::INFINITY, minimum),
            |all| all.iter().copied().min().unwrap_or(i128::MAX),
        )
    }),
    ("ReduceProd", |call| {
        reduce(call, |all| all.iter().product(), |all| all.iter().product())
    }),
    ("ReduceSum", |call| {
        reduce(call, |all| all.iter().sum(), |all| all.iter().sum())
    }),
    ("ReduceSumSquare", |call| {
        reduce(
            call,
            |all| all.iter().map(|v| v * v).sum(),
            |all| all.iter().map(|v| v * v).sum(),
        )
    }),
    ("Hardmax", hardmax),
    ("Softmax", |call| softmax(call, false)),
    ("TopK", top_k),
];

/// The sum without a value that is not there: the logarithm of zero.
fn log_sum_exp(all: &[f64]) -> f64 {
    let highest = all.iter().copied().fold(f64::NEG_INFINITY, maximum);
    if highest.is_infinite() {
        return highest;
    }
    let sum: f64 = all.iter().map(|v| (v - highest).exp()).sum();
    highest + sum.ln()
}

/// The values that are put together, for each place of the result, whose dimensions are those of `array`
/// with 1 along the axes.
pub fn groups<T: Copy>(array: &Array<T>, along: &[usize]) -> (Vec<usize>, Vec<Vec<T>>) {
    let mut dims = array.dims.clone();
    along.iter().for_each(|&axis| dims[axis] = 1);
    let (of, to) = (strides(&array.dims), strides(&dims));
    let mut groups = vec![Vec::new(); dims.iter().product()];
    for (at, &value) in array.values.iter().enumerate() {
        let place = (0..dims.len()).map(|axis| {
            let index = at / of[axis] % array.dims[axis];
            if dims[axis] == 1 { 0 } else { index * to[axis] }
        });
        groups[place.sum::<usize>()].push(value);
    }
    (dims, groups)
}

fn reduce(
    call: &Call<'_>,
    of: impl Fn(&[f64]) -> f64,
    of_integers: impl Fn(&[i128]) -> i128,
) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let rank = value.dims().len();
    let given = call.list_or_attribute(1, "axes")?;
    let given = given.filter(|axes| !axes.is_empty());
    if given.is_none() && call.is_set("noop_with_empty_axes")? {
        return Ok(vec![value.clone()]);
    }
    let along = match given {
        Some(given) => axes(&given, rank)?,
        None => (0..rank).collect(),
    };
    let keeps = call.int("keepdims", 1)? != 0;
    let shape = |dims: Vec<usize>| -> Vec<usize> {
        let kept = dims.into_iter().enumerate();
        let kept = kept.filter(|(axis, _)| keeps || !along.contains(axis));
        kept.map(|(_, dim)| dim).collect()
    };
    Ok(vec![match value {
        Value::Whole(integers) => {
            let wide = integers.array.map(i128::from);
            let (dims, groups) = groups(&wide, &along);
            let (kind, (low, high)) = (integers.kind, integers.kind.limits());
            let values = groups.iter().map(|all| {
                let found = of_integers(all);
                // Of nothing, the ends of the type.
                if all.is_empty() {
                    found.clamp(low.into(), high.into()) as i64
                } else {
                    kind.wrapped(found)
                }
            });
            let array = Array {
                values: values.collect(),
                dims: shape(dims),
            };
            Value::whole(array, kind)
        }
        other => {
            let reals = other.reals()?;
            let (dims, groups) = groups(&reals.array, &along);
            let array = Array {
                values: groups.iter().map(|all| of(all)).collect(),
                dims: shape(dims),
            };
            Value::real(array, reals.kind)
        }
    }])
}

/// The place of the first value that is better than all before it, or of the last such.
fn arg(call: &Call<'_>, is_better: impl Fn(f64, f64) -> bool) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let along = axis(call.int("axis", 0)?, value.dims().len())?;
    let last = call.is_set("select_last_index")?;
    let numbers = match value {
        // Integers of 64 bits beyond 2^53 are compared as f64.
        Value::Whole(integers) => integers.array.map(|v| v as f64),
        other => other.reals()?.array.clone(),
    };
    let (mut dims, groups) = groups(&numbers, &[along]);
    let best = |all: &Vec<f64>| {
        let better = |best: usize, at: usize| {
            let (a, b) = (all[at], all[best]);
            if is_better(a, b) || (last && a == b) || (a.is_nan() && !b.is_nan()) {
                at
            } else {
                best
            }
        };
        (0..all.len()).reduce(better).unwrap_or_default() as i64
    };
    let values = groups.iter().map(best).collect();
    if call.int("keepdims", 1)? == 0 {
        dims.remove(along);
    }
    Ok(vec![Value::whole(Array { dims, values }, Kind::I64)])
}

/// What is computed of all values along an axis, in their places.
fn along(array: &Array<f64>, axis: usize, of: impl Fn(&[f64]) -> Vec<f64>) -> Array<f64> {
    let length = array.dims[axis];
    let inner: usize = array.dims[axis + 1..].iter().product();
    let mut result = array.clone();
    let outer = array.values.len() / (inner * length).max(1);
    for (outer, inner_at) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let place = |i: usize| (outer * length + i) * inner + inner_at;
        let values: Vec<f64> = (0..length).map(|i| array.values[place(i)]).collect();
        for (i, value) in of(&values).into_iter().enumerate() {
            result.values[place(i)] = value;
        }
    }
    result
}

/// Before operator set 13 all axes from `axis` on are one.
fn as_older(call: &Call<'_>, array: &Array<f64>) -> Result<(Array<f64>, usize)> {
    let rank = array.dims.len();
    let is_older = call.context.opset < 13;
    let given = call.int("axis", if is_older { 1 } else { -1 })?;
    if !is_older {
        return Ok((array.clone(), axis(given, rank)?));
    }
    let at = if given == rank as i64 {
        rank
    } else {
        axis(given, rank)?
    };
    let rows: usize = array.dims[..at].iter().product();
    let columns: usize = array.dims[at..].iter().product();
    let flat = Array {
        dims: vec![rows, columns],
        values: array.values.clone(),
    };
    Ok((flat, 1))
}

fn softmax(call: &Call<'_>, logarithm: bool) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let (array, axis) = as_older(call, &reals.array)?;
    let result = along(&array, axis, |all| {
        let highest = all.iter().copied().fold(f64::NEG_INFINITY, maximum);
        let shifted: Vec<f64> = all.iter().map(|v| v - highest).collect();
        let sum: f64 = shifted.iter().map(|v| v.exp()).sum();
        let of = |v: &f64| {
            if logarithm {
                v - sum.ln()
            } else {
                v.exp() / sum
            }
        };
        shifted.iter().map(of).collect()
    });
    let array = Array {
        dims: reals.array.dims.clone(),
        ..result
    };
    Ok(vec![Value::real(array, reals.kind)])
}

fn hardmax(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let (array, axis) = as_older(call, &reals.array)?;
    let result = along(&array, axis, |all| {
        let better = |best: usize, at: usize| if all[at] > all[best] { at } else { best };
        let best = (0..all.len()).reduce(better);
        (0..all.len())
            .map(|at| f64::from(u8::from(Some(at) == best)))
            .collect()
    });
    let array = Array {
        dims: reals.array.dims.clone(),
        ..result
    };
    Ok(vec![Value::real(array, reals.kind)])
}

fn cum_sum(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let at = axis(call.number(1)? as i64, value.dims().len())?;
    let (exclusive, reverse) = (call.is_set("exclusive")?, call.is_set("reverse")?);
    let sums = |all: &[f64]| {
        let mut order: Vec<usize> = (0..all.len()).collect();
        if reverse {
            order.reverse();
        }
        let (mut sum, mut sums) = (0.0, vec![0.0; all.len()]);
        for at in order {
            let next = sum + all[at];
            sums[at] = if exclusive { sum } else { next };
            sum = next;
        }
        sums
    };
    Ok(vec![match value {
        // Exact below 2^53.
        Value::Whole(integers) => {
            let array = along(&integers.array.map(|v| v as f64), at, sums);
            let kind = integers.kind;
            Value::whole(array.map(|v| kind.wrapped(v as i128)), kind)
        }
        other => {
            let reals = other.reals()?;
            Value::real(along(&reals.array, at, sums), reals.kind)
        }
    }])
}

fn top_k(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let dims = value.dims();
    let at = axis(call.int("axis", -1)?, dims.len())?;
    let largest = call.int("largest", 1)? != 0;
    let count = match call.optional(1) {
        Some(_) => call.number(1)? as usize,
        None => call.int("k", 0)? as usize,
    }
    .min(dims[at]);
    let numbers = match value {
        Value::Whole(integers) => integers.array.map(|v| v as f64),
        other => other.reals()?.array.clone(),
    };
    // Of equal values the first comes first.
    let ranks = along(&numbers, at, |all| {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&a, &b| {
            let by_value = all[a].total_cmp(&all[b]);
            if largest {
                by_value.reverse()
            } else {
                by_value
            }
        });
        order.into_iter().map(|at| at as f64).collect()
    });
    let inner: usize = dims[at + 1..].iter().product();
    let mut kept: Vec<Vec<usize>> = dims.iter().map(|&dim| (0..dim).collect()).collect();
    kept[at] = (0..count).collect();
    let places = crate::array::iota(dims)?.taken(&kept)?;
    let along = ranks.gathered(&places)?.map(|rank| rank as i64);
    // The place of the value of a rank: at the same indices but along the axis.
    let from = places
        .values
        .iter()
        .zip(&along.values)
        .map(|(place, &rank)| {
            let index = place / inner.max(1) % dims[at].max(1);
            place - index * inner + rank as usize * inner
        });
    let from = Array {
        values: from.collect(),
        dims: places.dims.clone(),
    };
    Ok(vec![value.gathered(&from)?, Value::whole(along, Kind::I64)])
}
