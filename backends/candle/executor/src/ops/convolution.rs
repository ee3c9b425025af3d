//! Convolution on floats.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{EngineResult, Error, Result};

#[cfg(target_arch = "x86_64")]
use super::float_conv::FloatConv;
use super::{
    access::map,
    direct_conv::DirectConv,
    int_add::BiasClamp,
    operation::{Compiled, ConvKind, Inputs, Operation, Operator, buffer, expect_type, first},
    permuted::contiguous,
    window_conv::{Columns, MAX_AXES, WindowConv},
};
#[cfg(target_arch = "x86_64")]
use crate::kernels::float::Shape;
use crate::{
    geometry::{Geometry, Span, Window, as_image, volume},
    graph::{Bounds, Node, flat},
};

/// A convolution along any number of axes, its bias and what Relu and Clip behind it leave.
#[derive(Debug)]
pub struct Conv {
    geometry: Geometry,
    groups: usize,
    /// Where the file says it twice.
    kernel: Option<Vec<i64>>,
    bounds: Bounds,
}

impl Conv {
    /// # Errors
    /// Fails where the window is none.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self {
            geometry: node.geometry()?,
            groups: node.groups()?,
            kernel: node.ints("kernel_shape").map(<[i64]>::to_vec),
            bounds: Bounds::NONE,
        }))
    }
}

impl Operation for Conv {
    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn may_vary(&self, _: usize) -> bool {
        true
    }

    fn absorb(&mut self, bounds: Bounds) -> bool {
        self.bounds = self.bounds.then(bounds);
        true
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        expect_type(inputs.get(0)?.dtype, DType::F32)?;
        let weights = inputs.constant(1)?;
        expect_type(weights.dtype(), DType::F32)?;
        let shape = Weights::of(weights.dims(), self.groups)?;
        shape.check_kernel(self.kernel.as_deref())?;
        let input = inputs.dims()?;
        let (spans, output) = shape.fit(&self.geometry, input)?;
        let window = Window::of(&spans);
        let bias = match inputs.optional_floats(2)? {
            None => vec![0.0; shape.channels],
            Some(bias) if bias.len() == shape.channels => bias,
            Some(bias) => {
                return Err(Error::engine(format!(
                    "{} values of bias for {} channels",
                    bias.len(),
                    shape.channels
                )));
            }
        };
        let image = |dims: &[usize]| super::operation::image(&as_image(dims));
        #[cfg(target_arch = "x86_64")]
        if let Some(window) = window {
            let shape = Shape {
                window,
                groups: self.groups,
                input: image(input)?,
                output: image(&output)?,
            };
            let weights = flat(weights)?;
            let operator = FloatConv::new(inputs.isa, shape, &weights, &bias, self.bounds);
            if let Some(operator) = operator {
                return Ok(Compiled::written(operator, &output, DType::F32));
            }
        }
        let epilogue = |bias: Vec<f32>| BiasClamp {
            bias,
            pixels: output[2..].iter().product(),
            bounds: self.bounds,
        };
        Ok(
            if self.groups == 1 && spans.iter().all(Span::is_pointwise) {
                let operator = Pointwise {
                    weights: weights.reshape((1, shape.channels, input[1])).engine()?,
                    output: output.clone(),
                    epilogue: epilogue(bias),
                };
                Compiled::allocated(operator, &output, DType::F32)
            } else if let (Some(window), 1) = (window, shape.inputs) {
                let operator = Direct(DirectConv {
                    window,
                    groups: self.groups,
                    weights: flat(weights)?,
                    bias,
                    bounds: self.bounds,
                    input: image(input)?,
                    output: image(&output)?,
                });
                Compiled::written(operator, &output, DType::F32)
            } else {
                let operator = Windows(WindowConv {
                    columns: Columns::new(spans, self.groups, input, &output),
                    weights: flat(weights)?,
                    bias,
                    bounds: self.bounds,
                });
                Compiled::written(operator, &output, DType::F32)
            },
        )
    }
}

/// The shape of the weights of a convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    pub channels: usize,
    pub groups: usize,
    /// Inputs of a group.
    pub inputs: usize,
    /// By axis.
    pub kernel: Vec<usize>,
}

impl Weights {
    /// # Errors
    /// Fails where they are not of a window, or not of this number of groups.
    pub fn of(dims: &[usize], groups: usize) -> Result<Self> {
        let [channels, inputs, ref kernel @ ..] = *dims else {
            return Err(Error::engine(format!("weights {dims:?} are of no window")));
        };
        if kernel.is_empty() || kernel.len() > MAX_AXES {
            return Err(Error::unsupported(format!(
                "weights {dims:?}: a window has 1 to {MAX_AXES} axes"
            )));
        }
        if volume(dims)? == 0 {
            return Err(Error::engine(format!("weights {dims:?} are empty")));
        }
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Error::engine(format!(
                "{channels} channels do not divide into {groups} groups"
            )));
        }
        Ok(Self {
            channels,
            groups,
            inputs,
            kernel: kernel.to_vec(),
        })
    }

    /// # Errors
    /// Fails where the file says otherwise.
    pub fn check_kernel(&self, stated: Option<&[i64]>) -> Result<()> {
        let agrees = |stated: &[i64]| {
            let own = self.kernel.iter().map(|&length| i64::try_from(length).ok());
            own.eq(stated.iter().copied().map(Some))
        };
        match stated {
            Some(stated) if !agrees(stated) => Err(Error::engine(format!(
                "kernel_shape {stated:?} is not that of its weights, {:?}",
                self.kernel
            ))),
            _ => Ok(()),
        }
    }

    /// The window along every axis and the shape of the output.
    ///
    /// # Errors
    /// Fails where the input has other channels or axes, or the window does not fit.
    pub fn fit(&self, geometry: &Geometry, input: &[usize]) -> Result<(Vec<Span>, Vec<usize>)> {
        let mismatch = || Error::engine(format!("{self:?} on an input of shape {input:?}"));
        let [number, channels, ref sizes @ ..] = *input else {
            return Err(mismatch());
        };
        if self.groups.checked_mul(self.inputs) != Some(channels) {
            return Err(mismatch());
        }
        let spans = geometry.spans(&self.kernel, sizes)?;
        let mut output = vec![number, self.channels];
        for (span, &size) in spans.iter().zip(sizes) {
            let positions = span.positions(size);
            output.push(positions.ok_or_else(|| {
                Error::unsupported(format!("{span:?} does not fit {size} values"))
            })?);
        }
        volume(&output)?;
        Ok((spans, output))
    }
}

/// Without window, as a product of matrices.
struct Pointwise {
    weights: Tensor,
    output: Vec<usize>,
    epilogue: BiasClamp,
}

impl Operator for Pointwise {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], _: Option<&Tensor>) -> CandleResult<Tensor> {
        let input = first(inputs)?;
        let pixels = input.reshape((self.output[0], input.dim(1)?, self.epilogue.pixels))?;
        let product = self.weights.broadcast_matmul(&pixels)?;
        product.inplace_op1(&self.epilogue)?;
        product.reshape(&self.output[..])
    }
}

struct Direct(DirectConv);

impl Operator for Direct {
    fn name(&self) -> &'static str {
        candle_core::InplaceOp2::name(&self.0)
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        out.inplace_op2(&contiguous(first(inputs)?)?, &self.0)?;
        Ok(out.clone())
    }
}

struct Windows(WindowConv);

impl Operator for Windows {
    fn name(&self) -> &'static str {
        "window-conv"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        map(first(inputs)?, out, |input: &[f32], out: &mut [f32]| {
            self.0.run(input, out)
        })?;
        Ok(out.clone())
    }
}
