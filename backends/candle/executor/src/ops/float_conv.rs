//! Convolution on floats by the vector kernels, with the functions of its output that follow.

use candle_core::{Result as CandleResult, Storage, Tensor};

use super::{
    access::{check_length, map, values},
    operation::{ConvKind, Operator, buffer},
    permuted::contiguous,
    pointwise::Program,
};
use crate::kernels::Isa;

#[cfg(target_arch = "x86_64")]
use super::parallel::for_each_part;
#[cfg(target_arch = "x86_64")]
use crate::{
    graph::Bounds,
    kernels::float::{Dense, Finish, Planes, Shape},
};

/// A convolution over images.
pub struct FloatConv {
    isa: Isa,
    kernel: Kernel,
    /// Values of the input and of the output, of one of its planes, and channels.
    input: usize,
    output: usize,
    plane: usize,
    channels: usize,
    /// What follows it; each tensor that it reads is an input behind the first.
    program: Program,
}

#[cfg(target_arch = "x86_64")]
enum Kernel {
    Dense(Dense),
    Planes(Planes),
}

/// Elsewhere there is none.
#[cfg(not(target_arch = "x86_64"))]
enum Kernel {}

#[cfg(target_arch = "x86_64")]
impl FloatConv {
    /// Packs the weights; `None` where there are no kernels for the instruction set.
    pub fn new(
        isa: Isa,
        shape: Shape,
        weights: &[f32],
        bias: &[f32],
        bounds: Bounds,
    ) -> Option<Self> {
        let clamps = (bounds != Bounds::NONE).then_some((bounds.low, bounds.high));
        let planes = || Planes::new(isa, shape, weights, bias, clamps).map(Kernel::Planes);
        let dense = || Dense::new(isa, shape, weights, bias, clamps).map(Kernel::Dense);
        let [_, channels, height, width] = shape.output;
        Some(Self {
            isa,
            kernel: planes().or_else(dense)?,
            input: shape.input.iter().product(),
            output: shape.output.iter().product(),
            plane: height * width,
            channels,
            program: Program::default(),
        })
    }

    fn compute(&self, input: &[f32], out: &mut [f32], tensors: &[&[f32]]) -> CandleResult<()> {
        check_length("the input", input.len(), self.input)?;
        check_length("the output", out.len(), self.output)?;
        let finish = |plane: usize, start: usize, values: &mut [f32]| {
            let start = plane * self.plane + start;
            let channel = plane % self.channels;
            self.program.run(self.isa, channel, start, values, tensors);
        };
        let finish: Option<Finish<'_>> = match self.program.is_empty() {
            true => None,
            false => Some(&finish),
        };
        match &self.kernel {
            Kernel::Dense(dense) => dense.run(input, out, finish),
            Kernel::Planes(planes) => for_each_part(out, self.plane, |number, out| {
                planes.plane(number, input, out, finish);
            }),
        }
        Ok(())
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl FloatConv {
    fn compute(&self, _: &[f32], _: &mut [f32], _: &[&[f32]]) -> CandleResult<()> {
        match self.kernel {}
    }
}

impl FloatConv {
    pub fn is_followed(&self) -> bool {
        !self.program.is_empty()
    }

    /// Has it compute `program` of its output.
    pub fn follow_with(&mut self, program: Program) {
        self.program = program;
    }
}

impl Operator for FloatConv {
    fn name(&self) -> &'static str {
        #[cfg(target_arch = "x86_64")]
        match self.kernel {
            Kernel::Dense(_) => "float-conv",
            Kernel::Planes(_) => "float-conv-depthwise",
        }
        #[cfg(not(target_arch = "x86_64"))]
        "float-conv"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn as_float_conv(&mut self) -> Option<&mut FloatConv> {
        Some(self)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        let [input, others @ ..] = inputs else {
            candle_core::bail!("it has no inputs");
        };
        let others: Vec<Tensor> = others
            .iter()
            .map(|t| contiguous(t))
            .collect::<CandleResult<_>>()?;
        let guards: Vec<_> = others.iter().map(Tensor::storage_and_layout).collect();
        let tensors = guards.iter().map(|(storage, layout)| match &**storage {
            Storage::Cpu(storage) => values::<f32>(storage, layout),
            _ => candle_core::bail!("the tensor is not in the memory of the host"),
        });
        let tensors: Vec<&[f32]> = tensors.collect::<CandleResult<_>>()?;
        map(input, out, |input: &[f32], out: &mut [f32]| {
            for tensor in &tensors {
                check_length("an operand", tensor.len(), out.len())?;
            }
            self.compute(input, out, &tensors)
        })?;
        Ok(out.clone())
    }
}
