//! Operators that treat every value alike, and the copy of the input.

use super::{
    CHUNK, check_length,
    parallel::{for_each_part, part},
    values, values_mut,
};
use crate::{
    kernels::{self, Addition, Isa},
    plan::Bounds,
};
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result};

/// Adds quantized tensors.
pub struct IntAdd {
    pub isa: Isa,
    pub addition: Addition,
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
            kernels::add(self.isa, &self.addition, left, right, out);
        });
        Ok(())
    }
}

/// Adds tensors of floats and clamps the sums.
pub struct FloatAdd {
    pub bounds: Bounds,
}

impl InplaceOp3 for FloatAdd {
    fn name(&self) -> &'static str {
        "add"
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
        let out = values_mut::<f32>(out, out_layout)?;
        let left = values::<f32>(left, left_layout)?;
        let right = values::<f32>(right, right_layout)?;
        check_length("the left operand", left.len(), out.len())?;
        check_length("the right operand", right.len(), out.len())?;
        let Bounds { low, high } = self.bounds;
        for_each_part(out, CHUNK, |number, out| {
            let (left, right) = (part(left, CHUNK, number), part(right, CHUNK, number));
            for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
                *out = clamp(left + right, low, high);
            }
        });
        Ok(())
    }
}

/// Clamps floats: Relu and Clip.
pub struct Clamp {
    pub bounds: Bounds,
}

impl InplaceOp2 for Clamp {
    fn name(&self) -> &'static str {
        "clamp"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        input: &CpuStorage,
        input_layout: &Layout,
    ) -> Result<()> {
        let out = values_mut::<f32>(out, out_layout)?;
        let input = values::<f32>(input, input_layout)?;
        check_length("the input", input.len(), out.len())?;
        let Bounds { low, high } = self.bounds;
        for_each_part(out, CHUNK, |number, out| {
            for (out, &input) in out.iter_mut().zip(part(input, CHUNK, number)) {
                *out = clamp(input, low, high);
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
        let Bounds { low, high } = self.bounds;
        for_each_part(planes, self.pixels, |plane, pixels| {
            let bias = self.bias[plane % self.bias.len()];
            for pixel in pixels {
                *pixel = clamp(*pixel + bias, low, high);
            }
        });
        Ok(())
    }
}

/// Copies values from the host.
pub struct Fill<'a>(pub &'a [f32]);

impl InplaceOp1 for Fill<'_> {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let out = values_mut::<f32>(storage, layout)?;
        check_length("the input", self.0.len(), out.len())?;
        out.copy_from_slice(self.0);
        Ok(())
    }
}

/// Unlike [`f32::clamp`] it compiles to two vector instructions; NaN becomes `low`.
#[inline]
pub(super) fn clamp(value: f32, low: f32, high: f32) -> f32 {
    let value = if value > low { value } else { low };
    if value < high { value } else { high }
}
