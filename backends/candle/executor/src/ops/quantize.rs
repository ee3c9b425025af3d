//! Between floats in the order of ONNX (NCHW) and u8 in the order of the kernels (NHWC).

use super::{
    access::{check_length, values, values_mut},
    parallel::{CHUNK, for_each_part, part},
};
use crate::{
    graph::{Arithmetic, Bounds, Quantization, Target},
    kernels::{self, Integers, Isa, Range, Reals, Scaling},
};
use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result};

thread_local! {
    /// The values of a row of an image, kept from pass to pass.
    static QUANTIZED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The u8 values that bounds on real numbers leave: clamping before and after rounding is the
/// same, because rounding is monotone.
pub fn range(bounds: Bounds, output: Target) -> Range {
    let zero = output.quantization.zero;
    let all = Range::new(zero, u8::MIN, u8::MAX);
    let bound = |real: f32| all.round(scaling(output).apply(real));
    Range::new(zero, bound(bounds.low), bound(bounds.high))
}

/// How the real numbers of an output become steps of its scale.
pub fn scaling(output: Target) -> Scaling {
    let scale = output.quantization.scale;
    match output.arithmetic {
        Arithmetic::Onnx | Arithmetic::QLinear => Scaling::Over(scale),
        Arithmetic::Fbgemm => Scaling::By(1.0 / scale),
    }
}

/// Which real numbers quantized values stand for.
pub fn reals(of: Quantization) -> Reals {
    Reals {
        scale: of.scale,
        zero: of.zero.into(),
    }
}

/// How the real numbers of an output, within bounds, become its integers.
pub fn integers(bounds: Bounds, output: Target) -> Integers {
    Integers {
        scaling: scaling(output),
        range: range(bounds, output),
    }
}

/// Quantizes floats. The output has the channels last where the input is an image.
pub struct Quantize {
    pub isa: Isa,
    pub scaling: Scaling,
    pub range: Range,
}

impl InplaceOp2 for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        input: &CpuStorage,
        input_layout: &Layout,
    ) -> Result<()> {
        let out = values_mut::<u8>(out, out_layout)?;
        let input = values::<f32>(input, input_layout)?;
        self.run(input, input_layout.dims(), out)
    }
}

/// Quantizes values of the host, which saves copying them into a tensor first.
pub struct QuantizeHost<'a> {
    pub operator: &'a Quantize,
    pub input: &'a [f32],
    pub dims: &'a [usize],
}

impl InplaceOp1 for QuantizeHost<'_> {
    fn name(&self) -> &'static str {
        self.operator.name()
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, out_layout: &Layout) -> Result<()> {
        let out = values_mut::<u8>(out, out_layout)?;
        self.operator.run(self.input, self.dims, out)
    }
}

impl Quantize {
    fn run(&self, input: &[f32], dims: &[usize], out: &mut [u8]) -> Result<()> {
        check_length("the input", input.len(), out.len())?;
        let quantize = |input: &[f32], out: &mut [u8]| {
            kernels::quantize(self.isa, self.scaling, self.range, input, out);
        };
        let [_, channels, height, width] = *dims else {
            for_each_part(out, CHUNK, |number, out| {
                quantize(part(input, CHUNK, number), out);
            });
            return Ok(());
        };
        for_each_part(out, width * channels, |row, out| {
            let (image, row) = (row / height, row % height);
            let plane_row = |channel: usize| {
                let start = ((image * channels + channel) * height + row) * width;
                &input[start..][..width]
            };
            QUANTIZED.with_borrow_mut(|quantized| {
                quantized.resize(quantized.len().max(width * channels), 0);
                let quantized = &mut quantized[..width * channels];
                for (channel, quantized) in quantized.chunks_exact_mut(width).enumerate() {
                    quantize(plane_row(channel), quantized);
                }
                kernels::channels_last(self.isa, quantized, width, out);
            });
        });
        Ok(())
    }
}

/// Turns u8 into floats, in the order in which they lie.
pub struct Dequantize {
    pub quantization: Quantization,
}

impl InplaceOp2 for Dequantize {
    fn name(&self) -> &'static str {
        "dequantize"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        input: &CpuStorage,
        input_layout: &Layout,
    ) -> Result<()> {
        let out = values_mut::<f32>(out, out_layout)?;
        let input = values::<u8>(input, input_layout)?;
        check_length("the input", input.len(), out.len())?;
        let Quantization { scale, zero } = self.quantization;
        let zero = f32::from(zero);
        for_each_part(out, CHUNK, |number, out| {
            for (out, &input) in out.iter_mut().zip(part(input, CHUNK, number)) {
                *out = (f32::from(input) - zero) * scale;
            }
        });
        Ok(())
    }
}
