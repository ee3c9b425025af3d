//! Convolution on integers: activations u8 with the channels last, weights i8, output u8.

use std::{
    borrow::Cow,
    cell::RefCell,
    sync::{Arc, OnceLock},
};

use super::{check_length, parallel::for_each_part, range, values, values_mut};
use crate::{
    geometry::Window,
    kernels::{Columns, Depthwise, Input, Isa, Matrix, Output, Requantization, Rows},
    plan::{Bias, Bounds, Quantization, QuantizedConv},
};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result};

/// Bytes of gathered activations that one task works on: they should stay in the second-level cache.
const GATHERED: usize = 1 << 17;
/// Pixels of one task, in steps of the smallest number: a whole number of blocks of every kernel.
const PIXELS: std::ops::RangeInclusive<usize> = 16..=256;

thread_local! {
    /// Gathered activations, kept from pass to pass.
    static GATHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Likewise the columns of a depthwise convolution.
    static COLUMNS: RefCell<Columns> = const { RefCell::new(Columns::new()) };
}

enum Kernel {
    /// One matrix for every group, over the pixels that a window reads.
    Matrices(Vec<Matrix>),
    /// One weight for every tap and channel.
    Depthwise(Depthwise),
}

/// A convolution whose weights are packed when [`IntConv::kernel`] is first asked for.
pub struct IntConv {
    isa: Isa,
    conv: Arc<QuantizedConv>,
    bounds: Bounds,
    output_quantization: Quantization,
    kernel: OnceLock<Kernel>,
    window: Window,
    /// What padding reads: the zero point, once for every channel.
    padding: Vec<u8>,
    /// Number, height, width and channels.
    input: [usize; 4],
    output: [usize; 4],
}

impl IntConv {
    /// For the kernels of `isa`. Both shapes are NHWC.
    pub fn new(
        isa: Isa,
        conv: Arc<QuantizedConv>,
        bounds: Bounds,
        output_quantization: Quantization,
        input: [usize; 4],
        output: [usize; 4],
    ) -> Self {
        Self {
            isa,
            bounds,
            output_quantization,
            kernel: OnceLock::new(),
            window: conv.window,
            padding: vec![conv.input.zero; input[3]],
            conv,
            input,
            output,
        }
    }

    /// Packs the weights, unless that is done.
    pub fn pack(&self) {
        self.kernel();
    }

    pub fn is_packed(&self) -> bool {
        self.kernel.get().is_some()
    }

    /// Number, height, width and channels of the input and of the output.
    pub fn shapes(&self) -> [[usize; 4]; 2] {
        [self.input, self.output]
    }

    /// Products of the whole output, padding included, each of which is added to a sum.
    pub fn multiply_adds(&self) -> u64 {
        let inputs = self.input[3] / self.conv.groups;
        let products = self.output.iter().product::<usize>() * inputs * self.window.taps();
        products as u64
    }

    fn is_depthwise(&self) -> bool {
        let groups = self.conv.groups;
        groups == self.input[3] && groups == self.output[3]
    }

    fn kernel(&self) -> &Kernel {
        self.kernel.get_or_init(|| {
            let (conv, weights) = (&self.conv, &self.conv.weights[..]);
            let channels = self.output[3];
            let requantization = requantization(
                conv,
                weights,
                channels,
                self.bounds,
                self.output_quantization,
            );
            if self.is_depthwise() {
                let Window {
                    vertical,
                    horizontal,
                } = conv.window;
                let kernel = Depthwise::pack(
                    self.isa,
                    weights,
                    vertical.kernel,
                    horizontal,
                    &requantization,
                );
                return Kernel::Depthwise(kernel);
            }
            let taps = conv.window.taps();
            let group_inputs = self.input[3] / conv.groups;
            let group_channels = channels / conv.groups;
            let k = group_inputs * taps;
            let groups = weights.chunks_exact(group_channels * k).enumerate();
            let matrices = groups.map(|(group, weights)| {
                let first = group * group_channels;
                let part = requantization.part(first..first + group_channels, group_channels);
                Matrix::pack(self.isa, &taps_first(weights, group_inputs, taps), k, &part)
            });
            Kernel::Matrices(matrices.collect())
        })
    }

    fn matrices(&self, matrices: &[Matrix], input: &[u8], out: &mut [u8]) {
        let [_, _, _, in_channels] = self.input;
        let channels = self.output[3];
        let length = matrices.first().map_or(0, Matrix::row_length);
        let direct = self.window.is_pointwise() && matrices.len() == 1 && length == in_channels;
        let pixels = (GATHERED / length).clamp(*PIXELS.start(), *PIXELS.end());
        let pixels = pixels / PIXELS.start() * PIXELS.start();
        for_each_part(out, pixels * channels, |task, out| {
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
                copy(out, &in_line[begin * in_channels..][..line_length]);
                continue;
            }
            for (tap, out) in out.chunks_exact_mut(count).enumerate() {
                match horizontal.source(column, tap, in_width) {
                    Some(at) => {
                        copy(out, &in_line[at * in_channels + first..][..count]);
                    }
                    None => out.fill(self.padding[0]),
                }
            }
        }
    }

    fn depthwise(&self, kernel: &Depthwise, input: &[u8], out: &mut [u8]) {
        let [_, in_height, in_width, channels] = self.input;
        let [_, height, width, _] = self.output;
        let vertical = self.window.vertical;
        for_each_part(out, width * channels, |line, out| {
            let (image, row) = (line / height, line % height);
            let rows = (0..vertical.kernel).map(|tap| {
                let in_row = vertical.source(row, tap, in_height)?;
                let start = (image * in_height + in_row) * in_width * channels;
                Some(&input[start..][..in_width * channels])
            });
            let rows: Vec<Option<&[u8]>> = rows.collect();
            let input = Input {
                rows: &rows,
                width: in_width,
                padding: &self.padding,
            };
            COLUMNS.with_borrow_mut(|columns| kernel.row(&input, columns, out));
        });
    }
}

impl InplaceOp2 for IntConv {
    fn name(&self) -> &'static str {
        if self.is_depthwise() {
            "int-conv-depthwise"
        } else if self.window.is_pointwise() {
            "int-conv-1x1"
        } else {
            "int-conv"
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
        match self.kernel() {
            Kernel::Matrices(matrices) => self.matrices(matrices, input, out),
            Kernel::Depthwise(kernel) => self.depthwise(kernel, input, out),
        }
        Ok(())
    }
}

/// Copies a slice of the same length. The few bytes that a window has in a row of an image are copied as
/// two words that overlap, for which nothing is called.
#[inline]
fn copy(out: &mut [u8], from: &[u8]) {
    const WORD: usize = 8;
    if let (Some(first), Some(last)) = (from.first_chunk::<WORD>(), from.last_chunk::<WORD>())
        && (WORD..=2 * WORD).contains(&from.len())
    {
        let length = from.len();
        out[..WORD].copy_from_slice(first);
        out[length - WORD..length].copy_from_slice(last);
    } else {
        out.copy_from_slice(from);
    }
}

/// Weights `[channel][input][tap]` as `[channel][tap][input]`, the order of gathered activations.
fn taps_first(weights: &[i8], inputs: usize, taps: usize) -> Cow<'_, [i8]> {
    if taps == 1 {
        return weights.into();
    }
    let mut reordered = vec![0; weights.len()];
    let channels = weights.chunks_exact(inputs * taps);
    for (from, to) in channels.zip(reordered.chunks_exact_mut(inputs * taps)) {
        for (tap, to) in to.chunks_exact_mut(inputs).enumerate() {
            for (to, from) in to.iter_mut().zip(from.chunks_exact(taps)) {
                *to = from[tap];
            }
        }
    }
    reordered.into()
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
