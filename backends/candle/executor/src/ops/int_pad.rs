//! Padding of quantized values.

use candle_core::Tensor;
use firstpass_onnx::Result;

use super::{
    access::{check_length, map},
    int_reals::{OnFloats, on_floats},
    operation::{Compiled, Inputs, Operation, Writing, first},
    parallel::for_each_part,
};
use crate::graph::{Bounds, Quantization, Target};

/// Pad of quantized values.
#[derive(Debug)]
pub struct PadOfQuantized {
    /// That of floats.
    pub operation: Box<dyn Operation>,
    pub input: Quantization,
    pub bounds: Bounds,
    pub output: Target,
}

impl PadOfQuantized {
    /// The integer that stands for `value`, if there is one and the padded values stay on their grid.
    fn integer(&self, value: f64) -> Option<u8> {
        let Quantization { scale, zero } = self.input;
        let is_same = self.output.quantization == self.input && (1e-30..1e30).contains(&scale);
        let mut integers = 0..=u8::MAX;
        let real = |integer: u8| f64::from((f32::from(integer) - f32::from(zero)) * scale);
        let integer = integers.find(|&integer| real(integer) == value);
        integer.filter(|_| is_same && self.bounds == Bounds::NONE)
    }
}

impl Operation for PadOfQuantized {
    fn is_parameter(&self, position: usize) -> bool {
        self.operation.is_parameter(position)
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let compiled = on_floats(inputs, self.operation.as_ref())?;
        let pads = self.operation.pads(inputs)?;
        let pads = pads.and_then(|(pads, value)| Some((pads, self.integer(value)?)));
        let (&[_, channels, height, width], Some((pads, fill))) = (inputs.dims()?, pads) else {
            return Ok(self.as_written(compiled, inputs));
        };
        let ([[0, 0], [0, 0], rows, columns], &[_, _, out_height, out_width]) =
            (&pads[..], &compiled.dims[..])
        else {
            return Ok(self.as_written(compiled, inputs));
        };
        let sides = [rows[0], rows[1], columns[0], columns[1]].map(usize::try_from);
        let [Ok(above), Ok(_), Ok(before), Ok(_)] = sides else {
            return Ok(self.as_written(compiled, inputs));
        };
        let (line, out_line) = (width * channels, out_width * channels);
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            map(first(inputs)?, out, |values: &[u8], out: &mut [u8]| {
                let images = out.len() / (out_height * out_line);
                check_length("the input", values.len(), images * height * line)?;
                for_each_part(out, out_line, |number, out| {
                    let (image, row) = (number / out_height, number % out_height);
                    let row = row.checked_sub(above).filter(|&row| row < height);
                    let Some(row) = row else {
                        out.fill(fill);
                        return;
                    };
                    let inside = before * channels..before * channels + line;
                    out[..inside.start].fill(fill);
                    out[inside.end..].fill(fill);
                    out[inside].copy_from_slice(&values[(image * height + row) * line..][..line]);
                });
                Ok(())
            })
        };
        let name = "int-pad";
        Ok(Compiled::quantized(Writing { name, run }, &compiled.dims))
    }
}

impl PadOfQuantized {
    fn as_written(&self, floats: Compiled, inputs: &Inputs<'_>) -> Compiled {
        OnFloats::compiled(floats, vec![self.input], self.bounds, self.output, inputs)
    }
}
