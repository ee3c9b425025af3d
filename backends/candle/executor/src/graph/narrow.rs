//! Types of integers that candle does not have: a wider type holds them.

use std::ops::RangeInclusive;

use candle_core::DType;
use firstpass_onnx::data_type;

/// Of which type of ONNX the integers of a tensor are, where the tensor's own type has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow {
    I8,
    U16,
    I16,
    U32,
    /// Of these only the lower half has room.
    U64,
}

impl Narrow {
    /// The one of an ONNX type; `None` where candle has the type itself.
    pub fn of(onnx: i32) -> Option<Self> {
        Some(match onnx {
            data_type::INT8 => Self::I8,
            data_type::UINT16 => Self::U16,
            data_type::INT16 => Self::I16,
            data_type::UINT32 => Self::U32,
            data_type::UINT64 => Self::U64,
            _ => return None,
        })
    }

    /// The type of the tensor that holds them. That of i8 holds nothing else.
    pub fn held_as(self) -> DType {
        match self {
            Self::I8 => DType::I16,
            Self::U16 | Self::I16 => DType::I32,
            Self::U32 | Self::U64 => DType::I64,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::U64 => "u64",
        }
    }

    /// The integers that there are of it, or for which there is room.
    pub fn range(self) -> RangeInclusive<i64> {
        match self {
            Self::I8 => i8::MIN.into()..=i8::MAX.into(),
            Self::U16 => 0..=u16::MAX.into(),
            Self::I16 => i16::MIN.into()..=i16::MAX.into(),
            Self::U32 => 0..=u32::MAX.into(),
            Self::U64 => 0..=i64::MAX,
        }
    }

    /// What is left of an integer in as many bits, as Cast leaves it; `None` where that has no room.
    pub fn wrapped(self, integer: i64) -> Option<i64> {
        Some(match self {
            Self::I8 => (integer as i8).into(),
            Self::U16 => (integer as u16).into(),
            Self::I16 => (integer as i16).into(),
            Self::U32 => (integer as u32).into(),
            Self::U64 => return (integer >= 0).then_some(integer),
        })
    }
}
