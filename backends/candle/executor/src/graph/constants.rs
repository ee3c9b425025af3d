//! Constants as tensors of candle, and the other way round.

use candle_core::{DType, Device, Tensor};
use firstpass_onnx::{Constant, EngineResult, Error, Result, Values, data_type};

use super::Narrow;

/// The type of tensors that hold values of an ONNX type; `None` where there is none. Some integers are held in a
/// wider type: see [`Narrow`].
pub fn dtype_of(onnx: i32) -> Option<DType> {
    if let Some(narrow) = Narrow::of(onnx) {
        return Some(narrow.held_as());
    }
    Some(match onnx {
        data_type::FLOAT => DType::F32,
        data_type::DOUBLE => DType::F64,
        data_type::FLOAT16 => DType::F16,
        data_type::BFLOAT16 => DType::BF16,
        data_type::INT64 => DType::I64,
        data_type::INT32 => DType::I32,
        // Truth values are bytes.
        data_type::UINT8 | data_type::BOOL => DType::U8,
        _ => return None,
    })
}

/// A constant as a tensor of candle, in the types that [`dtype_of`] tells.
///
/// # Errors
/// Fails where candle refuses the shape, and on a u64 for which there is no room.
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
        Values::U32(values) => widened::<u32, i64>(values, dims),
        Values::U64(values) => Tensor::from_vec(whole(values)?, dims, device),
    };
    tensor.engine()
}

/// u64 as the i64 that hold them.
///
/// # Errors
/// Fails on those of the upper half.
pub fn whole(values: &[u64]) -> Result<Vec<i64>> {
    let held = |&value: &u64| {
        i64::try_from(value).map_err(|_| {
            Error::unsupported(format!(
                "the u64 {value}: they are held as i64, which has no room for it"
            ))
        })
    };
    values.iter().map(held).collect()
}

/// The type of integers of a constant, where a wider one of candle holds them.
pub fn narrow_of(constant: &Constant) -> Option<Narrow> {
    Some(match &constant.values {
        Values::I8(_) => Narrow::I8,
        Values::U16(_) => Narrow::U16,
        Values::I16(_) => Narrow::I16,
        Values::U32(_) => Narrow::U32,
        Values::U64(_) => Narrow::U64,
        _ => return None,
    })
}

/// What was computed from constants, and of which type it is where a wider one of candle holds it.
///
/// # Errors
/// Fails on types that ONNX files are not read in, and where the values are not of the type that is told.
pub fn constant_of(tensor: &Tensor, narrow: Option<Narrow>) -> Result<Constant> {
    fn narrowed<W: candle_core::WithDType, T: TryFrom<W>>(tensor: &Tensor) -> Result<Vec<T>> {
        let values = flat::<W>(tensor)?.into_iter().map(|value| {
            let narrowed = T::try_from(value).ok();
            narrowed.ok_or_else(|| Error::engine(format!("{value} does not fit its type")))
        });
        values.collect()
    }
    Ok(Constant {
        dims: tensor.dims().to_vec(),
        values: match tensor.dtype() {
            DType::I32 if narrow == Some(Narrow::U16) => Values::U16(narrowed::<i32, _>(tensor)?),
            DType::I32 if narrow == Some(Narrow::I16) => Values::I16(narrowed::<i32, _>(tensor)?),
            DType::I64 if narrow == Some(Narrow::U32) => Values::U32(narrowed::<i64, _>(tensor)?),
            DType::I64 if narrow == Some(Narrow::U64) => Values::U64(narrowed::<i64, _>(tensor)?),
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
