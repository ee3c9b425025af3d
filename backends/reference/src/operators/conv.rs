//! Convolutions: of integers and, where they are not quantized, of floats.

use std::sync::Arc;

use firstpass_probe::{Error, Result};

use crate::{
    array::{Array, strides, volume},
    convolution::{Factor, MAX_PRODUCTS, Span, Window},
    kind::Kind,
    operators::{
        Call, Table,
        geometry::{Axis, each, positions, windows},
        length,
        matmul::{centred, is_product, sums},
    },
    requantize::{Bias, Bounds, Channel},
    rules::Sums,
    value::{Dequantized, Exact, Layout, Pending, Value},
};

pub const TABLE: Table = &[
    ("Conv", conv),
    ("ConvInteger", conv_integer),
    ("ConvTranspose", transpose),
];

/// Windows over an input, with weights of each output channel.
struct Geometry {
    axes: Vec<Axis>,
    groups: usize,
}

impl Geometry {
    fn new(call: &Call<'_>, input: &[usize], weights: &[usize]) -> Result<Self> {
        let (Some(sizes), Some(kernel)) = (input.get(2..), weights.get(2..)) else {
            return Err(Error::engine(format!(
                "{input:?} and {weights:?} are no images and weights"
            )));
        };
        let groups = length(call.int("group", 1)?)?;
        let (channels, group_inputs) = (weights[0], weights[1]);
        if groups == 0
            || sizes.len() != kernel.len()
            || input[1] != group_inputs * groups
            || !channels.is_multiple_of(groups)
        {
            return Err(Error::engine(format!(
                "weights {weights:?} in {groups} groups do not fit an input {input:?}"
            )));
        }
        Ok(Self {
            axes: windows(call, sizes, kernel)?,
            groups,
        })
    }

    /// As windows of rows and columns; `None` of more axes.
    fn window(&self) -> Option<Window> {
        let span = |axis: &Axis| Span {
            stride: axis.stride,
            dilation: axis.dilation,
            padding: axis.padding,
        };
        let alone = Span {
            stride: 1,
            dilation: 1,
            padding: [0, 0],
        };
        let (vertical, horizontal) = match &self.axes[..] {
            [columns] => (alone, span(columns)),
            [rows, columns] => (span(rows), span(columns)),
            _ => return None,
        };
        Some(Window {
            vertical,
            horizontal,
            groups: self.groups,
        })
    }

    fn dims(&self, input: &[usize], weights: &[usize]) -> Vec<usize> {
        let positions = self.axes.iter().map(|axis| axis.positions);
        [input[0], weights[0]]
            .into_iter()
            .chain(positions)
            .collect()
    }

    /// Exact where the numbers are integers.
    fn sums<T: Factor>(
        &self,
        input: &Array<T>,
        weights: &Array<T>,
        threads: usize,
    ) -> Result<Array<T::Sum>> {
        let dims = self.dims(&input.dims, &weights.dims);
        if let Some(window) = self.window() {
            let values = window.sums(&image(input), &image(weights), threads)?.values;
            return Ok(Array { dims, values });
        }
        volume(&dims)?;
        let plane: usize = input.dims[2..].iter().product();
        let (channels, inputs) = (weights.dims[0], weights.dims[1]);
        let taps: usize = weights.dims[2..].iter().product();
        let mut values = Vec::new();
        for image in 0..dims[0] {
            for channel in 0..channels {
                let group = channel / (channels / self.groups);
                let first = (image * input.dims[1] + group * inputs) * plane;
                values.extend(positions(&self.axes, |read| {
                    let mut sum = T::Sum::default();
                    for number in 0..inputs {
                        let weights = &weights.values[(channel * inputs + number) * taps..];
                        let values = &input.values[first + number * plane..];
                        for &(tap, place) in read {
                            sum += values[place].times(weights[tap]);
                        }
                    }
                    sum
                })?);
            }
        }
        Ok(Array { dims, values })
    }
}

/// A signal along one axis as an image of one row.
fn image<T: Copy>(array: &Array<T>) -> Array<T> {
    let mut dims = array.dims.clone();
    if dims.len() == 3 {
        dims.insert(2, 1);
    }
    Array {
        dims,
        values: array.values.clone(),
    }
}

/// Of dequantized values it is exact; of floats it is rounded once.
fn conv(call: &Call<'_>) -> Result<Vec<Value>> {
    let (activations, weights) = (call.value(0)?, call.value(1)?);
    if let (Value::Dequantized(a), Value::Dequantized(w)) = (activations, weights)
        && call.keeps_integers()
        && let Some(pending) = exact(call, a, w, call.optional(2))?
    {
        return Ok(vec![pending]);
    }
    let geometry = Geometry::new(call, activations.dims(), weights.dims())?;
    let (activations, weights) = (activations.reals()?, weights.reals()?);
    let channels = weights.array.dims[0];
    let bias = match call.optional(2) {
        None => vec![0.0; channels],
        Some(bias) => bias.reals()?.array.values.clone(),
    };
    check_bias(bias.len(), channels)?;
    let inner: usize = geometry.axes.iter().map(|axis| axis.positions).product();
    let found = sums(
        call.context.rules.end,
        [&activations.array, &weights.array],
        |a, w| geometry.sums(a, w, call.context.threads),
        |at| bias[at / inner % channels],
    )?;
    Ok(vec![Value::real(found, activations.kind)])
}

/// Exact sums of quantized values with their bias; `None` where scales and types are such that they have no
/// common step, or could leave 32 bits.
pub fn exact(
    call: &Call<'_>,
    activations: &Dequantized,
    weights: &Dequantized,
    bias: Option<&Value>,
) -> Result<Option<Value>> {
    let weight_dims = &weights.integers.array.dims;
    let geometry = Geometry::new(call, &activations.integers.array.dims, weight_dims)?;
    let (channels, products) = (weight_dims[0], weight_dims[1..].iter().product::<usize>());
    let of_channels = match weights.layout {
        Layout::One => true,
        Layout::Axis { count, inner } => count == channels && inner == products,
        Layout::Blocks { .. } => false,
    };
    let (Some(quantization), Some(input), Some(centred)) = (
        activations.quantization(),
        activations.centred(),
        weights.centred(),
    ) else {
        return Ok(None);
    };
    if !of_channels || products > MAX_PRODUCTS {
        return Ok(None);
    }
    let bias = |channel: usize| -> Result<Option<Bias>> {
        Ok(match bias {
            None => Some(Bias::Float(0.0)),
            Some(Value::Real(bias)) => {
                check_bias(bias.array.values.len(), channels)?;
                Some(Bias::Float(bias.array.values[channel] as f32))
            }
            Some(Value::Dequantized(bias)) => {
                let values = &bias.integers.array.values;
                check_bias(values.len(), channels)?;
                let steps = i32::try_from(values[channel]).ok();
                let expected = quantization.scale * weights.scale(channel);
                let has_steps = bias.zeros.iter().all(|&zero| zero == 0)
                    && is_product(bias.scale(channel), expected);
                steps.filter(|_| has_steps).map(Bias::Int)
            }
            Some(_) => None,
        })
    };
    let mut all = Vec::with_capacity(channels);
    for channel in 0..channels {
        let Some(bias) = bias(channel)? else {
            return Ok(None);
        };
        all.push(Channel {
            input: quantization.scale,
            weight: weights.scale(channel),
            scales: weights.scales.len(),
            bias,
        });
    }
    let is_depthwise = weight_dims[1] == 1 && geometry.groups == channels;
    let saturates = match call.context.rules.sums {
        Sums::Exact => false,
        Sums::DepthwisePairs => is_depthwise,
        Sums::Pairs => true,
    };
    let threads = call.context.threads;
    let sums = if saturates {
        let window = geometry.window().ok_or_else(|| {
            Error::unsupported("pairs of products are added along three axes or more")
        })?;
        let raw = activations.integers.array.map(|value| value as i16);
        let zero = quantization.zero as i16;
        let sums =
            window.sums_of_saturating_pairs(&image(&raw), zero, &image(&centred), threads)?;
        Array {
            dims: geometry.dims(&raw.dims, weight_dims),
            values: sums.values,
        }
    } else {
        geometry.sums(&input, &centred, threads)?
    };
    Ok(Some(Value::Pending(Arc::new(Pending {
        exact: Exact::Products {
            inner: sums.dims[2..].iter().product::<usize>().max(1),
            sums: Arc::new(sums),
            channels: Arc::new(all),
        },
        bounds: Bounds::NONE,
    }))))
}

fn check_bias(values: usize, channels: usize) -> Result<()> {
    if values == channels {
        Ok(())
    } else {
        Err(Error::engine(format!(
            "its bias has {values} values for {channels} channels"
        )))
    }
}

fn conv_integer(call: &Call<'_>) -> Result<Vec<Value>> {
    let input = centred(call, 0, 2, 1)?;
    let weights = centred(call, 1, 3, 0)?;
    let geometry = Geometry::new(call, &input.dims, &weights.dims)?;
    let sums = geometry.sums(&input, &weights, call.context.threads)?;
    let sums = sums.map(|sum| Kind::I32.wrapped(sum as i128));
    Ok(vec![Value::whole(sums, Kind::I32)])
}

fn transpose(call: &Call<'_>) -> Result<Vec<Value>> {
    let (input, weights) = (call.reals(0)?, call.reals(1)?);
    let (input_dims, weight_dims) = (&input.array.dims, &weights.array.dims);
    let (Some(sizes), Some(kernel)) = (input_dims.get(2..), weight_dims.get(2..)) else {
        return Err(Error::engine("it takes images and weights"));
    };
    let count = sizes.len();
    let groups = length(call.int("group", 1)?)?.max(1);
    let (inputs, group_outputs) = (weight_dims[0], weight_dims[1]);
    if kernel.len() != count || inputs != input_dims[1] || !inputs.is_multiple_of(groups) {
        return Err(Error::engine(format!(
            "weights {weight_dims:?} in {groups} groups do not fit an input {input_dims:?}"
        )));
    }
    let apart = each(call, "strides", count, 1)?;
    let dilations = each(call, "dilations", count, 1)?;
    let given = each(call, "pads", 2 * count, 0)?;
    let further = each(call, "output_padding", count, 0)?;
    let wanted = call.node.ints("output_shape");
    let auto = call.word("auto_pad", "notset");
    // The length along each axis, and the padding that is cut off in front.
    let mut lengths = Vec::new();
    let mut cut = Vec::new();
    for axis in 0..count {
        let reach = (kernel[axis].max(1) - 1) * dilations[axis] + 1;
        let full = sizes[axis].saturating_sub(1) * apart[axis] + reach + further[axis];
        let wanted = match wanted {
            Some(wanted) => Some(length(wanted[wanted.len().saturating_sub(count) + axis])?),
            None if auto.starts_with("same") => Some(sizes[axis] * apart[axis]),
            None => None,
        };
        let [before, after] = match wanted {
            Some(wanted) => {
                let total = full.saturating_sub(wanted);
                let (less, more) = (total / 2, total - total / 2);
                if auto == "same_upper" {
                    [less, more]
                } else {
                    [more, less]
                }
            }
            None if auto == "valid" => [0, 0],
            None => [given[axis], given[count + axis]],
        };
        let found = wanted.or(full.checked_sub(before + after));
        lengths.push(found.ok_or_else(|| Error::engine("more is cut off than there is"))?);
        cut.push(before);
    }
    let channels = group_outputs * groups;
    let dims: Vec<usize> = [input_dims[0], channels]
        .into_iter()
        .chain(lengths.iter().copied())
        .collect();
    let plane: usize = lengths.iter().product();
    let mut values = vec![0.0; volume(&dims)?];
    let bias = match call.optional(2) {
        None => vec![0.0; channels],
        Some(bias) => bias.reals()?.array.values.clone(),
    };
    check_bias(bias.len(), channels)?;
    let (to, taps) = (strides(&lengths), crate::array::Places::new(kernel)?);
    let taps: Vec<Vec<usize>> = taps.map(<[usize]>::to_vec);
    let places: Vec<Vec<usize>> = crate::array::Places::new(sizes)?.map(<[usize]>::to_vec);
    for image in 0..input_dims[0] {
        for from in 0..inputs {
            let group = from / (inputs / groups);
            for output in 0..group_outputs {
                let first = (image * channels + group * group_outputs + output) * plane;
                let weights = &weights.array.values[(from * group_outputs + output) * taps.len()..];
                let inputs = &input.array.values[(image * inputs + from) * places.len()..];
                for (place, &value) in places.iter().zip(inputs) {
                    for (tap, &weight) in taps.iter().zip(weights) {
                        let along = (0..count).map(|axis| {
                            let at = place[axis] * apart[axis] + tap[axis] * dilations[axis];
                            let at = at.checked_sub(cut[axis])?;
                            (at < lengths[axis]).then_some(at * to[axis])
                        });
                        if let Some(at) = along.sum::<Option<usize>>() {
                            values[first + at] += value * weight;
                        }
                    }
                }
            }
        }
    }
    for (at, value) in values.iter_mut().enumerate() {
        *value += bias[at / plane.max(1) % channels];
    }
    Ok(vec![Value::real(Array { dims, values }, input.kind)])
}

#[cfg(test)]
mod tests;
