//! Convolution on floats for windows and groups on which candle's own is slow or impossible.

use super::{
    access::{check_length, values, values_mut},
    parallel::for_each_part,
    unary::clamp,
};
use crate::{geometry::Window, graph::Bounds};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result};

/// A convolution, its bias and its activation on NCHW floats: for every plane of the output, each
/// weight times a shifted row of the input.
pub struct DirectConv {
    pub window: Window,
    pub groups: usize,
    /// `[channel][channel of the group][row][column]`.
    pub weights: Vec<f32>,
    /// By channel.
    pub bias: Vec<f32>,
    pub bounds: Bounds,
    /// Number, channels, height and width.
    pub input: [usize; 4],
    pub output: [usize; 4],
}

impl InplaceOp2 for DirectConv {
    fn name(&self) -> &'static str {
        if self.groups == self.input[1] && self.groups == self.output[1] {
            "depthwise-conv"
        } else {
            "direct-conv"
        }
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
        check_length("the input", input.len(), self.input.iter().product())?;
        check_length("the output", out.len(), self.output.iter().product())?;
        let [_, _, height, width] = self.output;
        for_each_part(out, height * width, |plane, out| {
            self.plane(plane, input, out)
        });
        Ok(())
    }
}

impl DirectConv {
    fn plane(&self, plane: usize, input: &[f32], out: &mut [f32]) {
        let [_, in_channels, in_height, in_width] = self.input;
        let [_, channels, _, width] = self.output;
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let (image, channel) = (plane / channels, plane % channels);
        let group_inputs = in_channels / self.groups;
        let group = channel / (channels / self.groups);
        let first_plane = image * in_channels + group * group_inputs;
        let weights_of = |input_channel: usize, tap: usize| {
            let row = (channel * group_inputs + input_channel) * vertical.kernel + tap;
            &self.weights[row * horizontal.kernel..][..horizontal.kernel]
        };
        let Bounds { low, high } = self.bounds;

        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            out.fill(self.bias[channel]);
            for input_channel in 0..group_inputs {
                for tap in 0..vertical.kernel {
                    let Some(in_row) = vertical.source(row, tap, in_height) else {
                        continue;
                    };
                    let start = ((first_plane + input_channel) * in_height + in_row) * in_width;
                    let input = &input[start..][..in_width];
                    let weights = weights_of(input_channel, tap);
                    for (column, &weight) in weights.iter().enumerate() {
                        let valid = horizontal.valid(column, in_width, width);
                        let Some(start) = horizontal.source(valid.start, column, in_width) else {
                            continue;
                        };
                        accumulate(&mut out[valid], &input[start..], horizontal.stride, weight);
                    }
                }
            }
            for value in out {
                *value = clamp(*value, low, high);
            }
        }
    }
}

#[inline]
fn accumulate(out: &mut [f32], input: &[f32], stride: usize, weight: f32) {
    // With the stride as a constant the compiler makes vector code of the common cases.
    match stride {
        1 => accumulate_strided::<1>(out, input, weight),
        2 => accumulate_strided::<2>(out, input, weight),
        _ => {
            for (out, &input) in out.iter_mut().zip(input.iter().step_by(stride)) {
                *out += weight * input;
            }
        }
    }
}

#[inline]
fn accumulate_strided<const STRIDE: usize>(out: &mut [f32], input: &[f32], weight: f32) {
    let (chunks, rest) = input.as_chunks::<STRIDE>();
    let whole = out.len().min(chunks.len());
    let (out, last) = out.split_at_mut(whole);
    for (out, chunk) in out.iter_mut().zip(chunks) {
        *out += weight * chunk[0];
    }
    // The last value may be the first of a chunk that is not whole.
    if let ([out, ..], [input, ..]) = (last, rest) {
        *out += weight * input;
    }
}
