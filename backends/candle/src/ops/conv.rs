//! Convolution on integers: activations u8 with the channels last, weights i8, output u8.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result};
use rayon::prelude::*;

use super::{check_length, range, values, values_mut};
use crate::{
    geometry::Window,
    kernels::{Depthwise, Isa, Matrix, Output, Requantization, Rows},
    plan::{Bias, Bounds, Quantization, QuantizedConv},
};

/// Bytes of gathered activations that one task works on: they should stay in the second-level cache.
const GATHERED: usize = 1 << 17;
/// Pixels of one task.
const PIXELS: std::ops::RangeInclusive<usize> = 16..=256;

thread_local! {
    /// Gathered activations, kept from pass to pass.
    static GATHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

enum Kernel {
    /// One matrix for every group, over the pixels that a window reads.
    Matrices(Vec<Matrix>),
    /// One weight for every tap and channel.
    Depthwise(Depthwise),
}

pub struct IntConv {
    kernel: Kernel,
    window: Window,
    /// What padding reads: the zero point, once for every channel.
    padding: Vec<u8>,
    /// Number, height, width and channels.
    input: [usize; 4],
    output: [usize; 4],
}

impl IntConv {
    /// Packs the weights for the kernels of `isa`. Both shapes are NHWC.
    pub fn new(
        isa: Isa,
        conv: &QuantizedConv,
        weights: &[i8],
        bounds: Bounds,
        output_quantization: Quantization,
        input: [usize; 4],
        output: [usize; 4],
    ) -> Self {
        let channels = output[3];
        let taps = conv.window.taps();
        let group_inputs = input[3] / conv.groups;
        let requantization = requantization(conv, weights, channels, bounds, output_quantization);
        let kernel = if conv.groups == input[3] && conv.groups == channels {
            Kernel::Depthwise(Depthwise::pack(isa, weights, taps, &requantization))
        } else {
            let group_channels = channels / conv.groups;
            let k = group_inputs * taps;
            let groups = weights.chunks_exact(group_channels * k).enumerate();
            let matrices = groups.map(|(group, weights)| {
                let first = group * group_channels;
                let part = requantization.part(first..first + group_channels, group_channels);
                Matrix::pack(isa, &taps_first(weights, group_inputs, taps), k, &part)
            });
            Kernel::Matrices(matrices.collect())
        };
        Self {
            kernel,
            window: conv.window,
            padding: vec![conv.input.zero; input[3]],
            input,
            output,
        }
    }

    fn matrices(&self, matrices: &[Matrix], input: &[u8], out: &mut [u8]) {
        let [_, _, _, in_channels] = self.input;
        let channels = self.output[3];
        let length = matrices.first().map_or(0, Matrix::row_length);
        let direct = self.window.is_pointwise() && matrices.len() == 1 && length == in_channels;
        let pixels = (GATHERED / length).clamp(*PIXELS.start(), *PIXELS.end());
        out.par_chunks_mut(pixels * channels)
            .enumerate()
            .for_each(|(task, out)| {
                let first = task * pixels;
                let count = out.len() / channels;
                if direct {
                    let values = &input[first * in_channels..][..count * in_channels];
                    let rows = Rows {
                        values,
                        stride: in_channels,
                        count,
                    };
                    matrices[0].multiply(
                        &rows,
                        &mut Output {
                            values: out,
                            stride: channels,
                        },
                    );
                    return;
                }
                GATHER.with_borrow_mut(|gathered| {
                    gathered.resize(gathered.len().max(count * length), 0);
                    let mut channel = 0;
                    for (group, matrix) in matrices.iter().enumerate() {
                        let inputs = in_channels / matrices.len();
                        let rows = gathered.chunks_exact_mut(length).take(count).enumerate();
                        for (row, gathered) in rows {
                            self.gather(input, first + row, group * inputs, inputs, gathered);
                        }
                        let rows = Rows {
                            values: gathered,
                            stride: length,
                            count,
                        };
                        let mut out = Output {
                            values: &mut out[channel..],
                            stride: channels,
                        };
                        matrix.multiply(&rows, &mut out);
                        channel += matrix.channels();
                    }
                });
            });
    }

    /// Collects what the window at output `pixel` reads of `count` channels from `first` on.
    fn gather(&self, input: &[u8], pixel: usize, first: usize, count: usize, out: &mut [u8]) {
        let [_, in_height, in_width, in_channels] = self.input;
        let [_, height, width, _] = self.output;
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let (line, column) = (pixel / width, pixel % width);
        let (image, row) = (line / height, line % height);
        let line_length = horizontal.kernel * count;
        for (tap, out) in out
            .chunks_exact_mut(line_length)
            .take(vertical.kernel)
            .enumerate()
        {
            let Some(in_row) = vertical.source(row, tap, in_height) else {
                out.fill(self.padding[0]);
                continue;
            };
            let start = (image * in_height + in_row) * in_width * in_channels;
            let in_line = &input[start..][..in_width * in_channels];
            let begin = horizontal.source(column, 0, in_width);
            let end = horizontal.source(column, horizontal.kernel - 1, in_width);
            if let (Some(begin), Some(_)) = (begin, end)
                && count == in_channels
                && horizontal.dilation == 1
            {
                out.copy_from_slice(&in_line[begin * in_channels..][..line_length]);
                continue;
            }
            for (tap, out) in out.chunks_exact_mut(count).enumerate() {
                match horizontal.source(column, tap, in_width) {
                    Some(at) => {
                        out.copy_from_slice(&in_line[at * in_channels + first..][..count]);
                    }
                    None => out.fill(self.padding[0]),
                }
            }
        }
    }

    fn depthwise(&self, kernel: &Depthwise, input: &[u8], out: &mut [u8]) {
        let [_, in_height, in_width, channels] = self.input;
        let [_, height, width, _] = self.output;
        let Window {
            vertical,
            horizontal,
        } = self.window;
        out.par_chunks_mut(width * channels)
            .enumerate()
            .for_each(|(line, out)| {
                let (image, row) = (line / height, line % height);
                let in_lines: Vec<Option<&[u8]>> = (0..vertical.kernel)
                    .map(|tap| {
                        let in_row = vertical.source(row, tap, in_height)?;
                        let start = (image * in_height + in_row) * in_width * channels;
                        Some(&input[start..][..in_width * channels])
                    })
                    .collect();
                let mut taps = Vec::with_capacity(self.window.taps());
                for (column, out) in out.chunks_exact_mut(channels).enumerate() {
                    taps.clear();
                    for in_line in &in_lines {
                        taps.extend((0..horizontal.kernel).map(|tap| {
                            match (in_line, horizontal.source(column, tap, in_width)) {
                                (Some(line), Some(at)) => &line[at * channels..][..channels],
                                _ => &self.padding[..],
                            }
                        }));
                    }
                    kernel.pixel(&taps, out);
                }
            });
    }
}

impl InplaceOp2 for IntConv {
    fn name(&self) -> &'static str {
        match self.kernel {
            Kernel::Matrices(_) if self.window.is_pointwise() => "int-conv-1x1",
            Kernel::Matrices(_) => "int-conv",
            Kernel::Depthwise(_) => "int-conv-depthwise",
        }
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        input: &CpuStorage,
        input_layout: &Layout,
    ) -> Result<()> {
        let out = values_mut::<u8>(out, out_layout)?;
        let input = values::<u8>(input, input_layout)?;
        check_length("the input", input.len(), self.input.iter().product())?;
        check_length("the output", out.len(), self.output.iter().product())?;
        match &self.kernel {
            Kernel::Matrices(matrices) => self.matrices(matrices, input, out),
            Kernel::Depthwise(kernel) => self.depthwise(kernel, input, out),
        }
        Ok(())
    }
}

/// Weights `[channel][input][tap]` as `[channel][tap][input]`, the order of gathered activations.
fn taps_first(weights: &[i8], inputs: usize, taps: usize) -> Vec<i8> {
    let channels = weights.chunks_exact(inputs * taps);
    channels
        .flat_map(|channel| {
            (0..taps).flat_map(move |tap| channel.iter().skip(tap).step_by(taps).copied())
        })
        .collect()
}

/// The arithmetic of the output, in the order of operations of fbgemm for a float bias: per
/// channel the bias is divided by the scale of the accumulator, per tensor it is multiplied by
/// one over it. An int32 bias belongs to the accumulator, as in QLinearConv.
fn requantization(
    conv: &QuantizedConv,
    weights: &[i8],
    channels: usize,
    bounds: Bounds,
    output: Quantization,
) -> Requantization {
    use crate::plan::WeightScales::{PerChannel, PerTensor};

    let scale = |channel: usize| conv.input.scale * conv.weight_scales.of(channel);
    let zero = i32::from(conv.input.zero);
    let mut correction: Vec<i32> = weights
        .chunks_exact(weights.len() / channels)
        .map(|weights| -zero * weights.iter().map(|&weight| i32::from(weight)).sum::<i32>())
        .collect();
    let mut bias_factor = 1.0;
    let bias = match (&conv.bias, &conv.weight_scales) {
        (Bias::Float(bias), PerTensor(_)) => {
            bias_factor = 1.0 / scale(0);
            bias.clone()
        }
        (Bias::Float(bias), PerChannel(_)) => {
            let scaled = bias.iter().enumerate();
            scaled
                .map(|(channel, bias)| bias / scale(channel))
                .collect()
        }
        (Bias::Int32(bias), _) => {
            for (correction, &bias) in correction.iter_mut().zip(bias) {
                *correction = correction.wrapping_add(bias);
            }
            vec![0.0; channels]
        }
    };
    Requantization {
        correction,
        bias,
        bias_factor,
        factor: (0..channels)
            .map(|channel| scale(channel) / output.scale)
            .collect(),
        range: range(bounds, output),
    }
}
