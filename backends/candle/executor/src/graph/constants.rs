//! Constants as tensors of candle, and the other way round.

use candle_core::{DType, Device, Tensor};
use firstpass_onnx::{Constant, EngineResult, Error, Result, Values, data_type};

/// The type of tensors that hold values of an ONNX type; `None` where there is none. candle has no i8: an
/// i16 holds them, which holds nothing else. The integers of 16 bits are held as i32.
pub fn dtype_of(onnx: i32) -> Option<DType> {
    Some(match onnx {
        data_type::FLOAT => DType::F32,
        data_type::DOUBLE => DType::F64,
        data_type::FLOAT16 => DType::F16,
        data_type::BFLOAT16 => DType::BF16,
        data_type::INT64 => DType::I64,
        data_type::INT32 => DType::I32,
        data_type::INT8 => DType::I16,
        // Truth values are bytes.
        data_type::UINT8 | data_type::BOOL => DType::U8,
        _ => return None,
    })
}

/// A constant as a tensor of candle, in the types that [`dtype_of`] tells.
///
/// # Errors
/// Fails where candle refuses the shape.
pub fn tensor_of(constant: &Constant) -> Result<Tensor> {
    fn widened<T: Copy + Into<W>, W: candle_core::WithDType>(
        values: &[T],
        dims: &[usize],
    ) -> candle_core::Result<Tensor> {
        let values: Vec<W> = values.iter().map(|&value| value.into()).collect();
        Tensor::from_vec(values, dims, &Device::Cpu)
    }
    let (dims, device) = (&constant.dims[..], &Device::Cpu);
    let tensor = match &constant.values {
        Values::F32(values) => Tensor::from_slice(values, dims, device),
        Values::F64(values) => Tensor::from_slice(values, dims, device),
        Values::F16(values) => Tensor::from_slice(values, dims, device),
        Values::BF16(values) => Tensor::from_slice(values, dims, device),
        Values::U8(values) => Tensor::from_slice(values, dims, device),
        Values::I32(values) => Tensor::from_slice(values, dims, device),
        Values::I64(values) => Tensor::from_slice(values, dims, device),
        Values::I8(values) => widened::<i8, i16>(values, dims),
        Values::U16(values) => widened::<u16, i32>(values, dims),
        Values::I16(values) => widened::<i16, i32>(values, dims),
    };
    tensor.engine()
}

/// What was computed from constants.
///
/// # Errors
/// Fails on types that ONNX files are not read in.
pub fn constant_of(tensor: &Tensor) -> Result<Constant> {
    Ok(Constant {
        dims: tensor.dims().to_vec(),
        values: match tensor.dtype() {
            DType::F32 => Values::F32(flat(tensor)?),
            DType::F64 => Values::F64(flat(tensor)?),
            DType::F16 => Values::F16(flat(tensor)?),
            DType::BF16 => Values::BF16(flat(tensor)?),
            DType::U8 => Values::U8(flat(tensor)?),
            DType::I32 => Values::I32(flat(tensor)?),
            DType::I64 => Values::I64(flat(tensor)?),
            DType::I16 => Values::I8(bytes(tensor)?.into()),
            other => {
                return Err(Error::unsupported(format!("constants of type {other:?}")));
            }
        },
    })
}

/// The i8 that a tensor of i16 holds.
///
/// # Errors
/// Fails where it holds others.
pub fn bytes(tensor: &Tensor) -> Result<Vec<i8>> {
    let values = flat::<i16>(tensor)?.into_iter();
    Ok(values
        .map(i8::try_from)
        .collect::<std::result::Result<_, _>>()?)
}

/// All values of a tensor as those of a type.
pub fn flat<T: candle_core::WithDType>(tensor: &Tensor) -> Result<Vec<T>> {
    let values = || tensor.flatten_all()?.to_dtype(T::DTYPE)?.to_vec1();
    values().engine()
}
