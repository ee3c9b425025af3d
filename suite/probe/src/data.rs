//! The values of a tensor, by type.

use bytemuck::allocation::try_zeroed_vec;
use half::{bf16, f16, slice::HalfFloatSliceExt};
use serde::{Deserialize, Serialize};

/// Makes both enums and their conversions from one line for each type.
macro_rules! types {
    ($($variant:ident $key:literal $type:ty, $in_files:ident;)*) => {
        /// The type of the values of a tensor.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Dtype {
            #[default]
            $($variant,)*
        }

        impl Dtype {
            /// Every type.
            pub const ALL: [Self; [$($key),*].len()] = [$(Self::$variant),*];

            /// As it is written in a `model.toml` and on the command line.
            pub fn key(self) -> &'static str {
                match self {
                    $(Self::$variant => $key,)*
                }
            }

            pub(crate) fn in_files(self) -> safetensors::Dtype {
                match self {
                    $(Self::$variant => safetensors::Dtype::$in_files,)*
                }
            }

            fn from_files(of: safetensors::Dtype) -> Option<Self> {
                Self::ALL.into_iter().find(|dtype| dtype.in_files() == of)
            }
        }

        /// The values of a tensor.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Data {
            $($variant(Vec<$type>),)*
        }

        impl Data {
            /// Zeros; `None` where memory cannot hold them.
            pub(crate) fn zeros(dtype: Dtype, count: usize) -> Option<Self> {
                Some(match dtype {
                    $(Dtype::$variant => Self::$variant(Value::zeros(count)?),)*
                })
            }

            /// The type of the values.
            pub fn dtype(&self) -> Dtype {
                match self {
                    $(Self::$variant(_) => Dtype::$variant,)*
                }
            }
        }

        $(impl From<Vec<$type>> for Data {
            fn from(values: Vec<$type>) -> Self {
                Self::$variant(values)
            }
        })*
    };
}

types! {
    F32 "f32" f32, F32;
    F64 "f64" f64, F64;
    F16 "f16" f16, F16;
    BF16 "bf16" bf16, BF16;
    I64 "i64" i64, I64;
    I32 "i32" i32, I32;
    I16 "i16" i16, I16;
    I8 "i8" i8, I8;
    U64 "u64" u64, U64;
    U32 "u32" u32, U32;
    U16 "u16" u16, U16;
    U8 "u8" u8, U8;
    Bool "bool" bool, BOOL;
}

impl Dtype {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether values are floats.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::BF16)
    }

    /// The keys of all types, as an enumeration for a message.
    pub fn keys() -> String {
        Self::ALL.map(Self::key).join(", ")
    }
}

/// Does the same for the values of each type.
#[macro_export]
macro_rules! with_values {
    ($data:expr, $values:ident => $work:expr) => {
        match $data {
            $crate::Data::F32($values) => $work,
            $crate::Data::F64($values) => $work,
            $crate::Data::F16($values) => $work,
            $crate::Data::BF16($values) => $work,
            $crate::Data::I64($values) => $work,
            $crate::Data::I32($values) => $work,
            $crate::Data::I16($values) => $work,
            $crate::Data::I8($values) => $work,
            $crate::Data::U64($values) => $work,
            $crate::Data::U32($values) => $work,
            $crate::Data::U16($values) => $work,
            $crate::Data::U8($values) => $work,
            $crate::Data::Bool($values) => $work,
        }
    };
}

impl Data {
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every value as a real number; integers beyond 2^53 are rounded.
    pub fn to_f64s(&self) -> Vec<f64> {
        fn all<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
            values.iter().map(|&value| value.into()).collect()
        }
        match self {
            Self::F32(values) => all(values),
            Self::F64(values) => values.clone(),
            Self::F16(values) => all(values),
            Self::BF16(values) => all(values),
            Self::I64(values) => values.iter().map(|&v| v as f64).collect(),
            Self::I32(values) => all(values),
            Self::I16(values) => all(values),
            Self::I8(values) => all(values),
            Self::U64(values) => values.iter().map(|&v| v as f64).collect(),
            Self::U32(values) => all(values),
            Self::U16(values) => all(values),
            Self::U8(values) => all(values),
            Self::Bool(values) => values.iter().map(|&v| f64::from(u8::from(v))).collect(),
        }
    }

    /// The values as they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        with_values!(self, values => Value::bytes(values))
    }

    /// The values of this type that lie little-endian in `bytes`; `None` where they are not whole.
    pub fn from_bytes(dtype: Dtype, bytes: &[u8]) -> Option<Self> {
        Some(match dtype {
            Dtype::F32 => Self::F32(Value::read(bytes)?),
            Dtype::F64 => Self::F64(Value::read(bytes)?),
            Dtype::F16 => Self::F16(Value::read(bytes)?),
            Dtype::BF16 => Self::BF16(Value::read(bytes)?),
            Dtype::I64 => Self::I64(Value::read(bytes)?),
            Dtype::I32 => Self::I32(Value::read(bytes)?),
            Dtype::I16 => Self::I16(Value::read(bytes)?),
            Dtype::I8 => Self::I8(Value::read(bytes)?),
            Dtype::U64 => Self::U64(Value::read(bytes)?),
            Dtype::U32 => Self::U32(Value::read(bytes)?),
            Dtype::U16 => Self::U16(Value::read(bytes)?),
            Dtype::U8 => Self::U8(Value::read(bytes)?),
            Dtype::Bool => Self::Bool(Value::read(bytes)?),
        })
    }

    /// As [`Self::from_bytes`]; `None` for a type that is not in [`Dtype`] as well.
    pub(crate) fn read(dtype: safetensors::Dtype, bytes: &[u8]) -> Option<Self> {
        Self::from_bytes(Dtype::from_files(dtype)?, bytes)
    }

    /// Where a value is NaN or infinite, and what it is.
    pub(crate) fn first_not_finite(&self) -> Option<(usize, f64)> {
        fn first<T: Copy + Into<f64>>(values: &[T]) -> Option<(usize, f64)> {
            let mut values = values.iter().map(|&value| value.into()).enumerate();
            values.find(|(_, value): &(usize, f64)| !value.is_finite())
        }
        match self {
            Self::F32(values) => first(values),
            Self::F64(values) => first(values),
            Self::F16(values) => first(values),
            Self::BF16(values) => first(values),
            _ => None,
        }
    }
}

/// What the values of a tensor are for memory and files.
trait Value: Sized {
    fn zeros(count: usize) -> Option<Vec<Self>>;

    fn bytes(values: &[Self]) -> &[u8];

    /// Values that lie anywhere in a file, aligned anew.
    fn read(bytes: &[u8]) -> Option<Vec<Self>>;
}

macro_rules! plain_values {
    ($($type:ty)*) => {
        $(impl Value for $type {
            fn zeros(count: usize) -> Option<Vec<Self>> {
                try_zeroed_vec(count).ok()
            }

            fn bytes(values: &[Self]) -> &[u8] {
                bytemuck::cast_slice(values)
            }

            fn read(bytes: &[u8]) -> Option<Vec<Self>> {
                let values = bytes.chunks(size_of::<Self>());
                values
                    .map(|value| bytemuck::try_pod_read_unaligned(value).ok())
                    .collect()
            }
        })*
    };
}

plain_values!(f32 f64 i64 i32 i16 i8 u64 u32 u16 u8);

/// By their bits: bytemuck would have to be a feature of `half`, which engines compile without.
macro_rules! half_values {
    ($($type:ty)*) => {
        $(impl Value for $type {
            fn zeros(count: usize) -> Option<Vec<Self>> {
                Some(u16::zeros(count)?.into_iter().map(Self::from_bits).collect())
            }

            fn bytes(values: &[Self]) -> &[u8] {
                u16::bytes(values.reinterpret_cast())
            }

            fn read(bytes: &[u8]) -> Option<Vec<Self>> {
                Some(u16::read(bytes)?.into_iter().map(Self::from_bits).collect())
            }
        })*
    };
}

half_values!(f16 bf16);

impl Value for bool {
    fn zeros(count: usize) -> Option<Vec<Self>> {
        try_zeroed_vec(count).ok()
    }

    fn bytes(values: &[Self]) -> &[u8] {
        bytemuck::cast_slice(values)
    }

    fn read(bytes: &[u8]) -> Option<Vec<Self>> {
        Some(bytes.iter().map(|&byte| byte != 0).collect())
    }
}
