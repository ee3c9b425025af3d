//! Addition of quantized tensors, and what follows a convolution on floats.

use super::{
    access::{check_length, values, values_mut},
    parallel::{CHUNK, for_each_part, part},
    quantize::{range, reals, scaling},
    unary::clamp,
};
use crate::{
    graph::{Arithmetic, Bounds, Quantization, Target},
    kernels::{self, Addition, Isa, Mixture},
};
use candle_core::{CpuStorage, InplaceOp1, InplaceOp3, Layout, Result};

/// Adds quantized tensors.
pub struct IntAdd {
    isa: Isa,
    way: Way,
}

/// In whose arithmetic.
enum Way {
    /// That of the float operator between DequantizeLinear and QuantizeLinear.
    Addition(Addition),
    /// That of ONNX Runtime's QLinearAdd.
    Mixture(Mixture),
}

impl IntAdd {
    /// Of operands with the quantizations `inputs`, with the kernels of `isa`.
    pub fn new(isa: Isa, inputs: [Quantization; 2], bounds: Bounds, output: Target) -> Self {
        let way = if output.arithmetic == Arithmetic::QLinear && bounds == Bounds::NONE {
            let of = inputs.map(reals);
            let Quantization { scale, zero } = output.quantization;
            Way::Mixture(Mixture::new(of, scale, zero))
        } else {
            Way::Addition(Addition::new(
                isa,
                inputs.map(|input| input.scale),
                inputs.map(|input| input.zero.into()),
                scaling(output),
                range(bounds, output),
            ))
        };
        Self { isa, way }
    }

    /// How it adds, where that may become part of a convolution: ONNX Runtime's own addition rounds otherwise.
    pub fn addition(&self) -> Option<&Addition> {
        match &self.way {
            Way::Addition(addition) => Some(addition),
            Way::Mixture(_) => None,
        }
    }
}

impl InplaceOp3 for IntAdd {
    fn name(&self) -> &'static str {
        "int-add"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        left: &CpuStorage,
        left_layout: &Layout,
        right: &CpuStorage,
        right_layout: &Layout,
    ) -> Result<()> {
        let out = values_mut::<u8>(out, out_layout)?;
        let left = values::<u8>(left, left_layout)?;
        let right = values::<u8>(right, right_layout)?;
        check_length("the left operand", left.len(), out.len())?;
        check_length("the right operand", right.len(), out.len())?;
        for_each_part(out, CHUNK, |number, out| {
            let (left, right) = (part(left, CHUNK, number), part(right, CHUNK, number));
            match &self.way {
                Way::Addition(addition) => {
                    kernels::add(self.isa, addition, Some(left), right, out);
                }
                Way::Mixture(mixture) => kernels::mix(self.isa, *mixture, [left, right], out),
            }
        });
        Ok(())
    }
}

/// Adds a bias to every plane of an NCHW tensor and clamps, in place.
pub struct BiasClamp {
    /// By channel.
    pub bias: Vec<f32>,
    /// Pixels of a plane.
    pub pixels: usize,
    pub bounds: Bounds,
}

impl InplaceOp1 for BiasClamp {
    fn name(&self) -> &'static str {
        "bias-clamp"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let planes = values_mut::<f32>(storage, layout)?;
        bias_clamp(planes, self.pixels, &self.bias, self.bounds);
        Ok(())
    }
}

/// See [`BiasClamp`].
pub fn bias_clamp(planes: &mut [f32], pixels: usize, bias: &[f32], bounds: Bounds) {
    let Bounds { low, high } = bounds;
    if bounds == Bounds::NONE && bias.iter().all(|&bias| bias == 0.0) {
        return;
    }
    for_each_part(planes, pixels, |plane, pixels| {
        let bias = bias[plane % bias.len()];
        if bounds == Bounds::NONE {
            pixels.iter_mut().for_each(|pixel| *pixel += bias);
        } else {
            for pixel in pixels {
                *pixel = clamp(*pixel + bias, low, high);
            }
        }
    });
}
