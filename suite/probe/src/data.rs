//! The values of a tensor, by type.

use bytemuck::{Zeroable, allocation::try_zeroed_vec};
use serde::{Deserialize, Serialize};

/// The type of the values of a tensor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    #[default]
    F32,
    F64,
    I64,
    I32,
    U8,
    I8,
    Bool,
}

impl Dtype {
    pub const ALL: [Self; 7] = [
        Self::F32,
        Self::F64,
        Self::I64,
        Self::I32,
        Self::U8,
        Self::I8,
        Self::Bool,
    ];

    /// As it is written in a `model.toml` and on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::Bool => "bool",
        }
    }

    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn in_files(self) -> safetensors::Dtype {
        match self {
            Self::F32 => safetensors::Dtype::F32,
            Self::F64 => safetensors::Dtype::F64,
            Self::I64 => safetensors::Dtype::I64,
            Self::I32 => safetensors::Dtype::I32,
            Self::U8 => safetensors::Dtype::U8,
            Self::I8 => safetensors::Dtype::I8,
            Self::Bool => safetensors::Dtype::BOOL,
        }
    }
}

/// The values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    U8(Vec<u8>),
    I8(Vec<i8>),
    Bool(Vec<bool>),
}

/// Does the same for the values of each type.
#[macro_export]
macro_rules! with_values {
    ($data:expr, $values:ident => $work:expr) => {
        match $data {
            $crate::Data::F32($values) => $work,
            $crate::Data::F64($values) => $work,
            $crate::Data::I64($values) => $work,
            $crate::Data::I32($values) => $work,
            $crate::Data::U8($values) => $work,
            $crate::Data::I8($values) => $work,
            $crate::Data::Bool($values) => $work,
        }
    };
}

impl Data {
    /// Zeros; `None` where memory cannot hold so many.
    pub(crate) fn zeros(dtype: Dtype, count: usize) -> Option<Self> {
        fn of<T: Zeroable>(count: usize) -> Option<Vec<T>> {
            try_zeroed_vec(count).ok()
        }
        Some(match dtype {
            Dtype::F32 => Self::F32(of(count)?),
            Dtype::F64 => Self::F64(of(count)?),
            Dtype::I64 => Self::I64(of(count)?),
            Dtype::I32 => Self::I32(of(count)?),
            Dtype::U8 => Self::U8(of(count)?),
            Dtype::I8 => Self::I8(of(count)?),
            Dtype::Bool => Self::Bool(of(count)?),
        })
    }

    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
            Self::I64(_) => Dtype::I64,
            Self::I32(_) => Dtype::I32,
            Self::U8(_) => Dtype::U8,
            Self::I8(_) => Dtype::I8,
            Self::Bool(_) => Dtype::Bool,
        }
    }

    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every value as a real number; integers beyond 2^53 are rounded.
    pub fn to_f64s(&self) -> Vec<f64> {
        match self {
            Self::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Self::F64(values) => values.clone(),
            Self::I64(values) => values.iter().map(|&v| v as f64).collect(),
            Self::I32(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Self::U8(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Self::I8(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Self::Bool(values) => values.iter().map(|&v| f64::from(u8::from(v))).collect(),
        }
    }

    /// The values as they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        with_values!(self, values => bytemuck::cast_slice(values))
    }

    /// The values that lie little-endian in `bytes`; `None` for a type that is not here, and where
    /// they are not whole.
    pub(crate) fn read(dtype: safetensors::Dtype, bytes: &[u8]) -> Option<Self> {
        /// Aligned anew: in a file values lie anywhere.
        fn all<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Option<Vec<T>> {
            let values = bytes.chunks(size_of::<T>());
            values
                .map(|value| bytemuck::try_pod_read_unaligned(value).ok())
                .collect()
        }
        Some(match dtype {
            safetensors::Dtype::F32 => Self::F32(all(bytes)?),
            safetensors::Dtype::F64 => Self::F64(all(bytes)?),
            safetensors::Dtype::I64 => Self::I64(all(bytes)?),
            safetensors::Dtype::I32 => Self::I32(all(bytes)?),
            safetensors::Dtype::U8 => Self::U8(bytes.to_vec()),
            safetensors::Dtype::I8 => Self::I8(all(bytes)?),
            safetensors::Dtype::BOOL => Self::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
            _ => return None,
        })
    }

    /// Where a value is NaN or infinite, and what it is.
    pub(crate) fn first_not_finite(&self) -> Option<(usize, f64)> {
        match self {
            Self::F32(values) => values
                .iter()
                .position(|v| !v.is_finite())
                .map(|at| (at, f64::from(values[at]))),
            Self::F64(values) => values
                .iter()
                .position(|v| !v.is_finite())
                .map(|at| (at, values[at])),
            _ => None,
        }
    }
}

macro_rules! from_vectors {
    ($($variant:ident: $type:ty),*) => {
        $(impl From<Vec<$type>> for Data {
            fn from(values: Vec<$type>) -> Self {
                Self::$variant(values)
            }
        })*
    };
}

from_vectors!(F32: f32, F64: f64, I64: i64, I32: i32, U8: u8, I8: i8, Bool: bool);
