//! The operators on integers that a graph of QuantizeLinear and DequantizeLinear means.
//!
//! Images of u8 lie with the channels last; their shapes are told in the order of ONNX.

use std::sync::Arc;

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::map,
    broadcast::broadcast,
    convolution::Weights,
    int_add::IntAdd,
    int_conv::IntConv,
    matmul::product_dims,
    operation::{
        Compiled, ConvKind, Inputs, Operation, Operator, Storage, Writing, buffer, by_candle,
        channels_last, expect_type, first, image,
    },
    parallel::{CHUNK, for_each_part, part},
    permuted::contiguous,
    quantize::{Dequantize, Quantize, range, scaling},
};
use crate::{
    geometry::{Geometry, Window, as_image, volume},
    graph::{Bounds, Quantization, QuantizedConv, Target},
    kernels::{self, Isa},
};

/// Floats to u8.
#[derive(Debug)]
pub struct ToQuantized(pub Target);

impl Operation for ToQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        expect_type(fact.dtype, DType::F32)?;
        let operator = Quantize {
            isa: inputs.isa,
            scaling: scaling(self.0),
            range: range(Bounds::NONE, self.0),
        };
        Ok(Compiled::quantized(operator, &fact.dims))
    }
}

impl Operator for Quantize {
    fn name(&self) -> &'static str {
        candle_core::InplaceOp2::name(self)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        out.inplace_op2(&contiguous(first(inputs)?)?, self)?;
        Ok(out.clone())
    }

    fn as_quantize(&self) -> Option<&Quantize> {
        Some(self)
    }
}

/// u8 to floats.
#[derive(Debug)]
pub struct ToFloats(pub Quantization);

impl Operation for ToFloats {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let dims = inputs.dims()?;
        let operator = Dequantize {
            quantization: self.0,
        };
        Ok(Compiled {
            storage: Storage::Buffer(channels_last(dims)),
            ..Compiled::written(operator, dims, DType::F32)
        })
    }
}

impl Operator for Dequantize {
    fn name(&self) -> &'static str {
        candle_core::InplaceOp2::name(self)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        out.inplace_op2(first(inputs)?, self)?;
        // The values lie with the channels last; the axes are in the order of ONNX.
        as_in_onnx(out)
    }
}

/// A view of u8 in the order of ONNX.
pub fn as_in_onnx(tensor: &Tensor) -> CandleResult<Tensor> {
    match tensor.rank() {
        4 => tensor.permute((0, 3, 1, 2)),
        _ => Ok(tensor.clone()),
    }
}

/// A view of u8, in the order of ONNX, as they are to lie.
pub fn as_it_lies(tensor: &Tensor) -> CandleResult<Tensor> {
    match tensor.rank() {
        4 => tensor.permute((0, 2, 3, 1)),
        _ => Ok(tensor.clone()),
    }
}

/// u8 that are held for quantized values, as the integers that the file has.
#[derive(Debug)]
pub struct ToNumbers {
    pub is_signed: bool,
}

impl Operation for ToNumbers {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let is_signed = self.is_signed;
        let run = move |input: &Tensor| {
            let values = as_in_onnx(input)?;
            match is_signed {
                false => Ok(values),
                true => values.to_dtype(DType::I16)?.broadcast_sub(&of_i16(128)?),
            }
        };
        let dtype = match is_signed {
            false => DType::U8,
            true => DType::I16,
        };
        Ok(Compiled::view(
            by_candle("integers", run),
            inputs.dims()?,
            dtype,
        ))
    }
}

fn of_i16(value: i16) -> CandleResult<Tensor> {
    Tensor::new(value, &Device::Cpu)
}

/// The integers that the file has, as the u8 that are held for quantized values.
#[derive(Debug)]
pub struct Held;

impl Operation for Held {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        if !matches!(fact.dtype, DType::U8 | DType::I16) {
            return Err(Error::engine(format!("{:?} are no bytes", fact.dtype)));
        }
        let run = |inputs: &[&Tensor], out: &Tensor| {
            let input = as_it_lies(first(inputs)?)?;
            match input.dtype() {
                DType::U8 => copy(&input, out),
                _ => copy(
                    &input.broadcast_add(&of_i16(128)?)?.to_dtype(DType::U8)?,
                    out,
                ),
            }
        };
        let name = "integers";
        Ok(Compiled::quantized(Writing { name, run }, &fact.dims))
    }
}

/// A convolution of u8 into u8.
#[derive(Debug)]
pub struct ConvOfQuantized {
    pub conv: Arc<QuantizedConv>,
    pub geometry: Geometry,
    pub bounds: Bounds,
    pub output: Target,
}

impl Operation for ConvOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (conv, dims) = (&self.conv, inputs.dims()?);
        let weights = Weights::of(&conv.dims, conv.groups)?;
        let (spans, output_dims) = weights.fit(&self.geometry, dims)?;
        let window = Window::of(&spans)
            .ok_or_else(|| Error::unsupported("windows over more than an image"))?;
        let image = |dims: &[usize]| image(&channels_last(&as_image(dims)));
        let (input, output) = (image(dims)?, image(&output_dims)?);
        // The lines of an image that are padded together.
        let lines = input[1] + window.vertical.before + window.vertical.after;
        let columns = window.horizontal.before + input[2] + window.horizontal.after;
        volume(&[lines, columns, input[3]])?;
        let operator = IntConv::new(
            inputs.isa,
            Arc::clone(conv),
            self.bounds,
            self.output,
            window,
            [input, output],
        );
        if dims.len() == 4 {
            return Ok(Compiled::quantized(operator, &output_dims));
        }
        // Over a line, whose values lie as ONNX has them.
        let operator = Reordered {
            conv: operator,
            before: vec![0, 2, 1],
            output: vec![output[0], output[2], output[3]],
            after: vec![0, 2, 1],
        };
        Ok(Compiled::quantized(operator, &output_dims))
    }
}

/// A convolution whose kernels take values in another order than that in which they lie.
struct Reordered {
    conv: IntConv,
    /// The axes of the input in the order of the kernels.
    before: Vec<usize>,
    /// The shape in which the kernels leave the output.
    output: Vec<usize>,
    /// Its axes in the order in which they are to lie.
    after: Vec<usize>,
}

impl Operator for Reordered {
    fn name(&self) -> &'static str {
        self.conv.name()
    }

    fn kind(&self) -> Option<ConvKind> {
        self.conv.kind()
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        let input = contiguous(&first(inputs)?.permute(&self.before[..])?)?;
        let result = Tensor::zeros(&self.output[..], DType::U8, input.device())?;
        result.inplace_op2(&input, &self.conv)?;
        copy(&result.permute(&self.after[..])?, out)?;
        Ok(out.clone())
    }

    fn packed(&self) -> Option<&IntConv> {
        Some(&self.conv)
    }
}

/// Copies u8 into a buffer.
pub fn copy(from: &Tensor, out: &Tensor) -> CandleResult<()> {
    map(from, out, |from: &[u8], out: &mut [u8]| {
        out.copy_from_slice(from);
        Ok(())
    })
}

impl Operator for IntConv {
    fn name(&self) -> &'static str {
        candle_core::InplaceOp2::name(self)
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Integer)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        match (self.is_followed(), inputs) {
            (false, [input]) => out.inplace_op2(input, self)?,
            (true, [input, others]) => out.inplace_op3(input, others, self)?,
            _ => candle_core::bail!("{} inputs", inputs.len()),
        }
        Ok(out.clone())
    }

    fn as_int_conv(&self) -> Option<&IntConv> {
        Some(self)
    }

    fn as_int_conv_mut(&mut self) -> Option<&mut IntConv> {
        Some(self)
    }
}

/// A product of u8 with a matrix of weights, as a convolution of pixels.
#[derive(Debug)]
pub struct ProductOfQuantized {
    pub conv: Arc<QuantizedConv>,
    pub bounds: Bounds,
    pub output: Target,
    /// Gemm takes matrices only.
    pub is_gemm: bool,
}

impl Operation for ProductOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let dims = inputs.dims()?;
        let [channels, k, ..] = self.conv.dims[..] else {
            return Err(Error::engine("its weights are no matrix"));
        };
        let output = product_dims(dims, &[k, channels])?;
        if self.is_gemm && dims.len() != 2 {
            return Err(Error::engine(format!("{dims:?} is no matrix")));
        }
        let rows = volume(&dims[..dims.len() - 1])?;
        let operator = IntConv::new(
            inputs.isa,
            Arc::clone(&self.conv),
            self.bounds,
            self.output,
            Geometry::POINTWISE.window(&[1, 1], &[1, rows])?,
            [[1, 1, rows, k], [1, 1, rows, channels]],
        );
        if dims.len() != 4 {
            return Ok(Compiled::quantized(operator, &output));
        }
        // Of four axes, the second lies last.
        let operator = Reordered {
            conv: operator,
            before: vec![0, 3, 1, 2],
            output: output.clone(),
            after: vec![0, 2, 3, 1],
        };
        Ok(Compiled::quantized(operator, &output))
    }
}

/// The sum of two tensors of u8, into u8.
#[derive(Debug)]
pub struct AddOfQuantized {
    pub inputs: [Quantization; 2],
    pub bounds: Bounds,
    pub output: Target,
}

impl Operation for AddOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (left, right) = (&inputs.get(0)?.dims, &inputs.get(1)?.dims);
        let dims = broadcast(left, right)?;
        let add = IntAdd::new(inputs.isa, self.inputs, self.bounds, self.output);
        let wide = (left != right).then(|| dims.clone());
        Ok(Compiled::quantized(Addition { add, wide }, &dims))
    }
}

struct Addition {
    add: IntAdd,
    /// The shape that the operands are broadcast to.
    wide: Option<Vec<usize>>,
}

impl Operator for Addition {
    fn name(&self) -> &'static str {
        candle_core::InplaceOp3::name(&self.add)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let [left, right] = inputs else {
            candle_core::bail!("{} operands", inputs.len());
        };
        let out = buffer(out)?;
        match &self.wide {
            None => out.inplace_op3(left, right, &self.add)?,
            Some(dims) => {
                let wide = |tensor: &Tensor| {
                    let tensor = as_in_onnx(tensor)?.broadcast_as(&dims[..])?;
                    contiguous(&as_it_lies(&tensor)?)
                };
                out.inplace_op3(&wide(left)?, &wide(right)?, &self.add)?;
            }
        }
        Ok(out.clone())
    }

    fn as_addition(&self) -> Option<&kernels::Addition> {
        self.add.addition().filter(|_| self.wide.is_none())
    }
}

/// A function of u8 into u8, by a table of its values.
#[derive(Debug)]
pub struct TableOfQuantized(Arc<[u8; 256]>);

impl TableOfQuantized {
    /// From the real numbers of the 256 integers; there are as many.
    pub fn new(numbers: &[f32], bounds: Bounds, output: Target) -> Self {
        let mut table = [0; 256];
        let range = range(bounds, output);
        kernels::quantize(Isa::Reference, scaling(output), range, numbers, &mut table);
        Self(Arc::new(table))
    }

    /// Bytes read as those of the other sign: u8 as i8, or i8 as u8, which is held 128 higher.
    pub fn of_other_sign() -> Self {
        let mut table = [0; 256];
        for (value, byte) in table.iter_mut().zip(0..=u8::MAX) {
            *value = byte ^ 0x80;
        }
        Self(Arc::new(table))
    }
}

impl Operation for TableOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (table, isa) = (Arc::clone(&self.0), inputs.isa);
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            map(first(inputs)?, out, |input: &[u8], out: &mut [u8]| {
                for_each_part(out, CHUNK, |number, out| {
                    kernels::look_up(isa, &table, part(input, CHUNK, number), out);
                });
                Ok(())
            })
        };
        let name = "int-table";
        Ok(Compiled::quantized(Writing { name, run }, inputs.dims()?))
    }
}
