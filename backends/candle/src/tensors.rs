//! Tensors of a probe as the executor takes them, and those that it gives as a probe says them.

use candle_core::DType;
use firstpass_executor::Values;
use firstpass_probe::{Data, EngineResult, Error, Result, Tensor, Tensors};
use half::{bf16, f16};

/// The values of inputs as the executor takes them.
///
/// # Errors
/// Fails on types that the executor does not have.
pub fn values(inputs: &[Tensor]) -> Result<Vec<Values<'_>>> {
    let inputs = inputs.iter().map(|input| match input.data() {
        Data::F32(values) => Ok(Values::F32(values)),
        Data::I64(values) => Ok(Values::I64(values)),
        Data::I32(values) => Ok(Values::I32(values)),
        Data::U8(values) => Ok(Values::U8(values)),
        // ONNX keeps truth values in bytes, and so does the executor.
        Data::Bool(values) => Ok(Values::U8(bytemuck::cast_slice(values))),
        Data::I8(values) => Ok(Values::I8(values)),
        Data::F64(values) => Ok(Values::F64(values)),
        Data::F16(values) => Ok(Values::F16(values)),
        Data::BF16(values) => Ok(Values::BF16(values)),
        _ => Err(Error::unsupported(format!(
            "an input of {}",
            input.dtype().key()
        ))),
    });
    inputs.collect()
}

/// Copies of outputs, which lie in the buffers of the model until its next pass; of `truths` those that are held in
/// bytes are truth values.
///
/// # Errors
/// Fails on types that a probe does not say.
pub fn copies(outputs: &[candle_core::Tensor], truths: &[bool]) -> Result<Tensors> {
    let truths = truths.iter().chain(std::iter::repeat(&false));
    let outputs = outputs.iter().zip(truths);
    outputs
        .map(|(output, is_truth)| copy(output, *is_truth))
        .collect()
}

fn copy(tensor: &candle_core::Tensor, is_truth: bool) -> Result<Tensor> {
    let flat = tensor.flatten_all().engine()?;
    let data: Data = match flat.dtype() {
        DType::F32 => flat.to_vec1::<f32>().engine()?.into(),
        DType::F64 => flat.to_vec1::<f64>().engine()?.into(),
        DType::F16 => flat.to_vec1::<f16>().engine()?.into(),
        DType::BF16 => flat.to_vec1::<bf16>().engine()?.into(),
        DType::I64 => flat.to_vec1::<i64>().engine()?.into(),
        DType::I32 => flat.to_vec1::<i32>().engine()?.into(),
        DType::U8 if is_truth => {
            let values = flat.to_vec1::<u8>().engine()?.into_iter();
            values.map(|value| value != 0).collect::<Vec<bool>>().into()
        }
        DType::U8 => flat.to_vec1::<u8>().engine()?.into(),
        // candle has no i8: the executor holds them in i16.
        DType::I16 => {
            let values = flat.to_vec1::<i16>().engine()?.into_iter();
            let values = values.map(i8::try_from);
            values.collect::<std::result::Result<Vec<_>, _>>()?.into()
        }
        other => {
            return Err(Error::unsupported(format!(
                "an output of {}",
                other.as_str()
            )));
        }
    };
    Tensor::new(tensor.dims(), data)
}
