//! Convolution on floats.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_probe::{EngineResult, Error, Result};

use super::{
    direct_conv::DirectConv,
    int_add::BiasClamp,
    operation::{Compiled, ConvKind, Inputs, Operation, Operator, buffer, expect_type, first},
};
use crate::{
    geometry::{Geometry, Padding, Window, volume},
    graph::{Bounds, Node, flat},
};

/// A convolution of an image, its bias and what Relu and Clip behind it leave.
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
    /// Fails where the window is not one of an image.
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
        let input = inputs.image()?;
        let (window, output) = shape.fit(&self.geometry, input)?;
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
        let epilogue = |bias: Vec<f32>| BiasClamp {
            bias,
            pixels: output[2] * output[3],
            bounds: self.bounds,
        };
        let symmetric = window.symmetric();
        Ok(match symmetric {
            _ if self.groups == 1 && window.is_pointwise() => {
                let operator = Pointwise {
                    weights: weights.reshape((1, shape.channels, input[1])).engine()?,
                    output,
                    epilogue: epilogue(bias),
                };
                Compiled::allocated(operator, &output, DType::F32)
            }
            Some(span) if self.groups == 1 => {
                let operator = Dense {
                    weights: weights.clone(),
                    padding: span.before,
                    stride: span.stride,
                    dilation: span.dilation,
                    epilogue: epilogue(bias),
                };
                Compiled::allocated(operator, &output, DType::F32)
            }
            _ => {
                let operator = Direct(DirectConv {
                    window,
                    groups: self.groups,
                    weights: flat(weights)?,
                    bias,
                    bounds: self.bounds,
                    input,
                    output,
                });
                Compiled::written(operator, &output, DType::F32)
            }
        })
    }
}

/// The shape of the weights of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    pub channels: usize,
    pub groups: usize,
    /// Inputs of a group.
    pub inputs: usize,
    pub kernel: [usize; 2],
}

impl Weights {
    /// # Errors
    /// Fails where they are not of an image, or not of so many groups.
    pub fn of(dims: &[usize], groups: usize) -> Result<Self> {
        let [channels, inputs, height, width] = *dims else {
            return Err(Error::unsupported(format!(
                "weights {dims:?} are not of an image"
            )));
        };
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
            kernel: [height, width],
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

    /// The window over an image and the shape of the output.
    ///
    /// # Errors
    /// Fails where the image has other channels or the window does not fit.
    pub fn fit(&self, geometry: &Geometry, input: [usize; 4]) -> Result<(Window, [usize; 4])> {
        let [number, channels, height, width] = input;
        if self.groups.checked_mul(self.inputs) != Some(channels) {
            return Err(Error::engine(format!(
                "{self:?} on an input of shape {input:?}"
            )));
        }
        let window = geometry.window(self.kernel, [height, width])?;
        let (height, width) = window.output(height, width)?;
        let output = [number, self.channels, height, width];
        volume(&output)?;
        Ok((window, output))
    }
}

/// Without window, as a product of matrices.
struct Pointwise {
    weights: Tensor,
    output: [usize; 4],
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
        let (number, channels, height, width) = input.dims4()?;
        let pixels = input.reshape((number, channels, height * width))?;
        let product = self.weights.broadcast_matmul(&pixels)?;
        product.inplace_op1(&self.epilogue)?;
        product.reshape(&self.output[..])
    }
}

/// By candle, for a window that is equal along both axes.
struct Dense {
    weights: Tensor,
    padding: usize,
    stride: usize,
    dilation: usize,
    epilogue: BiasClamp,
}

impl Operator for Dense {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], _: Option<&Tensor>) -> CandleResult<Tensor> {
        let input = first(inputs)?;
        let out = input.conv2d(&self.weights, self.padding, self.stride, self.dilation, 1)?;
        out.inplace_op1(&self.epilogue)?;
        Ok(out)
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
        out.inplace_op2(&first(inputs)?.contiguous()?, &self.0)?;
        Ok(out.clone())
    }
}

/// ConvTranspose: the values of an image spread by a window, which is candle's.
#[derive(Debug)]
pub struct ConvTranspose {
    geometry: Geometry,
    groups: usize,
    output_padding: [usize; 2],
}

impl ConvTranspose {
    /// # Errors
    /// Fails where the shape of the output is given, or the padding computed from it.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        if node.ints("output_shape").is_some() {
            return Err(node.unsupported("the shape of its output is given"));
        }
        let padding = node.sizes("output_padding", 2, 0)?;
        let geometry = node.geometry()?;
        if !matches!(geometry.padding, Padding::Explicit(_)) {
            return Err(node.unsupported("padding must be explicit"));
        }
        Ok(Box::new(Self {
            geometry,
            groups: node.groups()?,
            output_padding: [padding[0], padding[1]],
        }))
    }
}

impl Operation for ConvTranspose {
    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        expect_type(inputs.get(0)?.dtype, DType::F32)?;
        let weights = inputs.constant(1)?;
        expect_type(weights.dtype(), DType::F32)?;
        let [number, channels, height, width] = inputs.image()?;
        let [in_channels, group_channels, rows, columns] = super::operation::image(weights.dims())?;
        let window = self.geometry.window([rows, columns], [height, width])?;
        let span = window.symmetric().filter(|_| {
            let [vertical, horizontal] = self.output_padding;
            vertical == horizontal && vertical < window.vertical.stride
        });
        let span = span.ok_or_else(|| {
            Error::unsupported(format!(
                "{window:?}: only windows that are equal along both axes are implemented"
            ))
        })?;
        let groups = self.groups;
        if in_channels != channels || volume(weights.dims())? == 0 || channels % groups != 0 {
            return Err(Error::engine(format!(
                "weights {:?} on {channels} channels in {groups} groups",
                weights.dims()
            )));
        }
        let size = |size: usize| {
            let spread = size.checked_sub(1)?.checked_mul(span.stride)?;
            let whole = spread.checked_add(span.reach()?)?;
            let whole = whole.checked_add(self.output_padding[0])?;
            whole.checked_sub(2 * span.before).filter(|&size| size > 0)
        };
        let (rows, columns) = size(height)
            .zip(size(width))
            .ok_or_else(|| Error::unsupported(format!("{window:?} leaves nothing")))?;
        let dims = [number, groups * group_channels, rows, columns];
        let bias = inputs.optional_floats(2)?;
        let bias = bias.unwrap_or_else(|| vec![0.0; dims[1]]);
        if bias.len() != dims[1] {
            return Err(Error::engine("its bias is of other channels"));
        }
        let operator = Spread {
            weights: weights.chunk(groups, 0).engine()?,
            padding: span.before,
            output_padding: self.output_padding[0],
            stride: span.stride,
            dilation: span.dilation,
            epilogue: BiasClamp {
                bias,
                pixels: rows * columns,
                bounds: Bounds::NONE,
            },
        };
        Ok(Compiled::allocated(operator, &dims, DType::F32))
    }
}

struct Spread {
    /// By group.
    weights: Vec<Tensor>,
    padding: usize,
    output_padding: usize,
    stride: usize,
    dilation: usize,
    epilogue: BiasClamp,
}

impl Operator for Spread {
    fn name(&self) -> &'static str {
        "conv-transpose"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], _: Option<&Tensor>) -> CandleResult<Tensor> {
        let inputs = first(inputs)?.chunk(self.weights.len(), 1)?;
        let parts = inputs.iter().zip(&self.weights).map(|(input, weights)| {
            let weights = weights.contiguous()?;
            input.contiguous()?.conv_transpose2d(
                &weights,
                self.padding,
                self.output_padding,
                self.stride,
                self.dilation,
            )
        });
        let parts: Vec<Tensor> = parts.collect::<CandleResult<_>>()?;
        let out = Tensor::cat(&parts, 1)?;
        out.inplace_op1(&self.epilogue)?;
        Ok(out)
    }
}
