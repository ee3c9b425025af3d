//! Every instruction set of this machine against the reference.

use proptest::{collection::vec, prelude::*};
use rayon::ThreadPool;

use super::{
    Addition, Channels, Columns, Depthwise, Input, Isa, MAX_PRODUCTS, Matrix, Output, Range,
    Requantization, Rows, Scaling, Source, add, look_up, quantize,
};
use crate::geometry::Span;

fn range() -> impl Strategy<Value = Range> {
    let zero = prop_oneof![Just(0), any::<u8>()];
    let high = prop_oneof![Just(u8::MAX), any::<u8>()];
    (zero, any::<bool>(), high).prop_map(|(zero, relu, high)| match relu {
        true => Range::new(zero, zero, high.max(zero)),
        false => Range::new(zero, 0, high),
    })
}

fn scaling(of: std::ops::Range<f32>) -> impl Strategy<Value = Scaling> {
    prop_oneof![of.clone().prop_map(Scaling::Over), of.prop_map(Scaling::By)]
}

/// Factors that spread sums of `products` products over the range of the output and beyond it.
fn requantization(channels: usize, products: usize) -> impl Strategy<Value = Requantization> {
    let spread = 40.0 / (products as f32).sqrt();
    (
        vec(-100_000..100_000_i32, channels),
        // None, as where the biases of a file are integers.
        prop_oneof![vec(-1e6..1e6_f32, channels), Just(vec![0.0; channels])],
        prop_oneof![8 => Just(1.0_f32), 8 => 0.001..10.0_f32, 1 => Just(f32::INFINITY)],
        prop_oneof![
            4 => vec(spread * 1e-4..spread * 1e-2, channels),
            // Beyond what i32 holds.
            1 => vec(prop_oneof![1e3..1e6_f32, Just(f32::MAX), Just(f32::NAN)], channels),
        ],
        range(),
        prop_oneof![Just(None), (0.5..2.0_f32).prop_map(Some)],
    )
        .prop_map(|(correction, bias, bias_factor, factor, range, divisor)| {
            let requantization = Requantization::new(correction, bias, bias_factor, factor, range);
            match divisor {
                None => requantization,
                Some(divisor) => {
                    let rest = requantization.factor.iter().map(|factor| factor * 1e-8);
                    let rest = rest.collect();
                    requantization.divided(divisor, rest)
                }
            }
        })
}

#[derive(Debug)]
struct MatrixCase {
    /// Of a segment.
    k: usize,
    segments: Vec<usize>,
    count: usize,
    stride: usize,
    /// Rows of a line, and from a line to the next.
    width: usize,
    line: usize,
    out_stride: usize,
    weights: Vec<i8>,
    values: Vec<u8>,
    requantization: Requantization,
}

fn matrix_case() -> impl Strategy<Value = MatrixCase> {
    let sizes = (
        1..80_usize,
        1..180_usize,
        prop_oneof![1..40_usize, 110..140_usize],
        // Windows overlap where the stride is small.
        0..90_usize,
        0..9_usize,
        vec(0..200_usize, 1..4),
        (1..50_usize, 0..400_usize),
    );
    sizes.prop_flat_map(|(k, channels, count, stride, out_gap, segments, lines)| {
        let (width, line) = lines;
        let last = segments.iter().max().copied().unwrap_or(0);
        let starts = (0..count).map(|row| row / width * line + row % width * stride);
        let length = starts.max().unwrap_or(0) + last + k.next_multiple_of(4);
        let products = segments.len() * k;
        (
            vec(any::<i8>(), channels * products),
            prop_oneof![vec(any::<u8>(), length), vec(0..128_u8, length)],
            requantization(channels, products),
        )
            .prop_map(move |(weights, values, requantization)| MatrixCase {
                k,
                segments: segments.clone(),
                count,
                stride,
                width,
                line,
                out_stride: channels + out_gap,
                weights,
                values,
                requantization,
            })
    })
}

impl MatrixCase {
    /// Where there are threads, these share the channels.
    fn run(&self, isa: Isa, pool: Option<&ThreadPool>) -> Vec<u8> {
        let matrix = Matrix::pack(
            isa,
            &self.weights,
            self.segments.len(),
            self.k,
            &self.requantization,
        );
        let rows = Rows {
            values: &self.values,
            stride: self.stride,
            count: self.count,
            width: self.width,
            line: self.line,
            segments: &self.segments,
        };
        let mut out = vec![7; self.count * self.out_stride];
        let mut output = Output::new(&mut out, self.out_stride);
        match pool {
            None => matrix.multiply(&rows, &mut output),
            Some(pool) => pool.install(|| matrix.multiply_by_channels(&rows, &mut output)),
        }
        out
    }
}

#[derive(Debug)]
struct DepthwiseCase {
    /// Which rows are not in the padding, of those that the windows of two rows of outputs read.
    rows: Vec<bool>,
    vertical: Span,
    horizontal: Span,
    /// Columns of the input.
    width: usize,
    zero: u8,
    weights: Vec<i8>,
    values: Vec<u8>,
    requantization: Requantization,
}

fn span() -> impl Strategy<Value = Span> {
    (1..6_usize, 1..4_usize, 1..4_usize).prop_flat_map(|(kernel, stride, dilation)| {
        let padding = 0..=(kernel - 1) * dilation;
        (padding.clone(), padding).prop_map(move |(before, after)| Span {
            kernel,
            stride,
            dilation,
            before,
            after,
        })
    })
}

fn depthwise_case() -> impl Strategy<Value = DepthwiseCase> {
    let sizes = (
        vec(any::<bool>(), 2..14),
        span(),
        1..180_usize,
        0..150_usize,
    );
    sizes.prop_flat_map(|(rows, horizontal, channels, more)| {
        // At least one window fits.
        let reach = (horizontal.kernel - 1) * horizontal.dilation + 1;
        let width = (reach + more)
            .saturating_sub(horizontal.before + horizontal.after)
            .max(1);
        let vertical = Span {
            kernel: rows.len() - 1,
            stride: 1,
            dilation: 1,
            before: 0,
            after: 0,
        };
        let taps = vertical.kernel * horizontal.kernel;
        (
            vec(any::<i8>(), channels * taps),
            vec(any::<u8>(), channels * width * rows.len()),
            any::<u8>(),
            requantization(channels, taps),
        )
            .prop_map(
                move |(weights, values, zero, requantization)| DepthwiseCase {
                    rows: rows.clone(),
                    vertical,
                    horizontal,
                    width,
                    zero,
                    weights,
                    values,
                    requantization,
                },
            )
    })
}

impl DepthwiseCase {
    fn run(&self, isa: Isa, columns: &mut Columns) -> Vec<u8> {
        let channels = self.requantization.bias.len();
        let kernel = Depthwise::pack(
            isa,
            &self.weights,
            [self.vertical, self.horizontal],
            &self.requantization,
        );
        let rows = self.values.chunks_exact(channels * self.width);
        let rows: Vec<Option<&[u8]>> = rows
            .zip(&self.rows)
            .map(|(row, there)| there.then_some(row))
            .collect();
        let padding = vec![self.zero; channels * self.width];
        let length = self.horizontal.positions(self.width).unwrap_or(0) * channels;
        let mut out = vec![0; 2 * length];
        let together = kernel.together();
        for (first, out) in (0..2)
            .step_by(together)
            .zip(out.chunks_mut(together * length))
        {
            let input = Input {
                rows: &rows[first..][..self.vertical.kernel + together - 1],
                width: self.width,
                padding: &padding,
            };
            kernel.rows(&input, columns, out);
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn matrices_agree(case in matrix_case()) {
        let expected = case.run(Isa::Reference, None);
        for isa in Isa::available() {
            prop_assert_eq!(&case.run(isa, None), &expected, "{}", isa.name());
        }
    }

    #[test]
    fn matrices_agree_where_threads_share_the_channels(case in matrix_case()) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads start");
        let expected = case.run(Isa::Reference, None);
        for isa in Isa::available() {
            prop_assert_eq!(&case.run(isa, Some(&pool)), &expected, "{}", isa.name());
        }
    }

    #[test]
    fn depthwise_agrees(case in depthwise_case()) {
        // What another call has left there must not matter.
        let mut columns = Columns::new();
        let expected = case.run(Isa::Reference, &mut columns);
        for isa in Isa::available() {
            prop_assert_eq!(&case.run(isa, &mut columns), &expected, "{}", isa.name());
        }
    }

    #[test]
    fn additions_agree(
        operands in vec((any::<u8>(), any::<u8>()), 0..200),
        scales in (0.01..1.0_f32, 0.01..1.0_f32),
        zeros in (any::<u8>(), any::<u8>()),
        scaling in scaling(0.5..20.0_f32),
        range in range(),
    ) {
        let zeros = [zeros.0, zeros.1].map(f32::from);
        let (left, right): (Vec<u8>, Vec<u8>) = operands.into_iter().unzip();
        let run = |isa| {
            let mut out = vec![0; left.len()];
            let addition = Addition::new(isa, scales.into(), zeros, scaling, range);
            add(isa, &addition, Some(&left), &right, &mut out);
            // The same in place, and of operands in the other order.
            let mut sums = left.clone();
            add(isa, &addition, None, &right, &mut sums);
            assert_eq!(sums, out, "{}", isa.name());
            let mut sums = right.clone();
            add(isa, &addition.swapped(), None, &left, &mut sums);
            assert_eq!(sums, out, "{}", isa.name());
            out
        };
        for isa in Isa::available() {
            prop_assert_eq!(run(isa), run(Isa::Reference), "{}", isa.name());
        }
    }

    #[test]
    fn quantizing_agrees(
        values in vec(any::<f32>(), 0..200),
        scaling in scaling(1e-3..1e3_f32),
        range in range(),
    ) {
        let run = |isa| {
            let mut out = vec![0; values.len()];
            quantize(isa, scaling, range, &values, &mut out);
            out
        };
        for isa in Isa::available() {
            prop_assert_eq!(run(isa), run(Isa::Reference), "{}", isa.name());
        }
    }
}

/// The channels of some inputs, and those of an output that is made of them.
fn gathered() -> impl Strategy<Value = (Vec<usize>, Vec<Source>)> {
    vec(1..150_usize, 1..4).prop_flat_map(|inputs| {
        let of = inputs.clone();
        let source = (0..inputs.len(), any::<usize>()).prop_map(move |(input, number)| Source {
            input,
            channel: number % of[input],
        });
        // Each by itself, and neighbours.
        let sources = (vec(source, 1..200), 1..80_usize);
        let of = inputs.clone();
        let sources = sources.prop_map(move |(sources, run)| {
            let neighbours = sources.iter().flat_map(|&Source { input, channel }| {
                let run = channel..of[input].min(channel + run);
                run.map(move |channel| Source { input, channel })
            });
            neighbours.take(300).collect()
        });
        (Just(inputs), sources)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn bytes_are_looked_up(bytes in vec(any::<u8>(), 0..300), table in vec(any::<u8>(), 256)) {
        let table: [u8; 256] = table.try_into().expect("as many");
        let expected: Vec<u8> = bytes.iter().map(|&byte| table[usize::from(byte)]).collect();
        for isa in Isa::available() {
            let mut out = vec![0; bytes.len()];
            look_up(isa, &table, &bytes, &mut out);
            prop_assert_eq!(&out, &expected, "{}", isa.name());
        }
    }

    #[test]
    fn channels_are_gathered((widths, sources) in gathered(), pixels in 1..5_usize) {
        let inputs: Vec<Vec<u8>> = widths
            .iter()
            .enumerate()
            .map(|(input, width)| (0..width * pixels).map(|at| (at * 37 + input * 101) as u8).collect())
            .collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let value = |pixel: usize, of: &Source| inputs[of.input][pixel * widths[of.input] + of.channel];
        let pixel = |pixel| sources.iter().map(move |of| value(pixel, of));
        let expected: Vec<u8> = (0..pixels).flat_map(pixel).collect();
        let channels = Channels::new(&widths, &sources);
        for isa in Isa::available() {
            let mut out = vec![0; expected.len()];
            channels.gather(isa, &inputs, &mut out);
            prop_assert_eq!(&out, &expected, "{}", isa.name());
        }
    }
}

#[test]
fn rounds_half_to_even_and_saturates() {
    let range = Range::new(10, 10, 200);
    for (value, expected) in [
        (0.5, 10),
        (1.5, 12),
        (2.5, 12),
        (-3.0, 10),
        (189.5, 200),
        (1e30, 200),
        (f32::INFINITY, 200),
        (f32::NEG_INFINITY, 10),
        (f32::NAN, 10),
    ] {
        assert_eq!(range.round(value), expected, "{value}");
    }
}

/// The largest sums that a convolution may have: saturation anywhere would show.
#[test]
fn extreme_sums_are_exact() {
    for weight in [i8::MIN, i8::MAX] {
        let case = MatrixCase {
            k: MAX_PRODUCTS,
            segments: vec![0],
            count: 1,
            stride: MAX_PRODUCTS.next_multiple_of(4),
            width: 1,
            line: 0,
            out_stride: 1,
            weights: vec![weight; MAX_PRODUCTS],
            values: vec![255; MAX_PRODUCTS.next_multiple_of(4)],
            requantization: Requantization::new(
                vec![0],
                vec![0.0],
                1.0,
                vec![100.0 / i32::MAX as f32],
                Range::new(128, 0, 255),
            ),
        };
        let expected = if weight < 0 { 128 - 100 } else { 128 + 99 };
        for isa in Isa::available() {
            assert_eq!(case.run(isa, None), [expected], "{}", isa.name());
        }
    }
}

/// The vector kernels look once whether rows fit, and then read and write without looking: no number may
/// wrap there.
#[test]
fn rows_that_do_not_fit_are_refused() {
    let case = |stride| MatrixCase {
        k: 4,
        segments: vec![0],
        count: 3,
        stride,
        width: usize::MAX,
        line: 0,
        out_stride: 64,
        weights: vec![1; 64 * 4],
        values: vec![1; 3 * 4],
        requantization: Requantization::new(
            vec![0; 64],
            vec![0.0; 64],
            1.0,
            vec![1.0; 64],
            Range::new(0, 0, 255),
        ),
    };
    let refusal = |isa, stride, [width, line]: [usize; 2], out_stride| {
        let case = case(stride);
        let matrix = Matrix::pack(isa, &case.weights, 1, case.k, &case.requantization);
        let multiply = || {
            let rows = Rows {
                values: &case.values,
                stride,
                count: case.count,
                width,
                line,
                segments: &case.segments,
            };
            let mut values = vec![0; 3 * 64];
            let values = &mut values;
            matrix.multiply(&rows, &mut Output::new(values, out_stride));
        };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(multiply));
        let message = panic.err().and_then(|panic| panic.downcast::<&str>().ok());
        message.map_or("", |message| *message)
    };
    for isa in Isa::available() {
        let one = [usize::MAX, 0];
        assert_eq!(refusal(isa, 4, one, 64), "", "{}", isa.name());
        for stride in [5, usize::MAX / 2, 1 << (usize::BITS - 1)] {
            assert_eq!(refusal(isa, stride, one, 64), "whole segments");
            // Lines that lie as far apart, of one row and of two, and a short last line.
            assert_eq!(refusal(isa, 4, [1, stride], 64), "whole segments");
            assert_eq!(refusal(isa, 4, [2, stride + 8], 64), "whole segments");
            assert_eq!(refusal(isa, stride + 4, [2, 0], 64), "whole segments");
        }
        assert_eq!(refusal(isa, 4, [2, 8], 64), "", "{}", isa.name());
        assert_eq!(refusal(isa, 4, [0, 0], 64), "whole segments");
        for stride in [65, usize::MAX / 2, 1 << (usize::BITS - 1)] {
            assert_eq!(refusal(isa, 4, one, stride), "room for all rows");
        }
    }
}

/// A window that moves by so much has one place, but its columns must not be looked for far away.
#[test]
fn a_stride_beyond_all_columns_reads_none_of_them() {
    let channels = 16;
    let case = DepthwiseCase {
        rows: vec![true; 2],
        vertical: Span {
            kernel: 1,
            stride: 1,
            dilation: 1,
            before: 0,
            after: 0,
        },
        horizontal: Span {
            kernel: 3,
            // Three times this is all that a number can hold.
            stride: usize::MAX / 3,
            dilation: 1,
            before: 0,
            after: 0,
        },
        width: 3,
        zero: 0,
        weights: vec![1; 3 * channels],
        values: (0..2 * 3 * 16).collect(),
        requantization: Requantization::new(
            vec![0; channels],
            vec![0.0; channels],
            1.0,
            vec![0.25; channels],
            Range::new(0, 0, 255),
        ),
    };
    let expected = case.run(Isa::Reference, &mut Columns::new());
    for isa in Isa::available() {
        let found = case.run(isa, &mut Columns::new());
        assert_eq!(found, expected, "{}", isa.name());
    }
}
