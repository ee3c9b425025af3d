//! The values of constants.

use std::ops::Deref;

use half::{bf16, f16};
use prost::bytes::Bytes;

use crate::{Error, Result, TensorProto, data_type, malformed};

/// Numbers of one byte, which stay where they lie in the file: weights are most of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Int8s(Bytes);

impl Deref for Int8s {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl From<Vec<i8>> for Int8s {
    fn from(values: Vec<i8>) -> Self {
        Self(Bytes::copy_from_slice(bytemuck::cast_slice(&values)))
    }
}

/// The values of a constant tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    U8(Vec<u8>),
    I8(Int8s),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
}

/// Does the same for the values of each type.
macro_rules! with_values {
    ($of:expr, $values:ident => $work:expr) => {
        match $of {
            Values::F32($values) => $work,
            Values::F64($values) => $work,
            Values::F16($values) => $work,
            Values::BF16($values) => $work,
            Values::U8($values) => $work,
            Values::I8($values) => $work,
            Values::U16($values) => $work,
            Values::I16($values) => $work,
            Values::U32($values) => $work,
            Values::I32($values) => $work,
            Values::U64($values) => $work,
            Values::I64($values) => $work,
        }
    };
}

impl Values {
    /// The number of values.
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The integers of a type of at most 32 bits; `None` for other types.
    pub fn integers(&self) -> Option<Vec<i32>> {
        fn all<T: Copy + Into<i32>>(values: &[T]) -> Option<Vec<i32>> {
            Some(values.iter().map(|&value| value.into()).collect())
        }
        match self {
            Self::U8(values) => all(values),
            Self::I8(values) => all(values),
            Self::U16(values) => all(values),
            Self::I16(values) => all(values),
            Self::I32(values) => Some(values.clone()),
            _ => None,
        }
    }
}

/// A constant tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    pub dims: Vec<usize>,
    pub values: Values,
}

impl Constant {
    /// # Errors
    /// Fails on a type that is not read here, on data in another file that nobody has read (see
    /// [`crate::external`]), and where dimensions and data do not agree.
    pub fn read(tensor: &TensorProto) -> Result<Self> {
        let read = || {
            let dims: Vec<usize> = tensor
                .dims
                .iter()
                .map(|&dim| usize::try_from(dim).ok())
                .collect::<Option<_>>()
                .ok_or_else(|| malformed(format!("it has dimensions {:?}", tensor.dims)))?;
            let count = dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
            let mut values = tensor.values()?;
            if tensor.is_packed()
                && let Some(count) = count
            {
                // Two values a byte: of an odd number the last half is padding.
                values = values.shortened(count);
            }
            if count != Some(values.len()) {
                return Err(malformed(format!(
                    "it has dimensions {dims:?}, but {} values",
                    values.len()
                )));
            }
            Ok(Self { dims, values })
        };
        read().map_err(|e: Error| e.context(format!("constant {:?}", tensor.name)))
    }
}

impl TensorProto {
    /// Whether two values share a byte.
    fn is_packed(&self) -> bool {
        matches!(self.data_type, data_type::UINT4 | data_type::INT4)
    }

    fn values(&self) -> Result<Values> {
        if self.is_external() {
            return Err(Error::unsupported("its data lie in another file"));
        }
        let raw = &self.raw_data;
        let is_raw = !raw.is_empty();
        Ok(match self.data_type {
            data_type::FLOAT if is_raw => Values::F32(little_endian(raw, f32::from_le_bytes)?),
            data_type::FLOAT => Values::F32(self.float_data.clone()),
            data_type::DOUBLE if is_raw => Values::F64(little_endian(raw, f64::from_le_bytes)?),
            data_type::DOUBLE => Values::F64(self.double_data.clone()),
            data_type::FLOAT16 => Values::F16(self.halves(f16::from_bits)?),
            data_type::BFLOAT16 => Values::BF16(self.halves(bf16::from_bits)?),
            // Truth values are bytes too.
            data_type::UINT8 | data_type::BOOL if is_raw => Values::U8(raw.to_vec()),
            data_type::UINT8 | data_type::BOOL => Values::U8(narrow(&self.int32_data)?),
            data_type::INT8 if is_raw => Values::I8(Int8s(raw.clone())),
            data_type::INT8 => Values::I8(narrow::<_, i8>(&self.int32_data)?.into()),
            data_type::UINT4 => Values::U8(nibbles(&self.bytes()?).collect()),
            data_type::INT4 => {
                let nibbles: Vec<i8> = nibbles(&self.bytes()?).map(sign_extended).collect();
                Values::I8(nibbles.into())
            }
            data_type::UINT16 => Values::U16(self.halves(|bits| bits)?),
            data_type::INT16 if is_raw => Values::I16(little_endian(raw, i16::from_le_bytes)?),
            data_type::INT16 => Values::I16(narrow(&self.int32_data)?),
            data_type::INT32 if is_raw => Values::I32(little_endian(raw, i32::from_le_bytes)?),
            data_type::INT32 => Values::I32(self.int32_data.clone()),
            // Both are written as u64 where they are not raw.
            data_type::UINT32 if is_raw => Values::U32(little_endian(raw, u32::from_le_bytes)?),
            data_type::UINT32 => Values::U32(narrow(&self.uint64_data)?),
            data_type::UINT64 if is_raw => Values::U64(little_endian(raw, u64::from_le_bytes)?),
            data_type::UINT64 => Values::U64(self.uint64_data.clone()),
            data_type::INT64 if is_raw => Values::I64(little_endian(raw, i64::from_le_bytes)?),
            data_type::INT64 => Values::I64(self.int64_data.clone()),
            other => {
                return Err(Error::unsupported(format!(
                    "its values are {}",
                    data_type::name(other)
                )));
            }
        })
    }

    /// Values of two bytes, from their bits.
    fn halves<T>(&self, of: fn(u16) -> T) -> Result<Vec<T>> {
        let bits = match &self.raw_data[..] {
            [] => narrow(&self.int32_data)?,
            raw => little_endian(raw, u16::from_le_bytes)?,
        };
        Ok(bits.into_iter().map(of).collect())
    }

    /// The bytes of values that share them.
    fn bytes(&self) -> Result<Vec<u8>> {
        match &self.raw_data[..] {
            [] => narrow(&self.int32_data),
            raw => Ok(raw.to_vec()),
        }
    }
}

impl Values {
    /// Without what is behind the first `count` values.
    fn shortened(self, count: usize) -> Self {
        match self {
            Self::U8(mut values) if values.len() == count + 1 => {
                values.truncate(count);
                Self::U8(values)
            }
            Self::I8(Int8s(bytes)) if bytes.len() == count + 1 => {
                Self::I8(Int8s(bytes.slice(..count)))
            }
            other => other,
        }
    }
}

/// The low half of each byte, then the high one.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().flat_map(|byte| [byte & 0xf, byte >> 4])
}

fn sign_extended(nibble: u8) -> i8 {
    (nibble << 4).cast_signed() >> 4
}

fn little_endian<T, const N: usize>(raw: &[u8], value: fn([u8; N]) -> T) -> Result<Vec<T>> {
    match raw.as_chunks::<N>() {
        (chunks, []) => Ok(chunks.iter().map(|chunk| value(*chunk)).collect()),
        _ => Err(malformed(format!(
            "{} bytes of raw data are no whole number of values",
            raw.len()
        ))),
    }
}

fn narrow<W: Copy, T: TryFrom<W>>(values: &[W]) -> Result<Vec<T>> {
    let narrowed: Option<Vec<T>> = values
        .iter()
        .map(|&value| T::try_from(value).ok())
        .collect();
    narrowed.ok_or_else(|| malformed("a value is outside the range of its type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[i64], data_type: i32, raw_data: &[u8]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type,
            raw_data: raw_data.to_vec().into(),
            ..Default::default()
        }
    }

    #[test]
    fn reads_constants_in_both_encodings() -> Result<()> {
        let raw = Constant::read(&tensor(
            &[2],
            data_type::INT32,
            &[1, 0, 0, 0, 255, 255, 255, 255],
        ))?;
        assert_eq!(raw.values, Values::I32(vec![1, -1]));
        let typed = TensorProto {
            int32_data: vec![-128, 127],
            ..tensor(&[1, 2], data_type::INT8, &[])
        };
        assert_eq!(
            Constant::read(&typed)?.values,
            Values::I8(vec![-128, 127].into())
        );
        let scalar = Constant::read(&tensor(&[], data_type::FLOAT, &1.5_f32.to_le_bytes()))?;
        assert_eq!(scalar.values, Values::F32(vec![1.5]));
        Ok(())
    }

    #[test]
    fn reads_integers_without_a_sign_in_both_encodings() -> Result<()> {
        for (data_type, raw, expected) in [
            (
                data_type::UINT32,
                &u32::MAX.to_le_bytes()[..],
                Values::U32(vec![u32::MAX]),
            ),
            (
                data_type::UINT64,
                &u64::MAX.to_le_bytes()[..],
                Values::U64(vec![u64::MAX]),
            ),
        ] {
            let read = Constant::read(&tensor(&[1], data_type, raw))?;
            assert_eq!(read.values, expected);
            let typed = TensorProto {
                uint64_data: vec![7],
                ..tensor(&[1], data_type, &[])
            };
            let expected = match expected {
                Values::U32(_) => Values::U32(vec![7]),
                _ => Values::U64(vec![7]),
            };
            assert_eq!(Constant::read(&typed)?.values, expected);
        }
        let too_large = TensorProto {
            uint64_data: vec![1 << 32],
            ..tensor(&[1], data_type::UINT32, &[])
        };
        assert!(Constant::read(&too_large).is_err());
        Ok(())
    }

    #[test]
    fn refuses_constants_that_contradict_themselves() {
        for bad in [
            tensor(&[3], data_type::INT8, &[0; 2]),
            tensor(&[-1], data_type::INT8, &[0; 2]),
            tensor(&[1], data_type::FLOAT, &[0; 3]),
            tensor(&[i64::MAX, i64::MAX], data_type::INT8, &[0; 2]),
            tensor(&[2], data_type::UINT64, &[0; 12]),
            tensor(&[1], 14, &[0; 8]),
            tensor(&[3], data_type::INT4, &[0; 3]),
            TensorProto {
                int32_data: vec![300],
                ..tensor(&[1], data_type::UINT8, &[])
            },
            TensorProto {
                data_location: TensorProto::EXTERNAL,
                ..tensor(&[0], data_type::FLOAT, &[])
            },
        ] {
            assert!(Constant::read(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_halves_and_nibbles() -> Result<()> {
        let half = Constant::read(&tensor(&[2], data_type::FLOAT16, &[0, 0x3c, 0, 0xc0]))?;
        let expected = [1.0, -2.0].map(f16::from_f32);
        assert_eq!(half.values, Values::F16(expected.to_vec()));
        let typed = TensorProto {
            int32_data: vec![0x3f80, 0xc000],
            ..tensor(&[2], data_type::BFLOAT16, &[])
        };
        let expected = [1.0, -2.0].map(bf16::from_f32);
        assert_eq!(
            Constant::read(&typed)?.values,
            Values::BF16(expected.to_vec())
        );
        let nibbles = Constant::read(&tensor(&[3], data_type::INT4, &[0x8f, 0x07]))?;
        assert_eq!(nibbles.values, Values::I8(vec![-1, -8, 7].into()));
        let nibbles = Constant::read(&tensor(&[3], data_type::UINT4, &[0x8f, 0x07]))?;
        assert_eq!(nibbles.values, Values::U8(vec![15, 8, 7]));
        Ok(())
    }
}
