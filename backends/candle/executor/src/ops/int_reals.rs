//! Means and products of quantized values, as the real numbers that they stand for.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::Result;

use super::{
    access::{check_length, map, read},
    operation::{Compiled, Fact, Inputs, Operation, Operator, Storage, Writing, buffer, first},
    parallel::{CHUNK, for_each_part, part},
    permuted::contiguous,
    quantize::{Dequantize, Quantize, integers, range, reals, scaling},
    quantized::as_in_onnx,
};
use crate::{
    graph::{Bounds, Quantization, Target},
    kernels,
};

/// The mean of quantized values along some axes.
#[derive(Debug)]
pub struct MeanOfQuantized {
    /// That of floats.
    pub operation: Box<dyn Operation>,
    pub input: Quantization,
    pub bounds: Bounds,
    pub output: Target,
}

impl Operation for MeanOfQuantized {
    fn is_parameter(&self, position: usize) -> bool {
        self.operation.is_parameter(position)
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (dims, isa) = (inputs.dims()?, inputs.isa);
        let averaged = self.operation.averages(inputs)?;
        let compiled = on_floats(inputs, self.operation.as_ref())?;
        let ([_, channels, height, width], Some([2, 3])) = (dims, averaged.as_deref()) else {
            let of = vec![self.input];
            return Ok(OnFloats::compiled(
                compiled,
                of,
                self.bounds,
                self.output,
                inputs,
            ));
        };
        let (channels, length) = (*channels, channels * height * width);
        let (of, to) = (reals(self.input), integers(self.bounds, self.output));
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            map(first(inputs)?, out, |values: &[u8], out: &mut [u8]| {
                check_length("the input", values.len(), out.len() / channels * length)?;
                for_each_part(out, channels, |image, out| {
                    let pixels = &values[image * length..][..length];
                    kernels::mean_of_pixels(isa, of, to, pixels, out);
                });
                Ok(())
            })
        };
        let name = "int-mean";
        Ok(Compiled::quantized(Writing { name, run }, &compiled.dims))
    }
}

/// The product of two tensors of quantized values.
#[derive(Debug)]
pub struct MultiplyQuantized {
    /// That of floats.
    pub operation: Box<dyn Operation>,
    pub inputs: [Quantization; 2],
    pub bounds: Bounds,
    pub output: Target,
}

impl Operation for MultiplyQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let [left, right] = [&inputs.get(0)?.dims, &inputs.get(1)?.dims];
        let compiled = on_floats(inputs, self.operation.as_ref())?;
        let (of, to) = (self.inputs.map(reals), integers(self.bounds, self.output));
        let (isa, name) = (inputs.isa, "int-multiply");
        if left == right {
            let run = move |inputs: &[&Tensor], out: &Tensor| {
                let [left, right] = inputs else {
                    candle_core::bail!("{} operands", inputs.len());
                };
                read(left, |left: &[u8]| {
                    map(right, out, |right: &[u8], out: &mut [u8]| {
                        check_length("the left operand", left.len(), out.len())?;
                        check_length("the right operand", right.len(), out.len())?;
                        for_each_part(out, CHUNK, |number, out| {
                            let both = [left, right].map(|values| part(values, CHUNK, number));
                            kernels::multiply(isa, of, to, both, out);
                        });
                        Ok(())
                    })
                })
            };
            return Ok(Compiled::quantized(Writing { name, run }, &compiled.dims));
        }
        let factors = [(left, right), (right, left)];
        let factors = factors
            .iter()
            .position(|(wide, narrow)| is_by_channel(wide, narrow));
        let Some(wide) = factors else {
            let of = self.inputs.to_vec();
            return Ok(OnFloats::compiled(
                compiled,
                of,
                self.bounds,
                self.output,
                inputs,
            ));
        };
        let dims = &compiled.dims;
        let (channels, length) = (dims[1], dims[1] * dims[2] * dims[3]);
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let [pixels, factors] = match (inputs, wide) {
                ([left, right], 0) => [left, right],
                ([left, right], _) => [right, left],
                _ => candle_core::bail!("{} operands", inputs.len()),
            };
            read(factors, |factors: &[u8]| {
                map(pixels, out, |pixels: &[u8], out: &mut [u8]| {
                    check_length("the wide operand", pixels.len(), out.len())?;
                    let images = out.len() / length;
                    check_length("the narrow operand", factors.len(), images * channels)?;
                    let factors: Vec<f32> = factors
                        .iter()
                        .map(|&value| of[1 - wide].of(value))
                        .collect();
                    // Some pixels of an image.
                    let some = (CHUNK / channels).clamp(1, length / channels) * channels;
                    let images = out.chunks_mut(length).zip(pixels.chunks(length));
                    for ((out, pixels), factors) in images.zip(factors.chunks(channels)) {
                        for_each_part(out, some, |number, out| {
                            let pixels = part(pixels, some, number);
                            kernels::multiply_channels(isa, of[wide], to, pixels, factors, out);
                        });
                    }
                    Ok(())
                })
            })
        };
        Ok(Compiled::quantized(Writing { name, run }, &compiled.dims))
    }
}

/// Whether `narrow` has one value for each channel of each of the images `wide`.
fn is_by_channel(wide: &[usize], narrow: &[usize]) -> bool {
    matches!((wide, narrow), ([n, c, _, _], [m, d, 1, 1]) if (n, c) == (m, d))
}

/// `operation` for floats of the shapes of the inputs, which are integers where they are not parameters.
pub fn on_floats(inputs: &Inputs<'_>, operation: &dyn Operation) -> Result<Compiled> {
    let facts = inputs.facts.iter().enumerate();
    let facts: Vec<Option<Fact>> = facts
        .map(|(position, fact)| match operation.is_parameter(position) {
            true => fact.cloned(),
            false => fact.map(|fact| Fact {
                dtype: DType::F32,
                narrow: None,
                constant: None,
                dims: fact.dims.clone(),
            }),
        })
        .collect();
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    operation.compile(&Inputs {
        facts: &facts,
        isa: inputs.isa,
    })
}

/// An operator on floats whose inputs are dequantized and whose output is quantized, as the file writes it.
pub struct OnFloats {
    operator: Box<dyn Operator>,
    inputs: Vec<Quantization>,
    /// Of the floats.
    storage: Storage,
    quantize: Quantize,
}

impl OnFloats {
    pub fn compiled(
        floats: Compiled,
        quantizations: Vec<Quantization>,
        bounds: Bounds,
        output: Target,
        inputs: &Inputs<'_>,
    ) -> Compiled {
        let operator = Self {
            operator: floats.operator,
            inputs: quantizations,
            storage: floats.storage,
            quantize: Quantize {
                isa: inputs.isa,
                scaling: scaling(output),
                range: range(bounds, output),
            },
        };
        Compiled::quantized(operator, &floats.dims)
    }
}

impl Operator for OnFloats {
    fn name(&self) -> &'static str {
        self.operator.name()
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        let floats = inputs
            .iter()
            .zip(&self.inputs)
            .map(|(input, &quantization)| {
                let floats = Tensor::zeros(input.dims(), DType::F32, input.device())?;
                floats.inplace_op2(input, &Dequantize { quantization })?;
                as_in_onnx(&floats)
            });
        let floats: Vec<Tensor> = floats.collect::<CandleResult<_>>()?;
        let room = match &self.storage {
            Storage::Buffer(dims) => Some(Tensor::zeros(&dims[..], DType::F32, out.device())?),
            Storage::View | Storage::Allocated => None,
        };
        let floats: Vec<&Tensor> = floats.iter().collect();
        let result = self.operator.run(&floats, room.as_ref())?;
        out.inplace_op2(&contiguous(&result)?, &self.quantize)?;
        Ok(out.clone())
    }
}
