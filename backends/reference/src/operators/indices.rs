//! What takes values, or puts them, where indices say.

use firstpass_probe::{Error, Result};

use crate::{
    array::{Array, Places, strides, volume},
    operators::{Call, Table, axis, length},
    value::{Integers, Value},
};

pub const TABLE: Table = &[
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("Scatter", |call| scatter(call, element_places)),
    ("ScatterElements", |call| scatter(call, element_places)),
    ("ScatterND", |call| scatter(call, nd_places)),
];

/// An index that may be counted from the end.
fn index(given: i64, length: usize) -> Result<usize> {
    let from_start = if given < 0 {
        given.saturating_add(length as i64)
    } else {
        given
    };
    let found = usize::try_from(from_start).ok();
    found
        .filter(|&at| at < length)
        .ok_or_else(|| Error::engine(format!("there is no index {given} along {length} values")))
}

fn gather(call: &Call<'_>) -> Result<Vec<Value>> {
    let (value, indices) = (call.value(0)?, call.integers(1)?);
    let dims = value.dims();
    let at = axis(call.int("axis", 0)?, dims.len())?;
    let named = indices.array.values.iter();
    let named: Vec<usize> = named
        .map(|&given| index(given, dims[at]))
        .collect::<Result<_>>()?;
    let mut taken: Vec<Vec<usize>> = dims.iter().map(|&dim| (0..dim).collect()).collect();
    taken[at] = named;
    let moved = value.moved(|places| {
        let taken = places.taken(&taken)?;
        let dims = [&dims[..at], &indices.array.dims, &dims[at + 1..]].concat();
        Ok(Array { dims, ..taken })
    });
    Ok(vec![moved?])
}

/// The places of the tensor that GatherElements and ScatterElements mean, in the shape of the indices.
fn element_places(call: &Call<'_>, dims: &[usize]) -> Result<Array<usize>> {
    let indices = call.integers(1)?;
    let at = axis(call.int("axis", 0)?, dims.len())?;
    if indices.array.dims.len() != dims.len() {
        return Err(Error::engine("indices must have as many axes as the data"));
    }
    let of = strides(dims);
    let mut given = indices.array.values.iter();
    let places = Places::new(&indices.array.dims)?.map(|place| {
        let given = index(given.next().copied().unwrap_or_default(), dims[at])?;
        let along = place.iter().enumerate();
        let indices = along.map(|(axis, &i)| (axis, if axis == at { given } else { i }));
        Ok(indices.map(|(axis, i)| i * of[axis]).sum())
    });
    Ok(Array {
        dims: indices.array.dims.clone(),
        values: places.into_iter().collect::<Result<_>>()?,
    })
}

fn gather_elements(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let places = element_places(call, value.dims())?;
    Ok(vec![value.gathered(&places)?])
}

/// The places that the tuples along the last axis of the indices mean.
fn nd_places_of(indices: &Integers, dims: &[usize], batch: usize) -> Result<Array<usize>> {
    let of_indices = &indices.array.dims;
    let (&depth, outer) = of_indices
        .split_last()
        .ok_or_else(|| Error::engine("indices without axes"))?;
    if batch + depth > dims.len() || batch > outer.len() {
        return Err(Error::engine("indices have more axes than the data"));
    }
    let of = strides(dims);
    let inner = &dims[batch + depth..];
    let length = volume(inner)?;
    let tuples = indices.array.values.chunks(depth.max(1));
    let of_batch: usize = outer[batch..].iter().product();
    let mut values = Vec::new();
    for (number, tuple) in tuples.enumerate() {
        let mut start = 0;
        if batch > 0 {
            let size: usize = dims[batch..].iter().product();
            start += number / of_batch.max(1) * size;
        }
        for (along, &given) in tuple.iter().enumerate() {
            start += index(given, dims[batch + along])? * of[batch + along];
        }
        values.extend(start..start + length);
    }
    Ok(Array {
        dims: [outer, inner].concat(),
        values,
    })
}

fn gather_nd(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let batch = length(call.int("batch_dims", 0)?)?;
    let places = nd_places_of(&*call.integers(1)?, value.dims(), batch)?;
    Ok(vec![value.gathered(&places)?])
}

fn nd_places(call: &Call<'_>, dims: &[usize]) -> Result<Array<usize>> {
    nd_places_of(&*call.integers(1)?, dims, 0)
}

fn scatter(
    call: &Call<'_>,
    places: fn(&Call<'_>, &[usize]) -> Result<Array<usize>>,
) -> Result<Vec<Value>> {
    let (value, updates) = (call.value(0)?, call.value(2)?);
    let places = places(call, value.dims())?;
    if places.dims != updates.dims() {
        return Err(Error::engine("indices and updates do not fit"));
    }
    let reduction = call.word("reduction", "none");
    fn put<T: Copy>(
        values: &mut [T],
        places: &[usize],
        updates: &[T],
        of: impl Fn(T, T) -> T,
    ) -> Result<()> {
        for (&at, &update) in places.iter().zip(updates) {
            let place = values.get_mut(at);
            let place = place.ok_or_else(|| Error::engine("an index is beyond the end"))?;
            *place = of(*place, update);
        }
        Ok(())
    }
    if let (Value::Whole(data), Value::Whole(updates)) = (value, updates) {
        let mut array = data.array.clone();
        let kind = data.kind;
        let of = |a: i64, b: i64| {
            let (wide, other) = (i128::from(a), i128::from(b));
            match &reduction[..] {
                "add" => kind.wrapped(wide + other),
                "mul" => kind.wrapped(wide * other),
                "max" => a.max(b),
                "min" => a.min(b),
                _ => b,
            }
        };
        put(&mut array.values, &places.values, &updates.array.values, of)?;
        return Ok(vec![Value::whole(array, kind)]);
    }
    let (data, updates) = (value.reals()?, updates.reals()?);
    let mut array = data.array.clone();
    let of = |a: f64, b: f64| match &reduction[..] {
        "add" => data.kind.rounded(a + b),
        "mul" => data.kind.rounded(a * b),
        "max" => a.max(b),
        "min" => a.min(b),
        _ => b,
    };
    put(&mut array.values, &places.values, &updates.array.values, of)?;
    Ok(vec![Value::real(array, data.kind)])
}
