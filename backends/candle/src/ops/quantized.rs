//! The operators on integers that a graph of QuantizeLinear and DequantizeLinear means.
//!
//! Images of u8 lie with the channels last; their shapes are told in the order of ONNX.

use std::sync::Arc;

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_probe::{Error, Result};

use super::{
    access::map,
    broadcast::broadcast,
    convolution::Weights,
    int_add::IntAdd,
    int_conv::IntConv,
    matmul::product_dims,
    operation::{
        Compiled, ConvKind, Inputs, Operation, Operator, Storage, Writing, buffer, channels_last,
        expect_type, first, image,
    },
    parallel::{CHUNK, for_each_part, part},
    quantize::{Dequantize, Quantize, range},
};
use crate::{
    geometry::{Geometry, volume},
    graph::{Bounds, Quantization, QuantizedConv},
    kernels::{self, Isa},
};

/// Floats to u8.
#[derive(Debug)]
pub struct ToQuantized(pub Quantization);

impl Operation for ToQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        expect_type(fact.dtype, DType::F32)?;
        let operator = Quantize {
            isa: inputs.isa,
            inverse_scale: self.0.inverse_scale(),
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
        out.inplace_op2(&first(inputs)?.contiguous()?, self)?;
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
fn as_in_onnx(tensor: &Tensor) -> CandleResult<Tensor> {
    match tensor.rank() {
        4 => tensor.permute((0, 3, 1, 2)),
        _ => Ok(tensor.clone()),
    }
}

/// A convolution of u8 into u8.
#[derive(Debug)]
pub struct ConvOfQuantized {
    pub conv: Arc<QuantizedConv>,
    pub geometry: Geometry,
    pub bounds: Bounds,
    pub output: Quantization,
}

impl Operation for ConvOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let conv = &self.conv;
        let input = inputs.image()?;
        let weights = Weights::of(&conv.dims, conv.groups)?;
        let (window, output) = weights.fit(&self.geometry, input)?;
        // The lines of an image that are padded together.
        let columns = window.horizontal.before + input[3] + window.horizontal.after;
        volume(&[window.vertical.kernel, columns, input[1]])?;
        let operator = IntConv::new(
            inputs.isa,
            Arc::clone(conv),
            self.bounds,
            self.output,
            window,
            [
                image(&channels_last(&input))?,
                image(&channels_last(&output))?,
            ],
        );
        Ok(Compiled::quantized(operator, &output))
    }
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
        out.inplace_op2(first(inputs)?, self)?;
        Ok(out.clone())
    }

    fn as_int_conv(&self) -> Option<&IntConv> {
        Some(self)
    }
}

/// A product of u8 with a matrix of weights, as a convolution of pixels.
#[derive(Debug)]
pub struct ProductOfQuantized {
    pub conv: Arc<QuantizedConv>,
    pub bounds: Bounds,
    pub output: Quantization,
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
        if dims.len() < 2 || dims.len() == 4 || (self.is_gemm && dims.len() != 2) {
            return Err(Error::unsupported(format!(
                "a product of quantized values of shape {dims:?}"
            )));
        }
        let rows = volume(&dims[..dims.len() - 1])?;
        let operator = IntConv::new(
            inputs.isa,
            Arc::clone(&self.conv),
            self.bounds,
            self.output,
            Geometry::POINTWISE.window([1, 1], [1, rows])?,
            [[1, 1, rows, k], [1, 1, rows, channels]],
        );
        Ok(Compiled::quantized(operator, &output))
    }
}

/// The sum of two tensors of u8, into u8.
#[derive(Debug)]
pub struct AddOfQuantized {
    pub inputs: [Quantization; 2],
    pub bounds: Bounds,
    pub output: Quantization,
}

impl Operation for AddOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (left, right) = (&inputs.get(0)?.dims, &inputs.get(1)?.dims);
        let dims = broadcast(left, right)?;
        let is_image = dims.len() == 4;
        if is_image && left.len() != right.len() {
            return Err(Error::unsupported(format!(
                "adding quantized values of shapes {left:?} and {right:?}"
            )));
        }
        let add = IntAdd::new(inputs.isa, self.inputs, self.bounds, self.output);
        let wide = (left != right).then(|| channels_last(&dims));
        Ok(Compiled::quantized(Addition { add, wide }, &dims))
    }
}

struct Addition {
    add: IntAdd,
    /// The shape that the operands are broadcast to, in memory.
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
                let wide = |tensor: &Tensor| tensor.broadcast_as(&dims[..])?.contiguous();
                out.inplace_op3(&wide(left)?, &wide(right)?, &self.add)?;
            }
        }
        Ok(out.clone())
    }
}

/// A function of u8 into u8, by a table of its values.
#[derive(Debug)]
pub struct TableOfQuantized(Arc<[u8; 256]>);

impl TableOfQuantized {
    /// From the real numbers of the 256 integers; there are as many.
    pub fn new(numbers: &[f32], bounds: Bounds, output: Quantization) -> Self {
        let mut table = [0; 256];
        let range = range(bounds, output);
        kernels::quantize(
            Isa::Reference,
            output.inverse_scale(),
            range,
            numbers,
            &mut table,
        );
        Self(Arc::new(table))
    }
}

impl Operation for TableOfQuantized {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let table = Arc::clone(&self.0);
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            map(first(inputs)?, out, |input: &[u8], out: &mut [u8]| {
                for_each_part(out, CHUNK, |number, out| {
                    for (out, &input) in out.iter_mut().zip(part(input, CHUNK, number)) {
                        *out = table[usize::from(input)];
                    }
                });
                Ok(())
            })
        };
        let name = "int-table";
        Ok(Compiled::quantized(Writing { name, run }, inputs.dims()?))
    }
}

/// An operation that only moves values, on u8: what it does to them it does to the real numbers that
/// they stand for.
#[derive(Debug)]
pub struct Moving(pub Box<dyn Operation>);

impl Operation for Moving {
    fn is_parameter(&self, position: usize) -> bool {
        self.0.is_parameter(position)
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let moved = self.0.compile(inputs)?;
        let operator = moved.operator;
        let name = operator.name();
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let inputs = inputs.iter().map(|tensor| match tensor.dtype() {
                DType::U8 => as_in_onnx(tensor),
                // Parameters are of other types.
                _ => Ok((*tensor).clone()),
            });
            let inputs: Vec<Tensor> = inputs.collect::<CandleResult<_>>()?;
            let moved = operator.run(&inputs.iter().collect::<Vec<_>>(), None)?;
            let moved = match moved.rank() {
                4 => moved.permute((0, 2, 3, 1))?,
                _ => moved,
            };
            map(&moved, out, |moved: &[u8], out: &mut [u8]| {
                out.copy_from_slice(moved);
                Ok(())
            })
        };
        if moved.dtype != DType::U8 || matches!(moved.storage, Storage::Buffer(_)) {
            return Err(Error::engine("it does not move values of u8"));
        }
        Ok(Compiled::quantized(Writing { name, run }, &moved.dims))
    }
}
