//! Tensors of a probe as the executor takes them, and those that it gives as a probe says them.

use candle_core::{DType, WithDType};
use firstpass_executor::{Values, data_type};
use firstpass_probe::{Data, EngineResult, Error, Result, Tensor, Tensors};
use half::{bf16, f16};

/// The values of inputs as the executor takes them.
pub fn values(inputs: &[Tensor]) -> Vec<Values<'_>> {
    let inputs = inputs.iter().map(|input| match input.data() {
        Data::F32(values) => Values::F32(values),
        Data::F64(values) => Values::F64(values),
        Data::F16(values) => Values::F16(values),
        Data::BF16(values) => Values::BF16(values),
        Data::I64(values) => Values::I64(values),
        Data::I32(values) => Values::I32(values),
        Data::I16(values) => Values::I16(values),
        Data::I8(values) => Values::I8(values),
        Data::U64(values) => Values::U64(values),
        Data::U32(values) => Values::U32(values),
        Data::U16(values) => Values::U16(values),
        Data::U8(values) => Values::U8(values),
        Data::Bool(values) => Values::Bool(values),
    });
    inputs.collect()
}

/// Copies of outputs, which lie in the buffers of the model until its next pass, in the ONNX types that the file
/// declares, where candle holds these in others.
///
/// # Errors
/// Fails on types that a probe does not say, and on integers that are not of the declared type.
pub fn copies(outputs: &[candle_core::Tensor], types: &[i32]) -> Result<Tensors> {
    let types = types.iter().chain(std::iter::repeat(&0));
    let outputs = outputs.iter().zip(types);
    outputs.map(|(output, onnx)| copy(output, *onnx)).collect()
}

fn copy(tensor: &candle_core::Tensor, onnx: i32) -> Result<Tensor> {
    let flat = tensor.flatten_all().engine()?;
    let data: Data = match (flat.dtype(), onnx) {
        (DType::F32, _) => flat.to_vec1::<f32>().engine()?.into(),
        (DType::F64, _) => flat.to_vec1::<f64>().engine()?.into(),
        (DType::F16, _) => flat.to_vec1::<f16>().engine()?.into(),
        (DType::BF16, _) => flat.to_vec1::<bf16>().engine()?.into(),
        (DType::I64, data_type::UINT32) => narrowed::<i64, u32>(&flat, "u32")?.into(),
        (DType::I64, data_type::UINT64) => narrowed::<i64, u64>(&flat, "u64")?.into(),
        (DType::I64, _) => flat.to_vec1::<i64>().engine()?.into(),
        (DType::I32, data_type::UINT16) => narrowed::<i32, u16>(&flat, "u16")?.into(),
        (DType::I32, data_type::INT16) => narrowed::<i32, i16>(&flat, "i16")?.into(),
        (DType::I32, _) => flat.to_vec1::<i32>().engine()?.into(),
        (DType::U8, data_type::BOOL) => {
            let values = flat.to_vec1::<u8>().engine()?.into_iter();
            values.map(|value| value != 0).collect::<Vec<bool>>().into()
        }
        (DType::U8, _) => flat.to_vec1::<u8>().engine()?.into(),
        // candle has no i8: the executor holds them in i16.
        (DType::I16, _) => narrowed::<i16, i8>(&flat, "i8")?.into(),
        (other, _) => {
            return Err(Error::unsupported(format!(
                "an output of {}",
                other.as_str()
            )));
        }
    };
    Tensor::new(tensor.dims(), data)
}

/// Integers that a wider type holds.
fn narrowed<W: WithDType, T: TryFrom<W>>(flat: &candle_core::Tensor, name: &str) -> Result<Vec<T>> {
    let values = flat.to_vec1::<W>().engine()?.into_iter().map(|value| {
        let narrowed = T::try_from(value).ok();
        narrowed.ok_or_else(|| Error::engine(format!("an output of {name} holds {value}")))
    });
    values.collect()
}
