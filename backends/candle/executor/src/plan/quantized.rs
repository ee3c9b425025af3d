//! The integer operators that the operators of a file mean on quantized values.

use firstpass_onnx::{Constant, Error, Result, Values};

use super::quantized_constants::DequantizedConstant;
use crate::{
    graph::{Bias, Node, Quantization, QuantizedConv, WeightScales, check_scale},
    kernels::MAX_PRODUCTS,
    ops::{Gemm, Weights},
};

/// Scale and zero point of activations, where there is one of each, and whether they are i8; `None` for
/// what is quantized otherwise.
pub fn activations(
    node: &Node<'_>,
    scale: &Constant,
    zero: Option<&Constant>,
    of_no_zero: bool,
) -> Result<Option<(Quantization, bool)>> {
    let Values::F32(scales) = &scale.values else {
        return Ok(None);
    };
    let [scale] = scales[..] else {
        return Ok(None);
    };
    check_scale(scale).map_err(|e| e.context(node.label()))?;
    let (zero, is_signed) = match zero.map(|zero| &zero.values) {
        None if of_no_zero => (128, true),
        None => (0, false),
        Some(Values::U8(zeros)) if zeros.len() == 1 => (zeros[0], false),
        // As u8, see [`Quantization`].
        Some(Values::I8(zeros)) if zeros.len() == 1 => (zeros[0].cast_unsigned() ^ 0x80, true),
        Some(_) => return Ok(None),
    };
    Ok(Some((Quantization { scale, zero }, is_signed)))
}

/// The bias of an operator, if it is one that is known when the model is loaded.
pub enum GivenBias<'a> {
    None,
    Float(&'a Constant),
    Quantized(&'a DequantizedConstant),
    Unknown,
}

/// A convolution of quantized values with quantized weights.
pub fn conv(
    node: &Node<'_>,
    input: Quantization,
    weights: &DequantizedConstant,
    bias: &GivenBias<'_>,
) -> Result<QuantizedConv> {
    let dims = &weights.constant.dims;
    let shape = Weights::of(dims, node.groups()?)
        .and_then(|shape| {
            shape.check_kernel(node.ints("kernel_shape"))?;
            Ok(shape)
        })
        .map_err(|e| e.context(node.label()))?;
    product(node, dims.clone(), shape.groups, input, weights, bias)
}

/// A product with a matrix of weights, as a convolution of pixels.
pub fn linear(
    node: &Node<'_>,
    input: Quantization,
    weights: &DequantizedConstant,
    bias: &GivenBias<'_>,
) -> Result<QuantizedConv> {
    let mut transposed = false;
    if node.op_type == "Gemm" {
        let gemm = Gemm::read(node)?;
        let is_plain = gemm.alpha == 1.0 && gemm.beta == 1.0 && !gemm.transposes[0];
        if !is_plain {
            return Err(node.unsupported("its operands are scaled or transposed"));
        }
        transposed = gemm.transposes[1];
    }
    let [_, _] = weights.constant.dims[..] else {
        return Err(node.unsupported("its weights are no matrix"));
    };
    let turned;
    let weights = if transposed {
        weights
    } else {
        turned = weights.transposed()?;
        &turned
    };
    let dims = [&weights.constant.dims[..], &[1, 1]].concat();
    Weights::of(&dims, 1).map_err(|e| e.context(node.label()))?;
    product(node, dims, 1, input, weights, bias)
}

/// Weights `[channel][…]` as `dims`.
fn product(
    node: &Node<'_>,
    dims: Vec<usize>,
    groups: usize,
    input: Quantization,
    weights: &DequantizedConstant,
    bias: &GivenBias<'_>,
) -> Result<QuantizedConv> {
    let channels = dims[0];
    let products: usize = dims[1..].iter().product();
    if products > MAX_PRODUCTS {
        return Err(node.unsupported(format!("sums of {products} products may overflow")));
    }
    let weight_scales = weights
        .weight_scales(0)
        .map_err(|e| e.context(node.label()))?;
    let bias = match bias {
        GivenBias::None => Bias::Float(vec![0.0; channels]),
        GivenBias::Float(bias) => Bias::Float(float_bias(node, bias, channels)?),
        GivenBias::Quantized(bias) => quantized_bias(node, bias, channels, input, &weight_scales)?,
        GivenBias::Unknown => return Err(node.unsupported("its bias is not a constant")),
    };
    Ok(QuantizedConv {
        groups,
        weights: weights.weights().map_err(|e| e.context(node.label()))?,
        dims,
        weight_scales,
        bias,
        input,
    })
}

/// The same with a bias that is added behind it.
pub fn with_bias(
    node: &Node<'_>,
    conv: &QuantizedConv,
    bias: &GivenBias<'_>,
) -> Result<QuantizedConv> {
    let channels = conv.dims[0];
    let bias = match bias {
        GivenBias::Float(bias) => Bias::Float(float_bias(node, bias, channels)?),
        GivenBias::Quantized(bias) => {
            quantized_bias(node, bias, channels, conv.input, &conv.weight_scales)?
        }
        GivenBias::None | GivenBias::Unknown => {
            return Err(node.unsupported("its bias is not a constant"));
        }
    };
    Ok(QuantizedConv {
        bias,
        ..conv.clone()
    })
}

fn is_of(bias: &Constant, channels: usize) -> bool {
    matches!(bias.dims[..], [n] | [1, n] if n == channels)
}

fn float_bias(node: &Node<'_>, bias: &Constant, channels: usize) -> Result<Vec<f32>> {
    match &bias.values {
        Values::F32(values) if is_of(bias, channels) => Ok(values.clone()),
        _ => Err(node.unsupported(format!("its bias is not {channels} values of f32"))),
    }
}

/// A quantized bias: an i32 on the scale of the sums is added to them. Any other is added as the real
/// numbers that it stands for.
fn quantized_bias(
    node: &Node<'_>,
    bias: &DequantizedConstant,
    channels: usize,
    input: Quantization,
    weight_scales: &WeightScales,
) -> Result<Bias> {
    if let (Values::I32(values), true, false) = (
        &bias.constant.values,
        is_of(&bias.constant, channels),
        bias.grid.has_zero_points(),
    ) {
        let scales = bias.grid.of(&bias.constant.dims)?;
        let is_of_sums = scales.enumerate().all(|(channel, (scale, _))| {
            let expected = input.scale * weight_scales.of(channel);
            // Exporters compute the product in f32 or in f64.
            (scale - expected).abs() <= expected * 1e-6
        });
        if is_of_sums {
            return Ok(Bias::Int32(values.clone()));
        }
    }
    let floats = bias.floats().map_err(|e: Error| e.context(node.label()))?;
    float_bias(node, &floats, channels).map(Bias::Float)
}
