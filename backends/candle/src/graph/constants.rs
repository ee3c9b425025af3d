//! Constants as tensors of candle, and the other way round.

use candle_core::{DType, Device, Tensor};
use firstpass_onnx::{Constant, Values};
use firstpass_probe::{EngineResult, Error, Result};

/// A constant as a tensor of candle, which has none of i8: these become i32.
///
/// # Errors
/// Fails where candle refuses the shape.
pub fn tensor_of(constant: &Constant) -> Result<Tensor> {
    let (dims, device) = (&constant.dims[..], &Device::Cpu);
    let tensor = match &constant.values {
        Values::F32(values) => Tensor::from_slice(values, dims, device),
        Values::U8(values) => Tensor::from_slice(values, dims, device),
        Values::I32(values) => Tensor::from_slice(values, dims, device),
        Values::I64(values) => Tensor::from_slice(values, dims, device),
        Values::I8(values) => {
            let values: Vec<i32> = values.iter().map(|&value| value.into()).collect();
            Tensor::from_vec(values, dims, device)
        }
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
            DType::U8 => Values::U8(flat(tensor)?),
            DType::I32 => Values::I32(flat(tensor)?),
            DType::I64 => Values::I64(flat(tensor)?),
            other => {
                return Err(Error::unsupported(format!("constants of type {other:?}")));
            }
        },
    })
}

/// The same constant of i8, where [`tensor_of`] has made i32 of it.
pub fn narrowed(constant: Constant) -> Result<Constant> {
    let Values::I32(values) = &constant.values else {
        return Ok(constant);
    };
    let narrow: std::result::Result<Vec<i8>, _> =
        values.iter().map(|&value| i8::try_from(value)).collect();
    Ok(Constant {
        values: Values::I8(narrow?.into()),
        ..constant
    })
}

/// All values of a tensor as those of a type.
pub fn flat<T: candle_core::WithDType>(tensor: &Tensor) -> Result<Vec<T>> {
    let values = || tensor.flatten_all()?.to_dtype(T::DTYPE)?.to_vec1();
    values().engine()
}
