//! What is computed for every channel of an image with numbers of its own.

use std::sync::Arc;

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{check_length, map},
    operation::{Compiled, Inputs, Operation, Operator, Writing, buffer, expect_type, first},
    parallel::for_each_part,
    pointwise::Pointwise,
    unary::clamp,
};
use crate::{
    graph::{Bounds, Node},
    kernels::Isa,
};

/// BatchNormalization with the statistics of the file.
#[derive(Debug)]
pub struct BatchNorm {
    epsilon: f32,
    bounds: Bounds,
}

impl BatchNorm {
    /// # Errors
    /// Fails where the statistics are those of the batch.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        if node.int("training_mode")?.unwrap_or(0) != 0 {
            return Err(node.unsupported("it is in training"));
        }
        Ok(Box::new(Self {
            epsilon: node.float("epsilon").unwrap_or(1e-5),
            bounds: Bounds::NONE,
        }))
    }
}

impl Operation for BatchNorm {
    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn may_vary(&self, _: usize) -> bool {
        true
    }

    fn absorb(&mut self, bounds: Bounds) -> bool {
        self.bounds = self.bounds.then(bounds);
        true
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        expect_type(fact.dtype, DType::F32)?;
        let [_, channels, pixels @ ..] = &fact.dims[..] else {
            return Err(Error::unsupported("its input has no channels"));
        };
        let pixels = pixels.iter().product();
        let parameters = [1, 2, 3, 4].map(|position| inputs.floats(position));
        let [scale, bias, mean, variance] = parameters;
        let [scale, bias, mean, variance] = [scale?, bias?, mean?, variance?];
        if [&scale, &bias, &mean, &variance]
            .iter()
            .any(|values| values.len() != *channels)
        {
            return Err(Error::engine(format!("it is not of {channels} channels")));
        }
        let factors = scale.iter().zip(&variance);
        let factors: Vec<f32> = factors
            .map(|(scale, variance)| scale / (variance + self.epsilon).sqrt())
            .collect();
        let offsets = bias.iter().zip(&mean).zip(&factors);
        let offsets: Vec<f32> = offsets
            .map(|((bias, mean), factor)| bias - mean * factor)
            .collect();
        let operator = Scale {
            scaled: Arc::new(Scaled {
                factors,
                offsets,
                bounds: self.bounds,
            }),
            pixels,
            isa: inputs.isa,
        };
        Ok(Compiled::written(operator, &fact.dims, DType::F32))
    }
}

/// A factor and an offset for every channel, and bounds.
#[derive(Debug)]
pub struct Scaled {
    factors: Vec<f32>,
    offsets: Vec<f32>,
    bounds: Bounds,
}

impl Scaled {
    /// Writes what becomes of values of `channel` into `out`, on the calling thread.
    pub fn apply(&self, isa: Isa, channel: usize, input: &[f32], out: &mut [f32]) {
        let (factor, offset) = (self.factors[channel], self.offsets[channel]);
        let Bounds { low, high } = self.bounds;
        isa.run(|| {
            for (out, &value) in out.iter_mut().zip(input) {
                *out = clamp(value * factor + offset, low, high);
            }
        });
    }
}

/// [`Scaled`] of a tensor.
struct Scale {
    scaled: Arc<Scaled>,
    /// Values of a plane.
    pixels: usize,
    isa: Isa,
}

impl Operator for Scale {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        let (pixels, channels) = (self.pixels, self.scaled.factors.len());
        map(first(inputs)?, out, |input: &[f32], out: &mut [f32]| {
            check_length("the input", input.len(), out.len())?;
            for_each_part(out, pixels, |plane, out| {
                let input = &input[plane * pixels..][..pixels];
                self.scaled.apply(self.isa, plane % channels, input, out);
            });
            Ok(())
        })?;
        Ok(out.clone())
    }

    fn as_pointwise(&self) -> Option<Pointwise> {
        Some(Pointwise::Scaled(Arc::clone(&self.scaled)))
    }
}

/// LRN: every value by the squares of those in the channels around it.
#[derive(Debug, Clone, Copy)]
pub struct LocalNorm {
    size: usize,
    alpha: f32,
    beta: f32,
    bias: f32,
}

impl LocalNorm {
    /// # Errors
    /// Fails where it has no size.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let size = node.int("size")?.unwrap_or(0);
        let size = usize::try_from(size).ok().filter(|&size| size > 0);
        Ok(Box::new(Self {
            size: size.ok_or_else(|| node.malformed("it has no size"))?,
            alpha: node.float("alpha").unwrap_or(1e-4),
            beta: node.float("beta").unwrap_or(0.75),
            bias: node.float("bias").unwrap_or(1.0),
        }))
    }
}

impl Operation for LocalNorm {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let [_, channels, height, width] = inputs.image()?;
        expect_type(inputs.get(0)?.dtype, DType::F32)?;
        let this = *self;
        let pixels = height * width;
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            map(first(inputs)?, out, |input: &[f32], out: &mut [f32]| {
                for_each_part(out, pixels, |plane, out| {
                    let (image, channel) = (plane / channels, plane % channels);
                    let first = channel.saturating_sub((this.size - 1) / 2);
                    let last = (channel + this.size / 2).min(channels - 1);
                    out.fill(0.0);
                    for other in first..=last {
                        let other = &input[(image * channels + other) * pixels..][..pixels];
                        for (sum, &value) in out.iter_mut().zip(other) {
                            *sum += value * value;
                        }
                    }
                    let factor = this.alpha / this.size as f32;
                    let input = &input[plane * pixels..][..pixels];
                    for (out, &value) in out.iter_mut().zip(input) {
                        *out = value / (this.bias + factor * *out).powf(this.beta);
                    }
                });
                Ok(())
            })
        };
        let name = "lrn";
        Ok(Compiled::written(
            Writing { name, run },
            inputs.dims()?,
            DType::F32,
        ))
    }
}
