//! Pools.

use firstpass_probe::{Error, Result};

use crate::{
    array::{Array, Places},
    kind::Kind,
    operators::{
        Call, Table,
        binary::{maximum, select},
        geometry::{Axis, each, positions, windows},
    },
    value::Value,
};

pub const TABLE: Table = &[
    ("AveragePool", |call| {
        Ok(vec![average(call, call.value(0)?)?])
    }),
    ("GlobalAveragePool", |call| {
        global(call, |all| all.iter().sum::<f64>() / all.len() as f64)
    }),
    ("GlobalLpPool", |call| {
        let p = call.int("p", 2)? as f64;
        global(call, |all| norm(all, p))
    }),
    ("GlobalMaxPool", |call| {
        global(call, |all| {
            all.iter().copied().fold(f64::NEG_INFINITY, maximum)
        })
    }),
    ("LpPool", lp),
    ("MaxPool", max),
];

fn norm(all: &[f64], p: f64) -> f64 {
    let sum: f64 = all.iter().map(|v| v.abs().powf(p)).sum();
    sum.powf(1.0 / p)
}

/// The dimensions before the windows', their number of planes, and the windows.
fn geometry(call: &Call<'_>, dims: &[usize]) -> Result<(usize, Vec<Axis>)> {
    let [n, c, sizes @ ..] = dims else {
        return Err(Error::engine(format!("{dims:?} has no axes to pool along")));
    };
    let kernel = each(call, "kernel_shape", sizes.len(), 1)?;
    Ok((n * c, windows(call, sizes, &kernel)?))
}

fn dims_of(dims: &[usize], axes: &[Axis]) -> Vec<usize> {
    let positions = axes.iter().map(|axis| axis.positions);
    dims[..2].iter().copied().chain(positions).collect()
}

/// What is computed of the values in each window.
fn pooled(
    call: &Call<'_>,
    value: &Value,
    mut of: impl FnMut(&[f64], usize) -> f64,
) -> Result<Value> {
    let reals = value.reals()?;
    let array = &reals.array;
    let (planes, axes) = geometry(call, &array.dims)?;
    let plane = array.values.len() / planes.max(1);
    let mut values = Vec::new();
    for number in 0..planes {
        let all = &array.values[number * plane..][..plane];
        let mut position = 0;
        values.extend(positions(&axes, |read| {
            let window: Vec<f64> = read.iter().map(|&(_, place)| all[place]).collect();
            position += 1;
            of(&window, position - 1)
        })?);
    }
    let dims = dims_of(&array.dims, &axes);
    Ok(Value::real(Array { dims, values }, reals.kind))
}

pub fn average(call: &Call<'_>, value: &Value) -> Result<Value> {
    let counts_padding = call.is_set("count_include_pad")?;
    let (_, axes) = geometry(call, value.dims())?;
    let kernel: Vec<usize> = axes.iter().map(|axis| axis.kernel).collect();
    let counts: Vec<usize> = axes.iter().map(|axis| axis.positions).collect();
    // Taps beyond the padding, where the last window reaches further, do not count.
    let taps = Places::new(&kernel)?;
    let padded = Places::new(&counts)?.map(|position| {
        let within = taps.map(|tap| {
            let mut along = axes.iter().zip(position).zip(tap);
            along.all(|((axis, &p), &t)| axis.is_padded(p, t))
        });
        within.iter().filter(|within| **within).count()
    });
    let is_f32 = value.kind() == Kind::F32;
    pooled(call, value, |all, position| {
        let count = if counts_padding {
            padded[position]
        } else {
            all.len()
        };
        // In f32 one value after the other, as the standard's evaluator and engines do: a mean of few quantized values
        // often lies halfway between two steps, and the last bit of the sum says to which it is rounded.
        let sum: f64 = match is_f32 {
            true => all
                .iter()
                .fold(0.0_f32, |sum, &value| sum + value as f32)
                .into(),
            false => all.iter().sum(),
        };
        sum / count as f64
    })
}

fn lp(call: &Call<'_>) -> Result<Vec<Value>> {
    let p = call.int("p", 2)? as f64;
    Ok(vec![pooled(call, call.value(0)?, |all, _| norm(all, p))?])
}

fn global(call: &Call<'_>, of: impl Fn(&[f64]) -> f64) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let array = &reals.array;
    let [n, c, sizes @ ..] = &array.dims[..] else {
        return Err(Error::engine(format!("{:?} has no channels", array.dims)));
    };
    let plane: usize = sizes.iter().product();
    let dims = [n, c].into_iter().copied().chain(sizes.iter().map(|_| 1));
    let array = Array {
        dims: dims.collect(),
        values: array.values.chunks(plane.max(1)).map(of).collect(),
    };
    Ok(vec![Value::real(array, reals.kind)])
}

/// The largest value of each window and its place in the input.
fn max(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let (planes, axes) = geometry(call, value.dims())?;
    let numbers = match value {
        Value::Whole(integers) => integers.array.map(|v| v as f64),
        other => other.reals()?.array.clone(),
    };
    let plane = numbers.values.len() / planes.max(1);
    let mut from = Vec::new();
    for number in 0..planes {
        let first = number * plane;
        let all = &numbers.values[first..][..plane];
        from.extend(positions(&axes, |read| {
            let better = |best: usize, at: usize| select(all[at] > all[best], at, best);
            let places = read.iter().map(|&(_, place)| place);
            places.reduce(better).map(|place| first + place)
        })?);
    }
    let from: Option<Vec<usize>> = from.into_iter().collect();
    let from = Array {
        dims: dims_of(value.dims(), &axes),
        values: from.ok_or_else(|| Error::unsupported("a window lies in the padding only"))?,
    };
    let columns_first = call.is_set("storage_order")?;
    let indices = from.map(|place| {
        if !columns_first {
            return place as i64;
        }
        // The first axis of the plane runs fastest.
        let mut rest = place % plane;
        let mut index = Vec::new();
        for axis in axes.iter().rev() {
            index.push(rest % axis.size);
            rest /= axis.size;
        }
        let sizes = axes.iter().zip(index.iter().rev());
        let (mut stride, mut at) = (1, place - place % plane);
        for (axis, i) in sizes {
            at += i * stride;
            stride *= axis.size;
        }
        at as i64
    });
    Ok(vec![
        value.gathered(&from)?,
        Value::whole(indices, Kind::I64),
    ])
}
