//! ConvTranspose: every value spread by a window, along any number of axes. The products with the weights are
//! one product of matrices; then each is added where its tap leads.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::map,
    convolution::Weights,
    int_add::bias_clamp,
    operation::{Compiled, ConvKind, Inputs, Operation, Operator, buffer, expect_type, first},
    parallel::for_each_part,
    window_conv::MAX_AXES,
};
use crate::{
    geometry::{Geometry, Padding, Span, volume},
    graph::{Bounds, Node, flat},
    kernels::{Matrices, gemm},
};

/// The node.
#[derive(Debug)]
pub struct ConvTranspose {
    geometry: Geometry,
    groups: usize,
    kernel: Option<Vec<i64>>,
    /// By axis; empty: none.
    output_padding: Vec<usize>,
    /// The lengths of the output, where the file gives them and leaves the padding to be computed.
    output_shape: Option<Vec<usize>>,
}

impl ConvTranspose {
    /// # Errors
    /// Fails where attributes are not as they must be.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self {
            geometry: node.geometry()?,
            groups: node.groups()?,
            kernel: node.ints("kernel_shape").map(<[i64]>::to_vec),
            output_padding: node.list("output_padding")?,
            output_shape: match node.ints("output_shape") {
                None => None,
                Some(_) => Some(node.list("output_shape")?),
            },
        }))
    }

    /// What is cut off before the first value of an axis, and the length of the output.
    fn axis(&self, axis: usize, span: &Span, size: usize) -> Option<(usize, usize)> {
        let more = self.output_padding.get(axis).copied().unwrap_or(0);
        let spread = size.checked_sub(1)?.checked_mul(span.stride)?;
        let whole = spread.checked_add(span.reach()?)?.checked_add(more)?;
        let same = || size.checked_mul(span.stride);
        let length = match (&self.output_shape, &self.geometry.padding) {
            (Some(shape), _) => *shape.get(shape.len().checked_sub(self.axes(shape))? + axis)?,
            (None, Padding::SameUpper | Padding::SameLower) => same()?,
            (None, Padding::Explicit(_)) => {
                let length = whole.checked_sub(span.before)?.checked_sub(span.after)?;
                return Some((span.before, length));
            }
        };
        // Where the output is longer than what is spread, zeros are at its end.
        let cut = whole.saturating_sub(length);
        let before = match self.geometry.padding {
            Padding::SameUpper => cut / 2,
            _ => cut.div_ceil(2),
        };
        Some((before, length))
    }

    /// The number of axes of the window: some files write the whole shape of the output.
    fn axes(&self, shape: &[usize]) -> usize {
        self.kernel.as_ref().map_or(shape.len(), Vec::len)
    }
}

impl Operation for ConvTranspose {
    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn may_vary(&self, _: usize) -> bool {
        true
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        expect_type(inputs.get(0)?.dtype, DType::F32)?;
        let weights = inputs.constant(1)?;
        expect_type(weights.dtype(), DType::F32)?;
        let input = inputs.dims()?;
        // The first axis is of inputs, the second of outputs of a group.
        let shape = Weights::of(weights.dims(), self.groups)?;
        shape.check_kernel(self.kernel.as_deref())?;
        let ([number, channels, sizes @ ..], axes) = (input, shape.kernel.len()) else {
            return Err(Error::engine(format!("an input of shape {input:?}")));
        };
        if *channels != shape.channels || sizes.len() != axes {
            return Err(Error::engine(format!(
                "weights {:?} on an input of shape {input:?}",
                weights.dims()
            )));
        }
        let geometry = match (&self.geometry.padding, &self.output_shape) {
            (Padding::Explicit(_), None) => &self.geometry,
            _ => &Geometry {
                padding: Padding::Explicit(Vec::new()),
                ..self.geometry.clone()
            },
        };
        let mut spans = geometry.spans(&shape.kernel, sizes)?;
        let mut dims = vec![*number, shape.groups * shape.inputs];
        for (axis, (span, &size)) in spans.iter_mut().zip(sizes).enumerate() {
            let fitted = self
                .axis(axis, span, size)
                .filter(|&(_, length)| length > 0);
            let (before, length) = fitted.ok_or_else(|| {
                Error::unsupported(format!("{span:?} over {size} values leaves nothing"))
            })?;
            span.before = before;
            dims.push(length);
        }
        volume(&dims)?;
        volume(&[
            shape.inputs,
            shape.kernel.iter().product(),
            sizes.iter().product(),
        ])?;
        let bias = inputs.optional_floats(2)?;
        let bias = bias.unwrap_or_else(|| vec![0.0; dims[1]]);
        if bias.len() != dims[1] {
            return Err(Error::engine("its bias is of other channels"));
        }
        let operator = Spread {
            weights: taps_first(&flat(weights)?, &shape),
            spans,
            groups: shape.groups,
            bias,
            input: input.to_vec(),
            output: dims.clone(),
        };
        Ok(Compiled::written(operator, &dims, DType::F32))
    }
}

/// Weights `[group][input][output and tap]` with the last two exchanged.
fn taps_first(weights: &[f32], shape: &Weights) -> Vec<f32> {
    let inputs = shape.channels / shape.groups;
    let outputs = weights.len() / shape.channels;
    let groups = weights.chunks_exact(inputs * outputs);
    groups
        .flat_map(|group| {
            (0..outputs)
                .flat_map(move |output| (0..inputs).map(move |i| group[i * outputs + output]))
        })
        .collect()
}

struct Spread {
    /// `[group][output and tap][input]`.
    weights: Vec<f32>,
    spans: Vec<Span>,
    groups: usize,
    bias: Vec<f32>,
    input: Vec<usize>,
    output: Vec<usize>,
}

impl Operator for Spread {
    fn name(&self) -> &'static str {
        "conv-transpose"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        let [inputs_of, channels] = [self.input[1], self.output[1]].map(|all| all / self.groups);
        let [positions, plane] =
            [&self.input, &self.output].map(|dims| dims[2..].iter().product::<usize>());
        let taps: usize = self.spans.iter().map(|span| span.kernel).product();
        map(first(inputs)?, out, |input: &[f32], out: &mut [f32]| {
            let mut products = vec![0.0; channels * taps * positions];
            let groups = input.chunks_exact(inputs_of * positions);
            let groups = groups.zip(out.chunks_exact_mut(channels * plane));
            for (number, (input, out)) in groups.enumerate() {
                let length = channels * taps * inputs_of;
                let of = Matrices {
                    rows: channels * taps,
                    columns: positions,
                    products: inputs_of,
                    left: &self.weights[number % self.groups * length..][..length],
                    left_stride: inputs_of,
                    right: input,
                };
                gemm(&of, &mut products, positions);
                for_each_part(out, plane, |channel, out| {
                    out.fill(0.0);
                    let products = &products[channel * taps * positions..][..taps * positions];
                    for (tap, products) in products.chunks_exact(positions).enumerate() {
                        self.add(tap, products, out);
                    }
                });
            }
            bias_clamp(out, plane, &self.bias, Bounds::NONE);
            Ok(())
        })?;
        Ok(out.clone())
    }
}

impl Spread {
    /// Adds what a tap gives for every value to the plane of the output.
    fn add(&self, mut tap: usize, products: &[f32], plane: &mut [f32]) {
        let (sizes, lengths) = (&self.input[2..], &self.output[2..]);
        let last = sizes.len() - 1;
        let mut taps = [0; MAX_AXES];
        for axis in (0..=last).rev() {
            taps[axis] = tap % self.spans[axis].kernel;
            tap /= self.spans[axis].kernel;
        }
        // A value at `position` goes where a window at that position reads: the roles are exchanged.
        let valid = self.spans[last].valid(taps[last], lengths[last], sizes[last]);
        for (line, products) in products.chunks_exact(sizes[last]).enumerate() {
            let mut outer = line;
            let mut begin = Some(0);
            let mut stride = lengths[last];
            for axis in (0..last).rev() {
                let to = self.spans[axis].source(outer % sizes[axis], taps[axis], lengths[axis]);
                begin = begin.zip(to).map(|(begin, at)| begin + at * stride);
                stride *= lengths[axis];
                outer /= sizes[axis];
            }
            let first = self.spans[last].source(valid.start, taps[last], lengths[last]);
            let Some(start) = begin.zip(first).map(|(begin, first)| begin + first) else {
                continue;
            };
            let to = plane[start..].iter_mut().step_by(self.spans[last].stride);
            for (out, &product) in to.zip(&products[valid.clone()]) {
                *out += product;
            }
        }
    }
}
