//! Convolutions one after the other, some rows at a time, so that what lies between them stays in the
//! cache of the core that computes it.
//!
//! Of an inverted residual block the wide tensors in the middle are most of the memory that a pass
//! moves. Computed depth first they are never written whole: each convolution holds the rows that the
//! next one still reads, and computes every row once, but for some at the borders between threads.

use std::{cell::RefCell, ops::Range};

use candle_core::{Result, Tensor};

use super::{
    access::{check_length, map, read},
    int_conv::{IntConv, Strip},
    parallel::{for_each_part, part, threads},
};
use crate::room::Room;

/// Bytes that a thread holds between the convolutions of a chain: they stay in the second-level cache
/// with the weights and with a part of input and output.
const HELD_BYTES: usize = 1 << 19;

/// Where less lies between two convolutions it stays in the cache anyway.
const LEAST_BYTES: usize = 1 << 18;

thread_local! {
    /// The rows that are held, kept from chain to chain and from pass to pass.
    static HELD: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

/// What looks on while the convolutions of a chain run.
pub trait Meter: Sync {
    /// Calls `work`, which is a part of convolution `number`.
    fn measure(&self, number: usize, work: impl FnOnce());
}

/// Nothing does.
impl Meter for () {
    fn measure(&self, _: usize, work: impl FnOnce()) {
        work();
    }
}

/// How far the convolutions of a chain are, on their way down an image.
struct Progress<'a> {
    convolutions: &'a [&'a IntConv],
    /// By convolution but the last, the rows of its output that are held.
    held: Vec<Range<usize>>,
}

/// What one convolution does for some rows of the last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Rows to be held, of which those before `computed` are so already.
    held: Range<usize>,
    computed: Range<usize>,
}

impl<'a> Progress<'a> {
    fn new(convolutions: &'a [&'a IntConv]) -> Self {
        Self {
            convolutions,
            held: vec![0..0; convolutions.len() - 1],
        }
    }

    /// What every convolution but the last has to do before that computes `rows`, which are behind those
    /// of the call before.
    fn advance(&mut self, rows: Range<usize>) -> Vec<Part> {
        let mut parts = Vec::with_capacity(self.held.len());
        let mut computed = rows;
        for (number, before) in self.held.iter_mut().enumerate().rev() {
            let wanted = match computed.is_empty() {
                // Nothing new is read.
                true => before.clone(),
                false => self.convolutions[number + 1].reads(computed),
            };
            computed = before.end.clamp(wanted.start, wanted.end)..wanted.end;
            *before = wanted.clone();
            parts.push(Part {
                held: wanted,
                computed: computed.clone(),
            });
        }
        parts.reverse();
        parts
    }

    /// Rows of each convolution but the last that are held at most, where `rows` of the last are computed
    /// at a time: from the first row on, or from where a band begins.
    fn most_held(convolutions: &'a [&'a IntConv], rows: usize, height: usize) -> Vec<usize> {
        let mut progress = Self::new(convolutions);
        let mut most = vec![0; convolutions.len() - 1];
        for first in (0..height).step_by(rows) {
            let wanted = first..height.min(first + rows);
            let begun = Self::new(convolutions).advance(wanted.clone());
            for (number, part) in progress.advance(wanted).into_iter().enumerate() {
                most[number] = part
                    .held
                    .len()
                    .max(begun[number].held.len())
                    .max(most[number]);
            }
        }
        most
    }
}

/// How a chain is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Rows of the output of the last convolution that are computed at a time.
    rows: usize,
    /// The most bytes that are held of each convolution but the last.
    held: Vec<usize>,
}

impl Chain {
    /// Whether `first` and `second`, which reads the output of `first`, are worth being in one chain.
    pub fn joins(first: &IntConv, second: &IntConv) -> bool {
        let [_, output] = first.shapes();
        let [input, _] = second.shapes();
        !first.is_followed()
            && output == input
            && output[1..].iter().product::<usize>() >= LEAST_BYTES
    }

    /// For convolutions each of which reads the output of the one before.
    pub fn new(convolutions: &[&IntConv]) -> Option<Self> {
        let (last, others) = convolutions.split_last()?;
        let [_, [_, height, ..]] = last.shapes();
        let mut rows = height;
        loop {
            let held = Progress::most_held(convolutions, rows, height);
            let lengths = others.iter().map(|conv| conv.row_length());
            let held: Vec<usize> = held
                .iter()
                .zip(lengths)
                .map(|(n, length)| n * length)
                .collect();
            if rows == 1 || held.iter().sum::<usize>() <= HELD_BYTES {
                return Some(Self { rows, held });
            }
            rows = rows.div_ceil(2);
        }
    }

    /// Takes the memory that the calling thread holds rows in, and gives it to `touch`.
    pub fn reserve(&self, touch: impl Fn(&mut [u8])) {
        HELD.with_borrow_mut(|held| {
            for (held, &length) in self.take(held).iter_mut().zip(&self.held) {
                touch(&mut held.at_least(length)[..length]);
            }
        });
    }

    fn take<'a>(&self, held: &'a mut Vec<Room>) -> &'a mut [Room] {
        held.resize_with(held.len().max(self.held.len()), Room::default);
        &mut held[..self.held.len()]
    }

    /// Computes the output of the last convolution from the input of the first, and adds it to `others` where that follows.
    ///
    /// # Errors
    /// Fails on tensors of other shapes than theirs.
    pub fn run(
        &self,
        convolutions: &[&IntConv],
        input: &Tensor,
        others: Option<&Tensor>,
        out: &Tensor,
        meter: &impl Meter,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (convolutions.first(), convolutions.last()) else {
            return Ok(());
        };
        let ([input_shape, _], [_, output_shape]) = (first.shapes(), last.shapes());
        let length = output_shape[1..].iter().product();
        let compute = |others: Option<&[u8]>| {
            map(input, out, |input: &[u8], out: &mut [u8]| {
                check_length("the input", input.len(), input_shape.iter().product())?;
                check_length("the output", out.len(), output_shape.iter().product())?;
                if let Some(others) = others {
                    check_length("what is added", others.len(), out.len())?;
                }
                let images = input.chunks_exact(input_shape[1..].iter().product());
                let outs = out.chunks_exact_mut(length).enumerate();
                for (input, (number, out)) in images.zip(outs) {
                    let others = others.map(|others| part(others, length, number));
                    self.image(convolutions, input, others, out, meter);
                }
                Ok(())
            })
        };
        match others {
            Some(others) => read(others, |others: &[u8]| compute(Some(others))),
            None => compute(None),
        }
    }

    /// Gives every thread a band of the image.
    fn image(
        &self,
        convolutions: &[&IntConv],
        input: &[u8],
        others: Option<&[u8]>,
        out: &mut [u8],
        meter: &impl Meter,
    ) {
        let last = convolutions[convolutions.len() - 1];
        let length = last.row_length();
        let height = out.len() / length;
        let band = height.div_ceil(threads());
        for_each_part(out, band * length, |number, out| {
            let rows = number * band..number * band + out.len() / length;
            let others = others.map(|others| part(others, band * length, number));
            HELD.with_borrow_mut(|held| {
                let ends = (input, others);
                self.band(convolutions, ends, rows, out, self.take(held), meter);
            });
        });
    }

    /// Computes `rows` of the last output, which are added to `others`.
    fn band(
        &self,
        convolutions: &[&IntConv],
        (input, others): (&[u8], Option<&[u8]>),
        rows: Range<usize>,
        out: &mut [u8],
        held: &mut [Room],
        meter: &impl Meter,
    ) {
        let (last, earlier) = (
            convolutions.len() - 1,
            &convolutions[..convolutions.len() - 1],
        );
        let mut progress = Progress::new(convolutions);
        let length = self.rows * convolutions[last].row_length();
        let outs = out.chunks_mut(length).enumerate();
        for (first, (number, out)) in rows.clone().step_by(self.rows).zip(outs) {
            let others = others.map(|others| part(others, length, number));
            let before = progress.held.clone();
            let rows = first..rows.end.min(first + self.rows);
            let parts = progress.advance(rows.clone());
            let mut input = Strip {
                values: input,
                first: 0,
            };
            let stages = earlier
                .iter()
                .zip(held.iter_mut())
                .zip(before.iter().zip(&parts));
            for (number, ((conv, held), (before, part))) in stages.enumerate() {
                let length = conv.row_length();
                // A band may begin where a few rows more are held than were reserved.
                let held = held.at_least(part.held.len() * length);
                // What is still read of the rows that are there comes to the front.
                let kept = part.held.start..part.computed.start;
                if !kept.is_empty() {
                    let at = (kept.start - before.start) * length;
                    held.copy_within(at..at + kept.len() * length, 0);
                }
                // The next one may read nothing but padding; what this one would read may be gone.
                if !part.computed.is_empty() {
                    let at = kept.len() * length;
                    let new = &mut held[at..at + part.computed.len() * length];
                    meter.measure(number, || {
                        conv.compute(&input, part.computed.clone(), None, new)
                    });
                }
                input = Strip {
                    values: held,
                    first: part.held.start,
                };
            }
            meter.measure(last, || {
                convolutions[last].compute(&input, rows, others, out);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{DType, Device};
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        geometry::{Geometry, Padding},
        graph::{Arithmetic, Bias, Bounds, Quantization, QuantizedConv, Target, WeightScales},
        kernels::{self, Addition, Isa, Range, Scaling},
    };

    #[derive(Debug, Clone)]
    struct Case {
        images: usize,
        /// Height and width.
        size: [usize; 2],
        /// Of the input, then of the output of every convolution.
        channels: Vec<usize>,
        convolutions: Vec<Convolution>,
        /// Whether the last output is added to another tensor.
        adds: bool,
        /// Of the last output, at a time.
        rows: usize,
        threads: usize,
        seed: usize,
    }

    #[derive(Debug, Clone)]
    struct Convolution {
        /// Which has as many outputs as inputs.
        is_depthwise: bool,
        kernel: [usize; 2],
        strides: [usize; 2],
        dilations: [usize; 2],
        pads: [usize; 4],
    }

    fn convolution() -> impl Strategy<Value = Convolution> {
        let window = (
            [1..4_usize, 1..4_usize],
            [1..3_usize, 1..3_usize],
            [1..3_usize, 1..3_usize],
            [0..3_usize, 0..3_usize, 0..3_usize, 0..3_usize],
        );
        let window = prop_oneof![
            1 => Just(([1; 2], [1; 2], [1; 2], [0; 4])),
            2 => window,
        ];
        (any::<bool>(), window).prop_map(|(is_depthwise, window)| {
            let (kernel, strides, dilations, pads) = window;
            Convolution {
                is_depthwise,
                kernel,
                strides,
                dilations,
                pads,
            }
        })
    }

    fn case() -> impl Strategy<Value = Case> {
        (2..5_usize).prop_flat_map(|count| {
            (
                1..3_usize,
                [1..24_usize, 1..12_usize],
                vec(1..40_usize, count + 1),
                vec(convolution(), count),
                1..6_usize,
                1..4_usize,
                any::<usize>(),
                any::<bool>(),
            )
                .prop_map(
                    |(images, size, channels, convolutions, rows, threads, seed, adds)| Case {
                        images,
                        size,
                        channels,
                        convolutions,
                        adds,
                        rows,
                        threads,
                        seed,
                    },
                )
        })
    }

    impl Case {
        /// `None` where a window does not fit.
        fn operators(&self) -> Option<Vec<IntConv>> {
            let mut input = [self.images, self.size[0], self.size[1], self.channels[0]];
            let mut operators = Vec::new();
            for (number, conv) in self.convolutions.iter().enumerate() {
                let inputs = input[3];
                let (channels, groups) = match conv.is_depthwise {
                    true => (inputs, inputs),
                    false => (self.channels[number + 1], 1),
                };
                let geometry = Geometry {
                    strides: conv.strides.to_vec(),
                    dilations: conv.dilations.to_vec(),
                    padding: Padding::Explicit(conv.pads.to_vec()),
                };
                let window = geometry.window(&conv.kernel, &input[1..3]).ok()?;
                let height = window.vertical.positions(input[1])?;
                let width = window.horizontal.positions(input[2])?;
                let output = [self.images, height, width, channels];
                let [rows, columns] = conv.kernel;
                let dims = vec![channels, inputs / groups, rows, columns];
                let weights = 0..dims.iter().product::<usize>();
                let weights = weights.map(|at| ((at + number + self.seed % 251) * 37) as i8);
                let quantized = QuantizedConv {
                    groups,
                    weights: weights.collect::<Vec<_>>().into(),
                    dims,
                    weight_scales: WeightScales::PerTensor(0.01),
                    bias: Bias::Float(vec![0.3; channels]),
                    input: Quantization {
                        scale: 0.02,
                        zero: 97,
                    },
                };
                let target = Target {
                    quantization: Quantization {
                        scale: 0.3,
                        zero: 97,
                    },
                    arithmetic: Arithmetic::Fbgemm,
                };
                operators.push(IntConv::new(
                    Isa::detect(),
                    Arc::new(quantized),
                    Bounds::NONE,
                    target,
                    window,
                    [input, output],
                ));
                input = output;
            }
            Some(operators)
        }
    }

    fn addition() -> Addition {
        let (scales, zeros) = ([0.02, 0.03], [97.0, 120.0]);
        let range = Range::new(100, 100, 255);
        Addition::new(Isa::detect(), scales, zeros, Scaling::By(1.0 / 0.04), range)
    }

    fn zeros(shape: [usize; 4]) -> Tensor {
        Tensor::zeros(&shape, DType::U8, &Device::Cpu).expect("it is small")
    }

    /// The output of the chain, and that of its convolutions one by one. `None` where a window does not fit.
    fn outputs(case: &Case) -> Option<[Vec<u8>; 2]> {
        let mut operators = case.operators()?;
        let addition = addition();
        if let Some(last) = operators.last_mut().filter(|_| case.adds) {
            last.follow_with(addition);
        }
        let operators: Vec<&IntConv> = operators.iter().collect();
        let [shape, _] = operators[0].shapes();
        let values = (0..shape.iter().product()).map(|at: usize| (at * 89 + case.seed % 255) as u8);
        let input = Tensor::from_vec(values.collect::<Vec<_>>(), &shape, &Device::Cpu);
        let input = input.expect("as many values");
        let mut expected = input.clone();
        for operator in &operators {
            let out = zeros(operator.shapes()[1]);
            out.inplace_op2(&expected, *operator).expect("it fits");
            expected = out;
        }
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<u8>();
        let mut expected = flat(&expected).expect("u8");
        let shape = operators[operators.len() - 1].shapes()[1];
        let others: Vec<u8> = (0..expected.len()).map(|at| (at * 57) as u8).collect();
        if case.adds {
            kernels::add(Isa::Reference, &addition, None, &others, &mut expected);
        }
        let others = Tensor::from_vec(others, &shape, &Device::Cpu).expect("as many values");
        let others = case.adds.then_some(&others);
        let mut chain = Chain::new(&operators).expect("a chain");
        chain.rows = case.rows;
        let out = zeros(shape);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(case.threads)
            .build();
        let run = || chain.run(&operators, &input, others, &out, &());
        pool.expect("threads start").install(run).expect("it runs");
        Some([flat(&out).expect("u8"), expected])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_chain_computes_what_its_convolutions_do(case in case()) {
            if let Some([found, expected]) = outputs(&case) {
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_row_may_be_computed_from_nothing_but_padding() {
        let halves = |is_depthwise| Convolution {
            is_depthwise,
            kernel: [1; 2],
            strides: [2, 1],
            dilations: [1; 2],
            pads: [0, 0, 1, 0],
        };
        let pointwise = Convolution {
            strides: [1; 2],
            pads: [0; 4],
            ..halves(false)
        };
        let case = Case {
            images: 1,
            size: [22, 3],
            channels: vec![28, 1, 1, 1],
            convolutions: vec![halves(true), pointwise, halves(false)],
            adds: true,
            rows: 1,
            threads: 1,
            seed: 0,
        };
        let [found, expected] = outputs(&case).expect("all windows fit");
        assert_eq!(found, expected);
    }
}
