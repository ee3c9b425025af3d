//! Products of matrices.

use std::sync::Arc;

use firstpass_probe::{Error, Result};

use crate::{
    any_order::{End, Products},
    array::{Array, broadcast_dims, strides},
    convolution::MAX_PRODUCTS,
    kind::Kind,
    operators::{Call, Table, binary::pairs},
    requantize::{Bias, Bounds, Channel},
    value::{Dequantized, Exact, Integers, Layout, Pending, Value},
};

pub const TABLE: Table = &[
    ("Einsum", einsum),
    ("Gemm", gemm),
    ("MatMul", matmul),
    ("MatMulInteger", matmul_integer),
];

/// Sums of products of numbers, which f64 holds exactly where they are integers below 2^53.
pub fn product(a: &Array<f64>, b: &Array<f64>) -> Result<Array<f64>> {
    // A vector is a row on the left and a column on the right, and these axes leave the result.
    let (mut left, mut right) = (a.dims.clone(), b.dims.clone());
    if left.is_empty() || right.is_empty() {
        return Err(Error::engine("it multiplies matrices, not numbers"));
    }
    let (is_row, is_column) = (left.len() == 1, right.len() == 1);
    if is_row {
        left.insert(0, 1);
    }
    if is_column {
        right.push(1);
    }
    let (batch_a, &[rows, inner]) = left.split_at(left.len() - 2) else {
        return Err(Error::engine("it multiplies matrices"));
    };
    let (batch_b, &[other, columns]) = right.split_at(right.len() - 2) else {
        return Err(Error::engine("it multiplies matrices"));
    };
    if inner != other {
        return Err(Error::engine(format!(
            "{:?} and {:?} are multiplied",
            a.dims, b.dims
        )));
    }
    let batch = broadcast_dims(batch_a, batch_b)?;
    let matrices = |of: &[usize]| -> Result<Array<usize>> {
        let count = of.iter().product();
        let numbers = Array {
            dims: of.to_vec(),
            values: (0..count).collect(),
        };
        numbers.broadcast(&batch)
    };
    let (of_a, of_b) = (matrices(batch_a)?, matrices(batch_b)?);
    let mut values = Vec::new();
    for (&a_number, &b_number) in of_a.values.iter().zip(&of_b.values) {
        let a = &a.values[a_number * rows * inner..][..rows * inner];
        let b = &b.values[b_number * inner * columns..][..inner * columns];
        for row in 0..rows {
            let mut sums = vec![0.0; columns];
            for k in 0..inner {
                let factor = a[row * inner + k];
                let others = &b[k * columns..][..columns];
                for (sum, other) in sums.iter_mut().zip(others) {
                    *sum += factor * other;
                }
            }
            values.extend(sums);
        }
    }
    let mut dims = batch;
    if !is_row {
        dims.push(rows);
    }
    if !is_column {
        dims.push(columns);
    }
    Ok(Array { dims, values })
}

/// Sums of products with what is added to each. Without an end they are exact up to f64; with one they are
/// the lowest or highest that f32 gives in any order.
pub fn sums(
    end: Option<End>,
    [a, b]: [&Array<f64>; 2],
    of: impl Fn(&Array<f64>, &Array<f64>) -> Result<Array<f64>>,
    bias: impl Fn(usize) -> f64,
) -> Result<Array<f64>> {
    let totals = of(a, b)?;
    let places = totals.values.iter().enumerate();
    let values = match end {
        None => places.map(|(at, sum)| sum + bias(at)).collect(),
        Some(end) => {
            let part = |part: fn(f64) -> f64| of(&a.map(part), &b.map(part));
            let magnitudes = part(f64::abs)?;
            let terms = part(|v| f64::from(u8::from(v != 0.0)))?;
            places
                .map(|(at, &total)| {
                    let products = Products {
                        total,
                        magnitude: magnitudes.values[at],
                        terms: terms.values[at],
                    };
                    products.in_f32(bias(at) as f32, end).into()
                })
                .collect()
        }
    };
    Ok(Array {
        values,
        dims: totals.dims,
    })
}

/// Exact sums of a product of quantized matrices; `None` where types and scales are such that they have no
/// common step, or could leave 32 bits.
pub fn exact(a: &Dequantized, b: &Dequantized, bias: Option<&Value>) -> Result<Option<Value>> {
    let dims = &b.integers.array.dims;
    let columns = dims.last().copied().unwrap_or(1);
    let of_columns = match b.layout {
        Layout::One => true,
        Layout::Axis { inner, .. } => inner == 1,
        Layout::Blocks { .. } => false,
    };
    let inner = dims[dims.len().saturating_sub(2)];
    let (Some(quantization), Some(left), Some(right)) =
        (a.quantization(), a.centred(), b.centred())
    else {
        return Ok(None);
    };
    if !of_columns || dims.len() < 2 || inner > MAX_PRODUCTS {
        return Ok(None);
    }
    let bias = |column: usize| -> Option<Bias> {
        let at = |length: usize| match length {
            1 => Some(0),
            length if length == columns => Some(column),
            _ => None,
        };
        match bias {
            None => Some(Bias::Float(0.0)),
            Some(Value::Real(bias)) => {
                let at = at(bias.array.values.len())?;
                Some(Bias::Float(bias.array.values[at] as f32))
            }
            Some(Value::Dequantized(bias)) if bias.zeros.iter().all(|&zero| zero == 0) => {
                let at = at(bias.integers.array.values.len())?;
                let scale = quantization.scale * b.scale(column);
                let has_scale = is_product(bias.scale(at), scale);
                let steps = i32::try_from(bias.integers.array.values[at]).ok()?;
                has_scale.then_some(Bias::Int(steps))
            }
            Some(_) => None,
        }
    };
    let channel = |column: usize| {
        Some(Channel {
            input: quantization.scale,
            weight: b.scale(column),
            scales: b.scales.len(),
            bias: bias(column)?,
        })
    };
    let channels: Option<Vec<Channel>> = (0..columns).map(channel).collect();
    let Some(channels) = channels else {
        return Ok(None);
    };
    let sums = product(&left.map(f64::from), &right.map(f64::from))?;
    Ok(Some(Value::Pending(Arc::new(Pending {
        exact: Exact::Products {
            sums: Arc::new(sums.map(|sum| sum as i32)),
            channels: Arc::new(channels),
            inner: 1,
        },
        bounds: Bounds::NONE,
    }))))
}

/// Whether a bias counts in steps of the sums that it is added to. Exporters compute the product of the
/// scales in f32 or in f64.
pub fn is_product(scale: f32, expected: f32) -> bool {
    (scale - expected).abs() <= expected * 1e-6
}

fn matmul(call: &Call<'_>) -> Result<Vec<Value>> {
    let (a, b) = (call.value(0)?, call.value(1)?);
    if let (Value::Dequantized(a), Value::Dequantized(b)) = (a, b)
        && call.keeps_integers()
        && let Some(pending) = exact(a, b, None)?
    {
        return Ok(vec![pending]);
    }
    if let (Value::Whole(a), Value::Whole(b)) = (a, b) {
        // Exact below 2^53.
        let found = product(&a.array.map(|v| v as f64), &b.array.map(|v| v as f64))?;
        let kind = a.kind;
        return Ok(vec![Value::whole(
            found.map(|v| kind.wrapped(v as i128)),
            kind,
        )]);
    }
    let (a, b) = (a.reals()?, b.reals()?);
    let found = sums(
        call.context.rules.end,
        [&a.array, &b.array],
        product,
        |_| 0.0,
    )?;
    Ok(vec![Value::real(found, a.kind)])
}

/// A matrix, transposed where the attribute says so.
pub fn transposed(call: &Call<'_>, name: &str, value: &Value) -> Result<Value> {
    if value.dims().len() != 2 {
        return Err(Error::engine(format!("{:?} is no matrix", value.dims())));
    }
    if !call.is_set(name)? {
        return Ok(value.clone());
    }
    if let Value::Dequantized(all) = value
        && let Layout::Axis { count, inner } = all.layout
    {
        // Scales of rows become scales of columns, and the other way round.
        let inner = if inner == 1 { value.dims()[0] } else { 1 };
        return Ok(Value::Dequantized(Arc::new(Dequantized {
            integers: Arc::new(Integers {
                array: all.integers.array.transposed(&[1, 0])?,
                kind: all.integers.kind,
            }),
            layout: Layout::Axis { count, inner },
            ..(**all).clone()
        })));
    }
    value.moved(|places| places.transposed(&[1, 0]))
}

fn gemm(call: &Call<'_>) -> Result<Vec<Value>> {
    let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
    let a = transposed(call, "transA", call.value(0)?)?;
    let b = transposed(call, "transB", call.value(1)?)?;
    let bias = call.optional(2);
    let is_plain = alpha == 1.0 && beta == 1.0;
    if let (Value::Dequantized(a), Value::Dequantized(b), true) = (&a, &b, is_plain)
        && call.keeps_integers()
        && let Some(pending) = exact(a, b, bias)?
    {
        return Ok(vec![pending]);
    }
    if let (Value::Whole(a), Value::Whole(b)) = (&a, &b) {
        let found = product(&a.array.map(|v| v as f64), &b.array.map(|v| v as f64))?;
        let found = found.map(|v| alpha * v);
        let found = match bias {
            None => found,
            Some(_) => {
                let bias = call.integers(2)?.array.map(|v| beta * v as f64);
                pairs(&found, &bias, |v, bias| v + bias)?
            }
        };
        let kind = a.kind;
        return Ok(vec![Value::whole(
            found.map(|v| kind.wrapped(v as i128)),
            kind,
        )]);
    }
    let (a, b) = (a.reals()?, b.reals()?);
    let dims = [a.array.dims[0], b.array.dims[1]];
    let bias = match bias {
        None => None,
        Some(bias) => Some(bias.reals()?.array.broadcast(&dims)?),
    };
    let bias = |at: usize| bias.as_ref().map_or(0.0, |bias| beta * bias.values[at]);
    let scaled = a.array.map(|v| alpha * v);
    let found = sums(call.context.rules.end, [&scaled, &b.array], product, bias)?;
    Ok(vec![Value::real(found, a.kind)])
}

/// Integers less their zero points, of which there may be one for each index along an axis.
pub fn centred(call: &Call<'_>, value: usize, zero: usize, along: usize) -> Result<Array<f64>> {
    let integers = call.integers(value)?;
    let array = integers.array.map(|v| v as f64);
    if call.optional(zero).is_none() {
        return Ok(array);
    }
    let zeros = call.integers(zero)?;
    let of = &zeros.array.values;
    let (dims, count) = (&array.dims, of.len());
    if zeros.array.dims.len() > 1 {
        // One for each row of each matrix, or the like.
        let zeros = zeros.array.map(|v| v as f64).broadcast(dims)?;
        return pairs(&array, &zeros, |v, zero| v - zero);
    }
    if count != 1 && dims.get(along) != Some(&count) {
        return Err(Error::engine(format!("{count} zero points of {dims:?}")));
    }
    let inner: usize = dims.iter().skip(along + 1).product();
    let values = array.values.iter().enumerate();
    let values = values.map(|(at, v)| v - of[at / inner.max(1) % count] as f64);
    Ok(Array {
        values: values.collect(),
        dims: dims.clone(),
    })
}

fn matmul_integer(call: &Call<'_>) -> Result<Vec<Value>> {
    let rank = |position: usize| Ok::<_, Error>(call.value(position)?.dims().len());
    let a = centred(call, 0, 2, rank(0)?.saturating_sub(2))?;
    let b = centred(call, 1, 3, rank(1)?.saturating_sub(1))?;
    let sums = product(&a, &b)?.map(|sum| Kind::I32.wrapped(sum as i128));
    Ok(vec![Value::whole(sums, Kind::I32)])
}

/// Of one or two tensors, without an ellipsis.
fn einsum(call: &Call<'_>) -> Result<Vec<Value>> {
    let equation = call.word("equation", "").replace(' ', "");
    // Letters of either case are different axes.
    let equation = match call.node.text("equation") {
        Some(text) => String::from_utf8_lossy(text).replace(' ', ""),
        None => equation,
    };
    if equation.contains('.') {
        return Err(Error::unsupported("its equation has an ellipsis"));
    }
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_owned(), Some(right.to_owned())),
        None => (equation.clone(), None),
    };
    let terms: Vec<Vec<char>> = left.split(',').map(|term| term.chars().collect()).collect();
    let mut letters: Vec<char> = terms.iter().flatten().copied().collect();
    letters.sort_unstable();
    letters.dedup();
    let count = |letter: &char| {
        terms
            .iter()
            .flatten()
            .filter(|other| *other == letter)
            .count()
    };
    let result: Vec<char> = match right {
        Some(right) => right.chars().collect(),
        None => letters.iter().copied().filter(|l| count(l) == 1).collect(),
    };
    let inputs: Vec<_> = (0..terms.len())
        .map(|position| call.reals(position))
        .collect::<Result<_>>()?;
    let length = |letter: &char| -> Result<usize> {
        let of_terms = terms.iter().zip(&inputs);
        let mut lengths = of_terms.filter_map(|(term, input)| {
            let axis = term.iter().position(|other| other == letter)?;
            input.array.dims.get(axis).copied()
        });
        let length = lengths.next();
        length.ok_or_else(|| Error::engine(format!("its equation names no axis {letter}")))
    };
    let summed: Vec<char> = letters
        .iter()
        .copied()
        .filter(|l| !result.contains(l))
        .collect();
    let order: Vec<char> = result.iter().chain(&summed).copied().collect();
    let dims: Vec<usize> = order.iter().map(length).collect::<Result<_>>()?;
    let of: Vec<Vec<usize>> = inputs
        .iter()
        .map(|input| strides(&input.array.dims))
        .collect();
    for (term, input) in terms.iter().zip(&inputs) {
        if term.len() != input.array.dims.len() {
            return Err(Error::engine("its equation does not fit its inputs"));
        }
    }
    let values = crate::array::Places::new(&dims)?.map(|index| {
        let factors = terms
            .iter()
            .zip(&inputs)
            .zip(&of)
            .map(|((term, input), of)| {
                let along = term.iter().zip(of).map(|(letter, stride)| {
                    let place = order.iter().position(|other| other == letter);
                    place.map_or(0, |place| index[place]) * stride
                });
                input.array.values.get(along.sum::<usize>()).copied()
            });
        factors.product::<Option<f64>>()
    });
    let values: Option<Vec<f64>> = values.into_iter().collect();
    let values = values.ok_or_else(|| Error::engine("axes of its equation differ in length"))?;
    let inner: usize = dims[result.len()..].iter().product();
    let array = Array {
        dims: dims[..result.len()].to_vec(),
        values: values
            .chunks(inner.max(1))
            .map(|all| all.iter().sum())
            .collect(),
    };
    Ok(vec![Value::real(array, inputs[0].kind)])
}
