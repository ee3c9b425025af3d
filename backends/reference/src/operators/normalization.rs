//! Normalizations.

use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    operators::{Call, Table, axes, axis, length},
    value::Value,
};

pub const TABLE: Table = &[
    ("BatchNormalization", batch),
    ("GroupNormalization", group),
    ("InstanceNormalization", instance),
    ("LRN", local_response),
    ("LayerNormalization", layer),
    ("LpNormalization", lp),
    ("MeanVarianceNormalization", mean_variance),
    ("RMSNormalization", root_mean_square),
];

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len() as f64
}

fn variance(all: &[f64]) -> f64 {
    let mean = mean(all);
    all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64
}

/// The number of values behind the second axis, and of channels.
fn channels(array: &Array<f64>) -> Result<(usize, usize)> {
    match array.dims[..] {
        [_, count, ref rest @ ..] => Ok((rest.iter().product::<usize>().max(1), count.max(1))),
        _ => Err(Error::engine("it has no channels")),
    }
}

/// One number for each of `count`.
fn one_each(call: &Call<'_>, position: usize, count: usize) -> Result<Vec<f64>> {
    let values = call.reals(position)?.array.values.clone();
    if values.len() == count {
        Ok(values)
    } else {
        Err(Error::engine(format!(
            "its input {position} has {} values for {count} channels",
            values.len()
        )))
    }
}

fn batch(call: &Call<'_>) -> Result<Vec<Value>> {
    if call.is_set("training_mode")? || call.node.output.len() > 1 {
        return Err(Error::unsupported("it trains"));
    }
    let reals = call.reals(0)?;
    let array = &reals.array;
    let (inner, count) = match array.dims.len() {
        1 => (1, 1),
        _ => channels(array)?,
    };
    let part = |position| one_each(call, position, count);
    let (scale, bias, mean, variance) = (part(1)?, part(2)?, part(3)?, part(4)?);
    let epsilon = call.float("epsilon", 1e-5);
    let values = array.values.iter().enumerate().map(|(at, v)| {
        let c = at / inner % count;
        (v - mean[c]) / (variance[c] + epsilon).sqrt() * scale[c] + bias[c]
    });
    let array = Array {
        values: values.collect(),
        dims: array.dims.clone(),
    };
    Ok(vec![Value::real(array, reals.kind)])
}

/// Each run of `size` values becomes one of mean 0 and variance 1.
fn standardized(array: &Array<f64>, size: usize, epsilon: f64) -> Vec<f64> {
    let runs = array.values.chunks(size.max(1));
    let of = |all: &[f64]| {
        let (mean, deviation) = (mean(all), (variance(all) + epsilon).sqrt());
        all.iter()
            .map(|v| (v - mean) / deviation)
            .collect::<Vec<_>>()
    };
    runs.flat_map(of).collect()
}

fn instance(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let (inner, count) = channels(&reals.array)?;
    let (scale, bias) = (one_each(call, 1, count)?, one_each(call, 2, count)?);
    let all = standardized(&reals.array, inner, call.float("epsilon", 1e-5));
    let values = all.iter().enumerate().map(|(at, v)| {
        let c = at / inner % count;
        v * scale[c] + bias[c]
    });
    let array = Array {
        values: values.collect(),
        dims: reals.array.dims.clone(),
    };
    Ok(vec![Value::real(array, reals.kind)])
}

fn group(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let (inner, count) = channels(&reals.array)?;
    let groups = length(call.int("num_groups", 1)?)?;
    if groups == 0 || !count.is_multiple_of(groups) {
        return Err(Error::engine(format!(
            "{groups} groups of {count} channels"
        )));
    }
    // Until operator set 20 one scale a group.
    let each = if call.context.opset < 21 {
        groups
    } else {
        count
    };
    let (scale, bias) = (one_each(call, 1, each)?, one_each(call, 2, each)?);
    let size = count / groups * inner;
    let all = standardized(&reals.array, size, call.float("epsilon", 1e-5));
    let values = all.iter().enumerate().map(|(at, v)| {
        let c = at / inner % count / (count / each);
        v * scale[c] + bias[c]
    });
    let array = Array {
        values: values.collect(),
        dims: reals.array.dims.clone(),
    };
    Ok(vec![Value::real(array, reals.kind)])
}

fn layer(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let array = &reals.array;
    let at = axis(call.int("axis", -1)?, array.dims.len())?;
    let epsilon = call.float("epsilon", 1e-5);
    let size: usize = array.dims[at..].iter().product();
    let mut values = Array {
        dims: array.dims.clone(),
        values: standardized(array, size, epsilon),
    };
    let times = |values: &mut Array<f64>, position: usize, of: fn(f64, f64) -> f64| -> Result<()> {
        let other = call.reals(position)?.array.broadcast(&array.dims)?;
        let all = values.values.iter_mut().zip(other.values);
        all.for_each(|(v, other)| *v = of(*v, other));
        Ok(())
    };
    times(&mut values, 1, |v, scale| v * scale)?;
    if call.optional(2).is_some() {
        times(&mut values, 2, |v, bias| v + bias)?;
    }
    let mut dims = array.dims.clone();
    dims[at..].iter_mut().for_each(|dim| *dim = 1);
    let of_runs = |of: &dyn Fn(&[f64]) -> f64| {
        let runs = array.values.chunks(size.max(1));
        let array = Array {
            dims: dims.clone(),
            values: runs.map(of).collect(),
        };
        Value::real(array, reals.kind)
    };
    Ok(vec![
        Value::real(values, reals.kind),
        of_runs(&mean),
        of_runs(&|all| 1.0 / (variance(all) + epsilon).sqrt()),
    ])
}

fn root_mean_square(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let array = &reals.array;
    let at = axis(call.int("axis", -1)?, array.dims.len())?;
    let epsilon = call.float("epsilon", 1e-5);
    let size: usize = array.dims[at..].iter().product();
    let runs = array.values.chunks(size.max(1)).flat_map(|all| {
        let square = all.iter().map(|v| v * v).sum::<f64>() / all.len() as f64;
        let root = (square + epsilon).sqrt();
        all.iter().map(move |v| v / root)
    });
    let scale = call.reals(1)?.array.broadcast(&array.dims)?;
    let values = runs.zip(scale.values).map(|(v, scale)| v * scale);
    let array = Array {
        values: values.collect(),
        dims: array.dims.clone(),
    };
    Ok(vec![Value::real(array, reals.kind)])
}

fn mean_variance(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let given = call.node.ints("axes").unwrap_or(&[0, 2, 3]);
    let along = axes(given, reals.array.dims.len())?;
    let (dims, groups) = super::reduce::groups(&reals.array, &along);
    let of_groups = |of: &dyn Fn(&[f64]) -> f64| -> Result<Array<f64>> {
        let array = Array {
            dims: dims.clone(),
            values: groups.iter().map(|all| of(all)).collect(),
        };
        array.broadcast(&reals.array.dims)
    };
    let (mean, deviation) = (
        of_groups(&mean)?,
        of_groups(&|all| variance(all).sqrt() + 1e-9)?,
    );
    let each = reals.array.values.iter().zip(&mean.values);
    let values = each.zip(&deviation.values).map(|((v, m), d)| (v - m) / d);
    let array = Array {
        values: values.collect(),
        dims: reals.array.dims.clone(),
    };
    Ok(vec![Value::real(array, reals.kind)])
}

fn lp(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let at = axis(call.int("axis", -1)?, reals.array.dims.len())?;
    let (dims, groups) = super::reduce::groups(&reals.array, &[at]);
    let norm = |all: &Vec<f64>| match call.int("p", 2) {
        Ok(1) => all.iter().map(|v| v.abs()).sum::<f64>(),
        _ => all.iter().map(|v| v * v).sum::<f64>().sqrt(),
    };
    let norms = Array {
        dims,
        values: groups.iter().map(norm).collect(),
    };
    let norms = norms.broadcast(&reals.array.dims)?;
    let each = reals.array.values.iter().zip(&norms.values);
    let values = each.map(|(v, norm)| if *norm == 0.0 { 0.0 } else { v / norm });
    let array = Array {
        values: values.collect(),
        dims: reals.array.dims.clone(),
    };
    Ok(vec![Value::real(array, reals.kind)])
}

fn local_response(call: &Call<'_>) -> Result<Vec<Value>> {
    let reals = call.reals(0)?;
    let array = &reals.array;
    let (inner, count) = channels(array)?;
    let size = length(call.int("size", 1)?)?.max(1);
    let (alpha, beta) = (call.float("alpha", 1e-4), call.float("beta", 0.75));
    let bias = call.float("bias", 1.0);
    let values = array.values.iter().enumerate().map(|(at, v)| {
        let c = at / inner % count;
        let first = c.saturating_sub((size - 1) / 2);
        let last = (c + size / 2).min(count - 1);
        let place = |other: usize| at + other * inner - c * inner;
        let square: f64 = (first..=last)
            .map(|other| array.values[place(other)].powi(2))
            .sum();
        v / (bias + alpha / size as f64 * square).powf(beta)
    });
    let array = Array {
        values: values.collect(),
        dims: array.dims.clone(),
    };
    Ok(vec![Value::real(array, reals.kind)])
}
