//! Resize and Upsample: interpolation along one axis after the other, in f64.

use firstpass_probe::{Error, Result};

use crate::{
    array::Array,
    operators::{Call, Table, axes, length},
    value::Value,
};

pub const TABLE: Table = &[("Resize", resize), ("Upsample", resize)];

/// How one axis changes.
struct Axis {
    from: usize,
    to: usize,
    scale: f64,
    /// The part of the axis that is read, for `tf_crop_and_resize`.
    region: [f64; 2],
}

/// The values that a new one is made of, with their weights; `None` beyond the region.
type Taps = Option<Vec<(usize, f64)>>;

/// How coordinates and values are found.
struct Method {
    coordinates: String,
    mode: String,
    nearest: String,
    cubic: f64,
    excludes_outside: bool,
    antialias: bool,
}

fn resize(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0)?;
    // Operator set 10 and Upsample know neither other coordinates nor other roundings.
    let is_old = call.context.opset < 11;
    let (coordinates, nearest) = if is_old {
        ("asymmetric", "floor")
    } else {
        ("half_pixel", "round_prefer_floor")
    };
    let method = Method {
        coordinates: call.word("coordinate_transformation_mode", coordinates),
        mode: call.word("mode", "nearest"),
        nearest: call.word("nearest_mode", nearest),
        cubic: call.float("cubic_coeff_a", -0.75),
        excludes_outside: call.is_set("exclude_outside")?,
        antialias: call.is_set("antialias")?,
    };
    let all = changes(call, value.dims(), is_old)?;
    let taps: Vec<Vec<Taps>> = all
        .iter()
        .map(|axis| method.taps(axis))
        .collect::<Result<_>>()?;
    let is_moved = method.mode == "nearest" && taps.iter().flatten().all(Option::is_some);
    if is_moved {
        let place = |taps: &Taps| taps.as_ref().and_then(|taps| taps.first()).map(|tap| tap.0);
        let taken = taps
            .iter()
            .map(|axis| axis.iter().filter_map(place).collect());
        let taken: Vec<Vec<usize>> = taken.collect();
        return Ok(vec![value.moved(|places| places.taken(&taken))?]);
    }
    let beyond = call.float("extrapolation_value", 0.0);
    let numbers = match value {
        Value::Whole(integers) => integers.array.map(|v| v as f64),
        other => other.reals()?.array.clone(),
    };
    let mut array = numbers;
    for (axis, taps) in taps.iter().enumerate() {
        let is_same = all[axis].from == all[axis].to && all[axis].scale == 1.0;
        if !is_same || taps.iter().any(Option::is_none) {
            array = along(&array, axis, taps, beyond);
        }
    }
    Ok(vec![match value {
        // Beyond the type's ends they stay at the ends.
        Value::Whole(integers) => {
            let (low, high) = integers.kind.limits();
            let kept = |v: f64| (v.trunc() as i64).clamp(low, high);
            Value::whole(array.map(kept), integers.kind)
        }
        other => Value::real(array, other.kind()),
    }])
}

fn along(array: &Array<f64>, axis: usize, taps: &[Taps], beyond: f64) -> Array<f64> {
    let (length, inner) = (
        array.dims[axis],
        array.dims[axis + 1..].iter().product::<usize>(),
    );
    let outer: usize = array.dims[..axis].iter().product();
    let mut dims = array.dims.clone();
    dims[axis] = taps.len();
    let mut values = Vec::new();
    for outer in 0..outer {
        for taps in taps {
            for at in 0..inner {
                let value = |from: usize| array.values[(outer * length + from) * inner + at];
                values.push(match taps {
                    None => beyond,
                    Some(taps) => taps
                        .iter()
                        .map(|&(from, weight)| weight * value(from))
                        .sum(),
                });
            }
        }
    }
    Array { dims, values }
}

/// How each axis changes.
fn changes(call: &Call<'_>, dims: &[usize], is_old: bool) -> Result<Vec<Axis>> {
    let rank = dims.len();
    let named = match call.node.ints("axes") {
        Some(given) => axes(given, rank)?,
        None => (0..rank).collect(),
    };
    let mut all: Vec<Axis> = dims
        .iter()
        .map(|&dim| Axis {
            from: dim,
            to: dim,
            scale: 1.0,
            region: [0.0, 1.0],
        })
        .collect();
    let misfit = |count: usize| Error::engine(format!("{count} numbers for {} axes", named.len()));
    let place = if is_old { 1 } else { 2 };
    let scales: Option<Vec<f64>> = match call.optional(place) {
        Some(_) => Some(call.reals(place)?.array.values.clone()).filter(|all| !all.is_empty()),
        None => {
            let given = call.node.floats("scales").filter(|_| is_old);
            given.map(|all| all.iter().map(|&v| v.into()).collect())
        }
    };
    if let Some(scales) = scales {
        if scales.len() != named.len() {
            return Err(misfit(scales.len()));
        }
        for (&axis, &scale) in named.iter().zip(&scales) {
            let to = (dims[axis] as f64 * scale).floor();
            if !(scale > 0.0 && to < 1e9) {
                return Err(Error::engine(format!("it resizes by {scale}")));
            }
            (all[axis].to, all[axis].scale) = (to as usize, scale);
        }
    } else {
        let sizes = call.list(3)?;
        if sizes.len() != named.len() {
            return Err(misfit(sizes.len()));
        }
        let ratio = |(&axis, &size): (&usize, &i64)| size as f64 / dims[axis] as f64;
        let ratios = named.iter().zip(&sizes).map(ratio);
        let policy = call.word("keep_aspect_ratio_policy", "stretch");
        let common = match &policy[..] {
            "not_larger" => Some(ratios.fold(f64::INFINITY, f64::min)),
            "not_smaller" => Some(ratios.fold(0.0, f64::max)),
            _ => None,
        };
        for (&axis, &size) in named.iter().zip(&sizes) {
            let (from, change) = (dims[axis] as f64, &mut all[axis]);
            (change.to, change.scale) = match common {
                Some(scale) => ((scale * from + 0.5).floor() as usize, scale),
                None => (length(size)?, size as f64 / from),
            };
        }
    }
    if call.word("coordinate_transformation_mode", "") == "tf_crop_and_resize" {
        let region = call.reals(1)?;
        let region = &region.array.values;
        if region.len() != 2 * named.len() {
            return Err(misfit(region.len()));
        }
        for (number, &axis) in named.iter().enumerate() {
            all[axis].region = [region[number], region[named.len() + number]];
        }
    }
    Ok(all)
}

impl Method {
    /// For each new place of an axis, where it lies among the old ones.
    fn source(&self, axis: &Axis, to: f64) -> Result<Option<f64>> {
        let (from, scale) = (axis.from as f64, axis.scale);
        let width = scale * from;
        let half_pixel = (to + 0.5) / scale - 0.5;
        Ok(Some(match &self.coordinates[..] {
            "half_pixel" => half_pixel,
            "half_pixel_symmetric" => {
                let adjustment = axis.to as f64 / width;
                from / 2.0 * (1.0 - adjustment) + half_pixel
            }
            "pytorch_half_pixel" if width == 1.0 => -0.5,
            "pytorch_half_pixel" => half_pixel,
            "align_corners" if width == 1.0 => 0.0,
            "align_corners" => to * (from - 1.0) / (width - 1.0),
            "asymmetric" => to / scale,
            "tf_crop_and_resize" => {
                let [start, end] = axis.region;
                let at = if width == 1.0 {
                    (end - start) * (from - 1.0) / 2.0
                } else {
                    to * (end - start) * (from - 1.0) / (width - 1.0)
                };
                let at = at + start * (from - 1.0);
                if !(0.0..=from - 1.0).contains(&at) {
                    return Ok(None);
                }
                at
            }
            other => return Err(Error::unsupported(format!("coordinates by {other:?}"))),
        }))
    }

    fn taps(&self, axis: &Axis) -> Result<Vec<Taps>> {
        let is_same = axis.from == axis.to && axis.scale == 1.0 && axis.region == [0.0, 1.0];
        let of = |to: usize| -> Result<Taps> {
            if is_same {
                return Ok(Some(vec![(to, 1.0)]));
            }
            let Some(at) = self.source(axis, to as f64)? else {
                return Ok(None);
            };
            let last = axis.from as i64 - 1;
            let inside = |place: i64| place.clamp(0, last.max(0)) as usize;
            if self.mode == "nearest" {
                let place = match &self.nearest[..] {
                    "round_prefer_floor" => (at - 0.5).ceil(),
                    "round_prefer_ceil" => (at + 0.5).floor(),
                    "floor" => at.floor(),
                    "ceil" => at.ceil(),
                    other => return Err(Error::unsupported(format!("rounding by {other:?}"))),
                };
                return Ok(Some(vec![(inside(place as i64), 1.0)]));
            }
            // How far a value reaches: further where the axis becomes shorter and nothing is to be lost.
            let shrink = if self.antialias {
                axis.scale.min(1.0)
            } else {
                1.0
            };
            let (radius, weight): (f64, &dyn Fn(f64) -> f64) = match &self.mode[..] {
                "linear" | "bilinear" => (1.0, &|x: f64| (1.0 - x.abs()).max(0.0)),
                "cubic" | "bicubic" => (2.0, &|x: f64| cubic(self.cubic, x.abs())),
                other => return Err(Error::unsupported(format!("it resizes by {other:?}"))),
            };
            let first = (at - radius / shrink).floor() as i64;
            let end = (at + radius / shrink).ceil() as i64;
            let mut taps = Vec::new();
            let mut total = 0.0;
            for place in first..=end {
                let weight = weight((place as f64 - at) * shrink);
                let is_outside = !(0..=last).contains(&place);
                if weight == 0.0 || (is_outside && self.excludes_outside) {
                    continue;
                }
                total += weight;
                taps.push((inside(place), weight));
            }
            let is_normalized = self.antialias || self.excludes_outside;
            if is_normalized {
                taps.iter_mut().for_each(|tap| tap.1 /= total);
            }
            Ok(Some(taps))
        };
        (0..axis.to).map(of).collect()
    }
}

/// R. Keys, *Cubic convolution interpolation for digital image processing*, 1981.
fn cubic(a: f64, x: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}
