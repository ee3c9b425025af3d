//! Constants of a file as values.

use std::sync::Arc;

use firstpass_onnx::{TensorProto, malformed};
use firstpass_probe::{Error, Result};
use half::{bf16, f16};

use crate::{
    array::{Array, volume},
    kind::Kind,
    value::{Integers, Reals, Value},
};

/// # Errors
/// Fails where dimensions and data do not agree, and on types that are not computed with.
pub fn value(tensor: &TensorProto) -> Result<Value> {
    read(tensor).map_err(|e| e.context(format!("constant {:?}", tensor.name)))
}

fn read(tensor: &TensorProto) -> Result<Value> {
    if tensor.is_external() {
        return Err(Error::unsupported("its data lie in another file"));
    }
    let dims = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok());
    let dims: Option<Vec<usize>> = dims.collect();
    let dims = dims.ok_or_else(|| malformed(format!("it has dimensions {:?}", tensor.dims)))?;
    let kind = Kind::of(tensor.data_type)?;
    let count = volume(&dims)?;
    let values = if kind.is_real() {
        Numbers::Real(reals(tensor, kind)?)
    } else {
        Numbers::Whole(integers(tensor, kind, count)?)
    };
    let found = match &values {
        Numbers::Real(values) => values.len(),
        Numbers::Whole(values) => values.len(),
    };
    if found != count {
        return Err(malformed(format!("it has dimensions {dims:?}, but {found} values")).into());
    }
    Ok(match values {
        Numbers::Real(values) => Value::Real(Arc::new(Reals {
            array: Array { dims, values },
            kind,
        })),
        Numbers::Whole(values) => Value::Whole(Arc::new(Integers {
            array: Array { dims, values },
            kind,
        })),
    })
}

enum Numbers {
    Real(Vec<f64>),
    Whole(Vec<i64>),
}

fn reals(tensor: &TensorProto, kind: Kind) -> Result<Vec<f64>> {
    let raw = &tensor.raw_data[..];
    let bits = || tensor.int32_data.iter().map(|&bits| bits as u16);
    let is_raw = !raw.is_empty();
    Ok(match kind {
        Kind::F64 if is_raw => little_endian(raw, f64::from_le_bytes)?,
        Kind::F64 => tensor.double_data.clone(),
        Kind::F16 if is_raw => little_endian(raw, |b| f16::from_le_bytes(b).to_f64())?,
        Kind::F16 => bits().map(|bits| f16::from_bits(bits).to_f64()).collect(),
        Kind::BF16 if is_raw => little_endian(raw, |b| bf16::from_le_bytes(b).to_f64())?,
        Kind::BF16 => bits().map(|bits| bf16::from_bits(bits).to_f64()).collect(),
        _ if is_raw => little_endian(raw, |b| f64::from(f32::from_le_bytes(b)))?,
        _ => tensor.float_data.iter().map(|&v| f64::from(v)).collect(),
    })
}

fn integers(tensor: &TensorProto, kind: Kind, count: usize) -> Result<Vec<i64>> {
    let raw = &tensor.raw_data[..];
    let is_raw = !raw.is_empty();
    let values: Vec<i64> = match kind {
        Kind::U4 | Kind::I4 => {
            let bytes: Vec<u8> = if is_raw {
                raw.to_vec()
            } else {
                tensor.int32_data.iter().map(|&v| v as u8).collect()
            };
            // Two a byte, the first in the lower half.
            let halves = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
            let halves = halves.map(|half| kind.wrapped(half.into()));
            halves.take(count).collect()
        }
        Kind::I64 if is_raw => little_endian(raw, i64::from_le_bytes)?,
        Kind::I64 => tensor.int64_data.clone(),
        Kind::U32 if is_raw => little_endian(raw, |b| u32::from_le_bytes(b).into())?,
        Kind::U32 => tensor.uint64_data.iter().map(|&v| v as i64).collect(),
        Kind::I32 if is_raw => little_endian(raw, |b| i32::from_le_bytes(b).into())?,
        Kind::U16 if is_raw => little_endian(raw, |b| u16::from_le_bytes(b).into())?,
        Kind::I16 if is_raw => little_endian(raw, |b| i16::from_le_bytes(b).into())?,
        Kind::I8 if is_raw => little_endian(raw, |b| i8::from_le_bytes(b).into())?,
        _ if is_raw => raw.iter().map(|&v| v.into()).collect(),
        _ => tensor.int32_data.iter().map(|&v| v.into()).collect(),
    };
    let (low, high) = kind.limits();
    if values.iter().all(|value| (low..=high).contains(value)) {
        Ok(values)
    } else {
        Err(malformed("a value is outside the range of its type").into())
    }
}

fn little_endian<T, const N: usize>(raw: &[u8], value: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
    match raw.as_chunks::<N>() {
        (chunks, []) => Ok(chunks.iter().map(|chunk| value(*chunk)).collect()),
        _ => Err(malformed(format!(
            "{} bytes of raw data are no whole number of values",
            raw.len()
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(tensor: &TensorProto) -> Result<Vec<i64>> {
        match value(tensor)? {
            Value::Whole(integers) => Ok(integers.array.values.clone()),
            other => Err(Error::engine(format!("{other:?}"))),
        }
    }

    #[test]
    fn small_types_are_read_in_both_encodings() -> Result<()> {
        let tensor = |data_type: i32, raw: &'static [u8], int32_data: &[i32]| TensorProto {
            dims: vec![3],
            data_type,
            raw_data: raw.into(),
            int32_data: int32_data.to_vec(),
            ..TensorProto::default()
        };
        assert_eq!(whole(&tensor(22, &[0x8f, 0x07], &[]))?, [-1, -8, 7]);
        assert_eq!(whole(&tensor(21, &[], &[0x8f, 0x07]))?, [15, 8, 7]);
        assert_eq!(
            whole(&tensor(5, &[255, 255, 0, 128, 1, 0], &[]))?,
            [-1, -32768, 1]
        );
        assert!(whole(&tensor(5, &[255], &[])).is_err());
        assert!(whole(&tensor(3, &[], &[1, 2, 128])).is_err());
        assert!(whole(&tensor(3, &[], &[1, 2])).is_err());
        Ok(())
    }

    #[test]
    fn types_that_are_not_computed_with_are_named() {
        let tensor = TensorProto {
            data_type: 8,
            ..TensorProto::default()
        };
        let error = value(&tensor).expect_err("strings");
        assert!(error.to_string().contains("strings"), "{error}");
    }
}
