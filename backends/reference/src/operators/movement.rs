//! What moves values and changes none.

use std::sync::Arc;

use firstpass_probe::{Error, Result};

use crate::{
    array::{Array, Places, broadcast_dims, iota, strides, volume},
    operators::{Call, Table, axes, axis, length},
    value::{Dequantized, Integers, Layout, Reals, Value},
};

pub const TABLE: Table = &[
    ("Concat", concat),
    ("DepthToSpace", depth_to_space),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("Identity", |call| Ok(vec![call.value(0)?.clone()])),
    ("Dropout", dropout),
    ("Pad", pad),
    ("Reshape", reshape),
    ("ReverseSequence", reverse_sequence),
    ("Scatter", |call| scatter(call, element_places)),
    ("ScatterElements", |call| scatter(call, element_places)),
    ("ScatterND", |call| scatter(call, nd_places)),
    ("Slice", slice),
    ("SpaceToDepth", space_to_depth),
    ("Split", split),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Trilu", trilu),
    ("Unsqueeze", unsqueeze),
];

/// The same values in the same order, in another shape.
fn shaped(value: &Value, dims: Vec<usize>) -> Result<Vec<Value>> {
    let moved = value.moved(|places| {
        if volume(&dims)? == places.values.len() {
            Ok(Array { dims, ..places })
        } else {
            Err(Error::engine(format!(
                "{:?} is no shape of {dims:?}",
                places.dims
            )))
        }
    });
    Ok(vec![moved?])
}

fn reshape(call: &Call<'_>) -> Result<Vec<Value>> {
    let wanted = call.list_or_attribute(1, "shape")?;
    let wanted = wanted.ok_or_else(|| Error::engine("it has no shape"))?;
    let allow_zero = call.is_set("allowzero")?;
    let moved = call
        .value(0)?
        .moved(|places| places.reshaped(&wanted, allow_zero));
    Ok(vec![moved?])
}

/// Of every sequence the first values along the time in the other order, as many as it is long.
fn reverse_sequence(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let dims = value.dims();
    let time = axis(call.int("time_axis", 0)?, dims.len())?;
    let batch = axis(call.int("batch_axis", 1)?, dims.len())?;
    let lengths = call.list(1)?.into_iter().map(length);
    let lengths: Vec<usize> = lengths.collect::<Result<_>>()?;
    if lengths.len() != dims[batch] || lengths.iter().any(|&length| length > dims[time]) {
        return Err(Error::engine(format!(
            "sequences of the lengths {lengths:?} in {dims:?}"
        )));
    }
    let moved = value.moved(|places| {
        let steps = strides(&places.dims);
        let values = Places::new(&places.dims)?.map(|index| {
            let length = lengths[index[batch]];
            let along = index.iter().zip(&steps).enumerate();
            let along = along.map(|(axis, (&at, step))| {
                let is_turned = axis == time && at < length;
                step * if is_turned { length - 1 - at } else { at }
            });
            places.values[along.sum::<usize>()]
        });
        Ok(Array {
            values,
            dims: places.dims,
        })
    });
    Ok(vec![moved?])
}

fn flatten(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let dims = value.dims();
    let given = call.int("axis", 1)?;
    let at = if given == dims.len() as i64 {
        dims.len()
    } else {
        axis(given, dims.len())?
    };
    let rows = volume(&dims[..at])?;
    let columns = volume(&dims[at..])?;
    shaped(value, vec![rows, columns])
}

fn squeeze(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let dims = value.dims();
    let squeezed: Vec<usize> = match call.list_or_attribute(1, "axes")? {
        Some(given) => axes(&given, dims.len())?,
        None => (0..dims.len()).filter(|&axis| dims[axis] == 1).collect(),
    };
    let kept = (0..dims.len()).filter(|axis| !squeezed.contains(axis));
    let kept = kept.map(|axis| dims[axis]).collect();
    shaped(value, kept)
}

fn unsqueeze(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let given = call.list_or_attribute(1, "axes")?;
    let given = given.ok_or_else(|| Error::engine("it has no axes"))?;
    let rank = value.dims().len() + given.len();
    let new = axes(&given, rank)?;
    let mut old = value.dims().iter();
    let dims = (0..rank).map(|axis| {
        if new.contains(&axis) {
            Some(1)
        } else {
            old.next().copied()
        }
    });
    let dims: Option<Vec<usize>> = dims.collect();
    let dims = dims.ok_or_else(|| Error::engine(format!("axes {given:?} are named twice")))?;
    shaped(value, dims)
}

fn transpose(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let rank = value.dims().len();
    let order: Vec<usize> = match call.node.ints("perm") {
        None => (0..rank).rev().collect(),
        Some(given) => axes(given, rank)?,
    };
    Ok(vec![value.moved(|places| places.transposed(&order))?])
}

fn expand(call: &Call<'_>) -> Result<Vec<Value>> {
    let wanted = call.list(1)?;
    let wanted: Vec<usize> = wanted.into_iter().map(length).collect::<Result<_>>()?;
    let value = call.value(0)?;
    let dims = broadcast_dims(value.dims(), &wanted)?;
    Ok(vec![value.moved(|places| places.broadcast(&dims))?])
}

fn tile(call: &Call<'_>) -> Result<Vec<Value>> {
    let times = call.list(1)?;
    let times: Vec<usize> = times.into_iter().map(length).collect::<Result<_>>()?;
    let value = call.value(0)?;
    if times.len() != value.dims().len() {
        return Err(Error::engine(format!(
            "{times:?} repeats of {:?}",
            value.dims()
        )));
    }
    let moved = value.moved(|places| {
        let dims: Vec<usize> = places.dims.iter().zip(&times).map(|(d, t)| d * t).collect();
        let of = strides(&places.dims);
        let values = Places::new(&dims)?.map(|index| {
            let along = index.iter().zip(&places.dims).zip(&of);
            along.map(|((i, dim), stride)| i % dim * stride).sum()
        });
        Ok(Array { dims, values })
    });
    Ok(vec![moved?])
}

fn slice(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let rank = value.dims().len();
    let needed = |position: usize, name: &str| -> Result<Vec<i64>> {
        let given = call.list_or_attribute(position, name)?;
        given.ok_or_else(|| Error::engine(format!("it has no {name}")))
    };
    let (starts, ends) = (needed(1, "starts")?, needed(2, "ends")?);
    let along = match call.list_or_attribute(3, "axes")? {
        Some(given) => axes(&given, rank)?,
        None => (0..starts.len()).collect(),
    };
    let steps = call.list_or_attribute(4, "steps")?;
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), along.len(), steps.len()] != [starts.len(); 3]
        || steps.contains(&0)
        || along.iter().any(|&axis| axis >= rank)
    {
        return Err(Error::engine("starts, ends, axes and steps do not fit"));
    }
    let mut taken: Vec<Vec<usize>> = value.dims().iter().map(|&dim| (0..dim).collect()).collect();
    for (number, &axis) in along.iter().enumerate() {
        let dim = value.dims()[axis] as i64;
        let from_end = |at: i64| if at < 0 { at.saturating_add(dim) } else { at };
        let (start, end) = (from_end(starts[number]), from_end(ends[number]));
        let step = steps[number];
        let mut at = start.clamp(0, if step > 0 { dim } else { dim - 1 });
        let end = end.clamp(if step > 0 { 0 } else { -1 }, dim);
        let mut places = Vec::new();
        while if step > 0 {
            at < end
        } else {
            at > end && at >= 0
        } {
            places.push(at as usize);
            at = at.saturating_add(step);
        }
        taken[axis] = places;
    }
    Ok(vec![value.moved(|places| places.taken(&taken))?])
}

impl Array<usize> {
    /// Along each axis the indices that are named.
    pub fn taken(&self, indices: &[Vec<usize>]) -> Result<Self> {
        let dims: Vec<usize> = indices.iter().map(Vec::len).collect();
        let of = strides(&self.dims);
        let values = Places::new(&dims)?.map(|index| {
            let along = index.iter().zip(indices).zip(&of);
            let at: usize = along.map(|((&i, taken), stride)| taken[i] * stride).sum();
            self.values[at]
        });
        Ok(Self { dims, values })
    }
}

fn split(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let dims = value.dims();
    let at = axis(call.int("axis", 0)?, dims.len())?;
    let parts: Vec<usize> = match call.list_or_attribute(1, "split")? {
        Some(given) => given.into_iter().map(length).collect::<Result<_>>()?,
        None => {
            let count = length(call.int("num_outputs", call.node.output.len() as i64)?)?.max(1);
            let size = dims[at].div_ceil(count);
            // The last may be smaller.
            let part = |number: usize| size.min(dims[at].saturating_sub(number * size));
            (0..count).map(part).collect()
        }
    };
    if parts.iter().sum::<usize>() != dims[at] {
        return Err(Error::engine(format!("{dims:?} is split into {parts:?}")));
    }
    let mut start = 0;
    let mut outputs = Vec::new();
    for part in parts {
        let mut taken: Vec<Vec<usize>> = dims.iter().map(|&dim| (0..dim).collect()).collect();
        taken[at] = (start..start + part).collect();
        outputs.push(value.moved(|places| places.taken(&taken))?);
        start += part;
    }
    Ok(outputs)
}

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

fn concat(call: &Call<'_>) -> Result<Vec<Value>> {
    let parts: Vec<&Value> = (0..call.inputs.len())
        .map(|position| call.value(position))
        .collect::<Result<_>>()?;
    let rank = parts.first().map_or(0, |part| part.dims().len());
    let given = call.node.int("axis")?;
    let given = given.ok_or_else(|| Error::engine("it has no axis"))?;
    Ok(vec![concatenated(&parts, axis(given, rank)?)?])
}

/// Several values one after the other along an axis.
pub fn concatenated(parts: &[&Value], axis: usize) -> Result<Value> {
    if let Some(same) = of_one_quantization(parts) {
        let arrays: Vec<_> = same.iter().map(|part| &part.integers.array).collect();
        let integers = Integers {
            array: Array::concatenated(&arrays, axis)?,
            kind: same[0].integers.kind,
        };
        return Ok(Value::Dequantized(Arc::new(Dequantized {
            integers: Arc::new(integers),
            ..(**same[0]).clone()
        })));
    }
    if let Some(Value::Whole(first)) = parts.first() {
        let whole = parts.iter().map(|part| match part {
            Value::Whole(integers) if integers.kind == first.kind => Ok(&integers.array),
            _ => Err(Error::engine("parts are of several types")),
        });
        let arrays: Vec<&Array<i64>> = whole.collect::<Result<_>>()?;
        return Ok(Value::whole(
            Array::concatenated(&arrays, axis)?,
            first.kind,
        ));
    }
    let reals: Vec<Arc<Reals>> = parts.iter().map(|p| p.reals()).collect::<Result<_>>()?;
    let arrays: Vec<&Array<f64>> = reals.iter().map(|part| &part.array).collect();
    let kind = reals.first().map(|part| part.kind);
    let kind = kind.ok_or_else(|| Error::engine("nothing is concatenated"))?;
    Ok(Value::real(Array::concatenated(&arrays, axis)?, kind))
}

/// Where all are quantized alike, by one scale.
fn of_one_quantization<'a>(parts: &[&'a Value]) -> Option<Vec<&'a Arc<Dequantized>>> {
    let all = parts.iter().map(|part| match part {
        Value::Dequantized(part) if part.layout == Layout::One => Some(part),
        _ => None,
    });
    let all: Vec<_> = all.collect::<Option<_>>()?;
    let first = all.first()?;
    let same = |part: &&Arc<Dequantized>| {
        part.scales == first.scales
            && part.zeros == first.zeros
            && part.integers.kind == first.integers.kind
            && part.kind == first.kind
    };
    all.iter().all(same).then(|| all.clone())
}

fn pad(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let dims = value.dims();
    let pads = call.list_or_attribute(1, "pads")?;
    let pads = pads.ok_or_else(|| Error::engine("it has no pads"))?;
    let along = match call.optional(3) {
        Some(_) => axes(&call.list(3)?, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    if pads.len() != 2 * along.len() {
        return Err(Error::engine(format!("pads {pads:?} of {dims:?}")));
    }
    let mode = call.word("mode", "constant");
    let mut taken: Vec<Vec<Option<usize>>> = dims
        .iter()
        .map(|&dim| (0..dim).map(Some).collect())
        .collect();
    for (number, &axis) in along.iter().enumerate() {
        let (before, after) = (pads[number], pads[along.len() + number]);
        let dim = dims[axis] as i64;
        let source = |at: i64| -> Option<usize> {
            let inside = (0..dim).contains(&at);
            let source = match &mode[..] {
                _ if inside => at,
                "edge" => at.clamp(0, dim - 1),
                "wrap" => at.rem_euclid(dim.max(1)),
                "reflect" => {
                    // 0, 1, …, dim − 1, dim − 2, …, 1, and again from 0.
                    let period = (2 * (dim - 1)).max(1);
                    let at = at.rem_euclid(period);
                    at.min(period - at)
                }
                _ => return None,
            };
            usize::try_from(source).ok().filter(|&at| at < dims[axis])
        };
        taken[axis] = (-before..dim + after).map(source).collect();
    }
    if !["constant", "edge", "wrap", "reflect"].contains(&&mode[..]) {
        return Err(Error::unsupported(format!("it pads by {mode:?}")));
    }
    let new: Vec<usize> = taken.iter().map(Vec::len).collect();
    let of = strides(dims);
    let sources = Places::new(&new)?.map(|index| {
        let along = index.iter().zip(&taken).zip(&of);
        let along = along.map(|((&i, taken), stride)| Some(taken[i]? * stride));
        along.sum::<Option<usize>>()
    });
    let with = |_| -> Result<f64> {
        match call.optional(2) {
            Some(_) => call.number(2),
            None => Ok(call.float("value", 0.0)),
        }
    };
    let fill = with(())?;
    Ok(vec![match value {
        Value::Whole(integers) => {
            let all = &integers.array.values;
            let values = sources
                .iter()
                .map(|at| at.map_or(fill as i64, |at| all[at]));
            let values = values.collect();
            Value::whole(Array { dims: new, values }, integers.kind)
        }
        other => {
            let reals = other.reals()?;
            let all = &reals.array.values;
            let values = sources.iter().map(|at| at.map_or(fill, |at| all[at]));
            let values = values.collect();
            Value::real(Array { dims: new, values }, reals.kind)
        }
    }])
}

fn image(value: &Value) -> Result<[usize; 4]> {
    let dims = value.dims();
    <[usize; 4]>::try_from(dims)
        .map_err(|_| Error::engine(format!("{dims:?} are no dimensions of images")))
}

fn block(call: &Call<'_>) -> Result<usize> {
    let size = length(call.int("blocksize", 0)?)?;
    if size == 0 {
        return Err(Error::engine("its blocksize is 0"));
    }
    Ok(size)
}

fn depth_to_space(call: &Call<'_>) -> Result<Vec<Value>> {
    let (value, size) = (call.value(0)?, block(call)?);
    let [n, c, h, w] = image(value)?;
    let depth = c / (size * size);
    let (apart, order) = if call.word("mode", "dcr") == "crd" {
        ([n, depth, size, size, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        ([n, size, size, depth, h, w], [0, 3, 4, 1, 5, 2])
    };
    let apart = apart.map(|dim| dim as i64);
    let moved = value.moved(|places| {
        let moved = places.reshaped(&apart, true)?.transposed(&order)?;
        moved.reshaped(&[n, depth, h * size, w * size].map(|dim| dim as i64), true)
    });
    Ok(vec![moved?])
}

fn space_to_depth(call: &Call<'_>) -> Result<Vec<Value>> {
    let (value, size) = (call.value(0)?, block(call)?);
    let [n, c, h, w] = image(value)?;
    let apart = [n, c, h / size, size, w / size, size].map(|dim| dim as i64);
    let order = if call.word("mode", "dcr") == "crd" {
        [0, 1, 3, 5, 2, 4]
    } else {
        [0, 3, 5, 1, 2, 4]
    };
    let moved = value.moved(|places| {
        let moved = places.reshaped(&apart, true)?.transposed(&order)?;
        moved.reshaped(
            &[n, c * size * size, h / size, w / size].map(|dim| dim as i64),
            true,
        )
    });
    Ok(vec![moved?])
}

fn trilu(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    let diagonal = match call.optional(1) {
        Some(_) => call.number(1)? as i64,
        None => 0,
    };
    let upper = call.int("upper", 1)? != 0;
    let rank = value.dims().len();
    if rank < 2 {
        return Err(Error::engine("it takes matrices"));
    }
    let kept = Places::new(value.dims())?.map(|index| {
        let off = index[rank - 1] as i64 - index[rank - 2] as i64;
        if upper {
            off >= diagonal
        } else {
            off <= diagonal
        }
    });
    Ok(vec![match value {
        Value::Whole(integers) => {
            let mut array = integers.array.clone();
            let all = array.values.iter_mut().zip(&kept);
            all.filter(|(_, kept)| !**kept).for_each(|(v, _)| *v = 0);
            Value::whole(array, integers.kind)
        }
        other => {
            let reals = other.reals()?;
            let mut array = reals.array.clone();
            let all = array.values.iter_mut().zip(&kept);
            all.filter(|(_, kept)| !**kept).for_each(|(v, _)| *v = 0.0);
            Value::real(array, reals.kind)
        }
    }])
}

fn dropout(call: &Call<'_>) -> Result<Vec<Value>> {
    if call.optional(2).is_some() && call.number(2)? != 0.0 {
        return Err(Error::unsupported("it trains"));
    }
    let value = call.value(0)?.clone();
    let all = iota(value.dims())?.map(|_| true);
    Ok(vec![value, Value::truths(all)])
}
