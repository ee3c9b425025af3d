//! Convolution on integers: activations u8 with the channels last, weights i8, output u8.

use std::{
    borrow::Cow,
    cell::RefCell,
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::{
    access::{check_length, values, values_mut},
    parallel::{CHUNK, for_each_part, of_a_part, part, threads},
    quantize::range,
};
use crate::{
    geometry::{Span, Window},
    graph::{Arithmetic, Bias, Bounds, QuantizedConv, Target},
    kernels::{
        self, Addition, Columns, Depthwise, Input, Isa, Matrix, Output, PANEL, QUAD,
        Requantization, Rows,
    },
};
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result};

/// Pixels of a part of a product of matrices at least, where it is divided into many; and those whose results are
/// added to others together: whole blocks of every kernel.
const PIXELS: usize = 120;
/// Bytes of an image that are padded together: they stay in the second-level cache with the weights.
const LINES_BYTES: usize = 1 << 19;

thread_local! {
    /// Lines of an image with their padding, kept from pass to pass.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Likewise the columns of a depthwise convolution.
    static COLUMNS: RefCell<Columns> = const { RefCell::new(Columns::new()) };
}

enum Kernel {
    /// One matrix for every group, over the pixels that a window reads: without a window, in the image
    /// itself.
    Pointwise(Matrix),
    /// In lines of the image with their padding, where the segments of a window begin at these values.
    Windows(Vec<Matrix>, Vec<usize>),
    /// One weight for every tap and channel.
    Depthwise(Depthwise),
}

/// Some rows of an image.
#[derive(Debug, Clone, Copy)]
pub struct Strip<'a> {
    pub values: &'a [u8],
    /// The number of the first row in the image.
    pub first: usize,
}

/// A convolution whose weights are packed when [`IntConv::kernel`] is first asked for.
pub struct IntConv {
    isa: Isa,
    conv: Arc<QuantizedConv>,
    bounds: Bounds,
    output_target: Target,
    kernel: OnceLock<Kernel>,
    window: Window,
    /// A row of padding, which is the zero point.
    padding: Vec<u8>,
    /// Number, height, width and channels.
    input: [usize; 4],
    output: [usize; 4],
    /// How its results are added to another tensor of their shape, where that follows.
    addition: Option<Addition>,
}

/// How the work on an image is divided among the threads of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Division {
    Pixels,
    Channels,
}

impl IntConv {
    /// For the kernels of `isa`. Both shapes are NHWC.
    pub fn new(
        isa: Isa,
        conv: Arc<QuantizedConv>,
        bounds: Bounds,
        output_target: Target,
        window: Window,
        [input, output]: [[usize; 4]; 2],
    ) -> Self {
        Self {
            isa,
            bounds,
            output_target,
            kernel: OnceLock::new(),
            window,
            padding: vec![conv.input.zero; input[2] * input[3]],
            conv,
            input,
            output,
            addition: None,
        }
    }

    /// Adds the results to another tensor of their shape, which is the right operand.
    pub fn follow_with(&mut self, addition: Addition) {
        self.addition = Some(addition);
    }

    /// Whether its results are added to others: then it has another input.
    pub fn is_followed(&self) -> bool {
        self.addition.is_some()
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
            let requantization =
                requantization(conv, weights, channels, self.bounds, self.output_target);
            if self.is_depthwise() {
                let Window {
                    vertical,
                    horizontal,
                } = self.window;
                let kernel =
                    Depthwise::pack(self.isa, weights, [vertical, horizontal], &requantization);
                return Kernel::Depthwise(kernel);
            }
            let taps = self.window.taps();
            let group_inputs = self.input[3] / conv.groups;
            let group_channels = channels / conv.groups;
            let segments = self.segments();
            let together = groups_together(conv.groups, group_channels);
            let k = group_inputs * taps;
            let groups = weights
                .chunks_exact(together * group_channels * k)
                .enumerate();
            let matrices = groups.map(|(number, weights)| {
                let first = number * together * group_channels;
                let channels: Vec<_> = (first..first + together * group_channels)
                    .map(Some)
                    .collect();
                let part = requantization.select(&channels);
                let weights = taps_first(weights, group_inputs, taps);
                let weights = block_diagonal(weights, together, group_inputs);
                let count = segments.len();
                Matrix::pack(self.isa, &weights, count, together * k / count, &part)
            });
            let mut matrices: Vec<Matrix> = matrices.collect();
            if self.window.is_pointwise()
                && matrices.len() == 1
                && let Some(matrix) = matrices.pop_if(|m| m.segment_length() == self.input[3])
            {
                return Kernel::Pointwise(matrix);
            }
            Kernel::Windows(matrices, segments)
        })
    }

    /// Values of a line of the image with its padding.
    fn line(&self) -> usize {
        let [_, _, width, channels] = self.input;
        let Span { before, after, .. } = self.window.horizontal;
        (before + width + after) * channels
    }

    /// Where the segments of a window begin in lines below each other: what it reads of a line is one
    /// segment, unless there are gaps between its taps or only the channels of a group are read.
    fn segments(&self) -> Vec<usize> {
        let channels = self.input[3];
        let Window {
            vertical,
            horizontal,
        } = self.window;
        let is_whole = self.conv.groups == 1 && horizontal.dilation == 1;
        let taps = if is_whole { 1 } else { horizontal.kernel };
        let lines = (0..vertical.kernel).map(|line| line * vertical.dilation * self.line());
        let segments = lines
            .flat_map(|line| (0..taps).map(move |tap| line + tap * horizontal.dilation * channels));
        segments.collect()
    }

    /// All pixels of all images.
    fn pointwise(&self, matrix: &Matrix, input: &[u8], others: Option<&[u8]>, out: &mut [u8]) {
        let [in_channels, channels] = [self.input[3], self.output[3]];
        let pixels = out.len() / channels;
        if self.division(matrix, pixels, pixels.div_ceil(threads())) == Division::Channels {
            let rows = Rows::in_line(input, in_channels, pixels);
            matrix.multiply_by_channels(&rows, &mut Output::new(out, channels));
            self.add_in_parts(others, out);
            return;
        }
        let pixels = of_a_part(pixels, PIXELS);
        for_each_part(out, pixels * channels, |number, out| {
            let values = part(input, pixels * in_channels, number);
            let others = others.map(|others| part(others, pixels * channels, number));
            self.pixels(matrix, values, others, out);
        });
    }

    /// Some pixels beside each other, on the calling thread.
    fn pixels(&self, matrix: &Matrix, input: &[u8], others: Option<&[u8]>, out: &mut [u8]) {
        let [in_channels, channels] = [self.input[3], self.output[3]];
        // So few that they are still in the first-level cache, or nearly so, when they are added to others.
        let together = match others {
            Some(_) => PIXELS,
            None => out.len() / channels,
        };
        let length = together.max(1) * channels;
        for (number, out) in out.chunks_mut(length).enumerate() {
            let count = out.len() / channels;
            let values = &input[number * together * in_channels..][..count * in_channels];
            let rows = Rows::in_line(values, in_channels, count);
            matrix.multiply(&rows, &mut Output::new(out, channels));
            self.add(others.map(|others| part(others, length, number)), out);
        }
    }

    /// Adds results to others, where that follows.
    fn add(&self, others: Option<&[u8]>, out: &mut [u8]) {
        if let Some((addition, others)) = self.addition.as_ref().zip(others) {
            kernels::add(self.isa, addition, None, others, out);
        }
    }

    /// [`Self::add`] on all threads.
    fn add_in_parts(&self, others: Option<&[u8]>, out: &mut [u8]) {
        if let Some(others) = others.filter(|_| self.is_followed()) {
            let length = of_a_part(out.len(), CHUNK);
            for_each_part(out, length, |number, out| {
                self.add(Some(part(others, length, number)), out);
            });
        }
    }

    /// How the threads share an image of as many pixels, of which one computes at most `of_thread` if they share these.
    /// Where they share the channels, each reads some of the weights, and all activations.
    fn division(&self, matrix: &Matrix, pixels: usize, of_thread: usize) -> Division {
        let threads = threads();
        if threads == 1 {
            return Division::Pixels;
        }
        let channels = matrix.channels();
        let parts = matrix.parts(threads).into_iter();
        let largest = parts.map(|part| part.len()).max().unwrap_or(channels);
        // As fractions of all.
        let are_as_even = largest * pixels <= of_thread * channels;
        let activations = self.input[1..].iter().product::<usize>();
        match are_as_even && self.conv.weights.len() > activations {
            true => Division::Channels,
            false => Division::Pixels,
        }
    }

    /// Lines of the input, from the padding above on, that rows of the output are computed from, those
    /// between them included.
    fn lines(&self, rows: &Range<usize>) -> Range<usize> {
        let vertical = self.window.vertical;
        let reach = (vertical.kernel - 1) * vertical.dilation + 1;
        rows.start * vertical.stride..(rows.end - 1) * vertical.stride + reach
    }

    /// Rows of the output whose padded input fits into the second-level cache with the weights.
    fn rows_together(&self) -> usize {
        let reach = self.lines(&(0..1)).len();
        let lines = LINES_BYTES / self.line();
        lines.saturating_sub(reach) / self.window.vertical.stride + 1
    }

    /// Rows of the output from `input`: where it lies, if nothing of it is padding, or from a copy of its
    /// lines with their padding.
    fn windows(
        &self,
        (matrices, segments): (&[Matrix], &[usize]),
        division: Division,
        input: &Strip<'_>,
        rows: Range<usize>,
        out: &mut [u8],
    ) {
        let Span { before, .. } = self.window.vertical;
        let lines = self.lines(&rows);
        let inside = lines.start >= before && lines.end - before <= self.input[1];
        if inside && self.line() == self.input[2] * self.input[3] {
            let start = (lines.start - before - input.first) * self.line();
            let values = &input.values[start..];
            if self.multiply((matrices, segments), division, values, rows.len(), out) {
                return;
            }
        }
        // Not borrowed: while the threads of a pool share the channels, this one may begin other work.
        let mut copy = LINES.take();
        // Kernels read whole quads, the last of which may begin at the very last value.
        let length = lines.len() * self.line() + QUAD;
        copy.resize(copy.len().max(length), 0);
        for (line, copy) in lines.zip(copy.chunks_exact_mut(self.line())) {
            let row = line.checked_sub(before).filter(|&row| row < self.input[1]);
            self.copy_line(row.map(|row| self.row_of(input, row)), copy);
        }
        let values = &copy[..length];
        let is_done = self.multiply((matrices, segments), division, values, rows.len(), out);
        assert!(is_done, "whole windows");
        LINES.set(copy);
    }

    /// Computes rows of the output from lines with their padding; `false`, and nothing, where these end
    /// before the last quad does that a kernel reads.
    fn multiply(
        &self,
        (matrices, segments): (&[Matrix], &[usize]),
        division: Division,
        lines: &[u8],
        count: usize,
        out: &mut [u8],
    ) -> bool {
        let [in_channels, channels] = [self.input[3], self.output[3]];
        let [_, _, width, _] = self.output;
        let inputs = in_channels / matrices.len();
        let rows = |group: usize| Rows {
            values: &lines[group * inputs..],
            stride: self.window.horizontal.stride * in_channels,
            count: count * width,
            width,
            line: self.window.vertical.stride * self.line(),
            segments,
        };
        let mut last = matrices.last().into_iter();
        if !last.all(|matrix| rows(matrices.len() - 1).hold(matrix.segment_length())) {
            return false;
        }
        let mut channel = 0;
        for (group, matrix) in matrices.iter().enumerate() {
            let mut out = Output::new(&mut out[channel..], channels);
            match division {
                Division::Pixels => matrix.multiply(&rows(group), &mut out),
                Division::Channels => matrix.multiply_by_channels(&rows(group), &mut out),
            }
            channel += matrix.channels();
        }
        true
    }

    /// A row of an image with its padding; `None` is all padding.
    fn copy_line(&self, row: Option<&[u8]>, out: &mut [u8]) {
        let Some(row) = row else {
            out.fill(self.conv.input.zero);
            return;
        };
        let (before, rest) = out.split_at_mut(self.window.horizontal.before * self.input[3]);
        let (inside, after) = rest.split_at_mut(row.len());
        before.fill(self.conv.input.zero);
        inside.copy_from_slice(row);
        after.fill(self.conv.input.zero);
    }

    /// As many rows of the output as are computed together, or fewer.
    fn depthwise(&self, kernel: &Depthwise, input: &Strip<'_>, rows: Range<usize>, out: &mut [u8]) {
        let [_, in_height, in_width, _] = self.input;
        let vertical = self.window.vertical;
        // What more than one row reads lies below each other without gaps.
        let read = (0..vertical.kernel + rows.len() - 1).map(|tap| {
            let source = vertical.source(rows.start, tap, in_height)?;
            Some(self.row_of(input, source))
        });
        let read: Vec<Option<&[u8]>> = read.collect();
        let input = Input {
            rows: &read,
            width: in_width,
            padding: &self.padding,
        };
        COLUMNS.with_borrow_mut(|columns| kernel.rows(&input, columns, out));
    }

    fn row_of<'a>(&self, input: &Strip<'a>, row: usize) -> &'a [u8] {
        let [_, _, width, channels] = self.input;
        let length = width * channels;
        &input.values[(row - input.first) * length..][..length]
    }

    /// The values of a row of the output.
    pub fn row_length(&self) -> usize {
        let [_, _, width, channels] = self.output;
        width * channels
    }

    /// The rows of the input from which rows of the output are computed.
    pub fn reads(&self, rows: Range<usize>) -> Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        let Span {
            kernel,
            stride,
            dilation,
            before,
            ..
        } = self.window.vertical;
        let height = self.input[1];
        let first = rows.start * stride;
        let last = (rows.end - 1) * stride + (kernel - 1) * dilation;
        let start = first.saturating_sub(before).min(height);
        start..(last + 1).saturating_sub(before).clamp(start, height)
    }

    /// Computes rows of the output of one image on the calling thread. `input` holds those that
    /// [`Self::reads`] tells, `others` the same rows of what the results are added to.
    pub fn compute(
        &self,
        input: &Strip<'_>,
        rows: Range<usize>,
        others: Option<&[u8]>,
        out: &mut [u8],
    ) {
        let length = self.row_length();
        match self.kernel() {
            Kernel::Pointwise(matrix) => {
                let [_, _, width, in_channels] = self.input;
                let from = (rows.start - input.first) * width * in_channels;
                let values = &input.values[from..][..rows.len() * width * in_channels];
                self.pixels(matrix, values, others, out);
            }
            Kernel::Windows(matrices, segments) => {
                let together = self.rows_together();
                let outs = out.chunks_mut(together * length).enumerate();
                for ((number, out), first) in outs.zip(rows.clone().step_by(together)) {
                    let rows = first..rows.end.min(first + together);
                    self.windows((matrices, segments), Division::Pixels, input, rows, out);
                    self.add(
                        others.map(|others| part(others, together * length, number)),
                        out,
                    );
                }
            }
            Kernel::Depthwise(kernel) => {
                let together = kernel.together();
                let outs = out.chunks_mut(together * length);
                for (first, out) in rows.clone().step_by(together).zip(outs) {
                    let rows = first..rows.end.min(first + together);
                    self.depthwise(kernel, input, rows, out);
                }
                self.add(others, out);
            }
        }
    }

    /// Computes the output of whole images, `rows` rows of it at a time.
    fn images(&self, input: &[u8], others: Option<&[u8]>, out: &mut [u8], rows: usize) {
        self.for_each_image(input, others, out, |values, others, out| {
            let length = rows * self.row_length();
            for_each_part(out, length, |number, out| {
                let first = number * rows;
                let rows = first..first + out.len() / self.row_length();
                let others = others.map(|others| part(others, length, number));
                self.compute(&Strip { values, first: 0 }, rows, others, out);
            });
        });
    }

    fn for_each_image(
        &self,
        input: &[u8],
        others: Option<&[u8]>,
        out: &mut [u8],
        work: impl Fn(&[u8], Option<&[u8]>, &mut [u8]),
    ) {
        let length = self.output[1..].iter().product();
        let images = input.chunks_exact(self.input[1..].iter().product());
        let outs = out.chunks_exact_mut(length).enumerate();
        for (values, (number, out)) in images.zip(outs) {
            let others = others.map(|others| part(others, length, number));
            work(values, others, out);
        }
    }

    fn forward(&self, input: &[u8], others: Option<&[u8]>, out: &mut [u8]) -> Result<()> {
        check_length("the input", input.len(), self.input.iter().product())?;
        check_length("the output", out.len(), self.output.iter().product())?;
        if let Some(others) = others {
            check_length("what is added", others.len(), out.len())?;
        }
        let [_, height, width, _] = self.output;
        match self.kernel() {
            Kernel::Pointwise(matrix) => self.pointwise(matrix, input, others, out),
            Kernel::Windows(matrices, segments) => {
                let together = self.rows_together();
                let of_thread = height.div_ceil(threads()) * width;
                if let [matrix] = &matrices[..]
                    && height <= together
                    && self.division(matrix, height * width, of_thread) == Division::Channels
                {
                    let kernel = (&matrices[..], &segments[..]);
                    self.for_each_image(input, others, out, |values, others, out| {
                        let input = Strip { values, first: 0 };
                        self.windows(kernel, Division::Channels, &input, 0..height, out);
                        self.add_in_parts(others, out);
                    });
                    return Ok(());
                }
                let rows = of_a_part(height, PIXELS.div_ceil(width));
                self.images(input, others, out, rows.min(together));
            }
            Kernel::Depthwise(kernel) => {
                let together = kernel.together();
                self.images(input, others, out, together);
            }
        }
        Ok(())
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
        self.forward(values::<u8>(input, input_layout)?, None, out)
    }
}

/// The results are added to the third tensor.
impl InplaceOp3 for IntConv {
    fn name(&self) -> &'static str {
        InplaceOp2::name(self)
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        input: &CpuStorage,
        input_layout: &Layout,
        others: &CpuStorage,
        others_layout: &Layout,
    ) -> Result<()> {
        let out = values_mut::<u8>(out, out_layout)?;
        let others = values::<u8>(others, others_layout)?;
        self.forward(values::<u8>(input, input_layout)?, Some(others), out)
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

/// How many groups are computed as one product of matrices: the channels of vectors that a single group
/// leaves empty are free.
fn groups_together(groups: usize, channels: usize) -> usize {
    let most = groups.min(PANEL / channels.clamp(1, PANEL));
    let mut numbers = (1..=most).rev();
    numbers
        .find(|&number| groups.is_multiple_of(number))
        .unwrap_or(1)
}

/// The weights of groups, `[group][channel][tap][input]`, for the inputs of all of them together. Those of
/// other groups count for nothing.
fn block_diagonal(weights: Cow<'_, [i8]>, groups: usize, inputs: usize) -> Cow<'_, [i8]> {
    if groups == 1 {
        return weights;
    }
    let mut together = vec![0; weights.len() * groups];
    let of_group = weights.len() / groups / inputs;
    let runs = weights
        .chunks_exact(inputs)
        .zip(together.chunks_exact_mut(groups * inputs));
    for (number, (from, to)) in runs.enumerate() {
        to[number / of_group * inputs..][..inputs].copy_from_slice(from);
    }
    together.into()
}

/// The arithmetic of the output, in the order of operations of fbgemm for a float bias: per
/// channel the bias is divided by the scale of the accumulator, per tensor it is multiplied by
/// one over it. An int32 bias belongs to the accumulator, as in QLinearConv. ONNX's QuantizeLinear divides
/// by the scale of the output.
fn requantization(
    conv: &QuantizedConv,
    weights: &[i8],
    channels: usize,
    bounds: Bounds,
    output: Target,
) -> Requantization {
    use crate::graph::WeightScales::{PerChannel, PerTensor};

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
    let output_scale = output.quantization.scale;
    let divides = output.arithmetic == Arithmetic::Onnx;
    let factor = (0..channels).map(|channel| match divides {
        true => scale(channel),
        false => scale(channel) / output_scale,
    });
    let range = range(bounds, output);
    let requantization =
        Requantization::new(correction, bias, bias_factor, factor.collect(), range);
    match divides {
        true => {
            let rest = (0..channels).map(|channel| {
                let [input, weight] = [conv.input.scale, conv.weight_scales.of(channel)];
                (f64::from(input) * f64::from(weight) - f64::from(scale(channel))) as f32
            });
            requantization.divided(output_scale, rest.collect())
        }
        false => requantization,
    }
}
