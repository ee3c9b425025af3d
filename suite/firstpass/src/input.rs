//! Inputs of a model.

use std::{fmt, str::FromStr};

use crate::{
    error::{Error, Result},
    harness,
};

/// The type of the values of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// Floats of 32 bits.
    F32,
    /// Floats of 64 bits.
    F64,
    /// Floats of 16 bits, as IEEE 754 has them.
    F16,
    /// Floats of 16 bits with the exponent of `f32`.
    BF16,
    /// Integers of 64 bits.
    I64,
    /// Integers of 32 bits.
    I32,
    /// Integers of 16 bits.
    I16,
    /// Integers from -128 to 127.
    I8,
    /// Integers of 64 bits without a sign.
    U64,
    /// Integers of 32 bits without a sign.
    U32,
    /// Integers of 16 bits without a sign.
    U16,
    /// Integers from 0 to 255.
    U8,
    /// True or false.
    Bool,
}

impl Dtype {
    pub(crate) const ALL: [Self; 13] = [
        Self::F32,
        Self::F64,
        Self::F16,
        Self::BF16,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U64,
        Self::U32,
        Self::U16,
        Self::U8,
        Self::Bool,
    ];
}

impl fmt::Display for Dtype {
    /// As it stands in the text of an [`InputSpec`]: `f32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

/// Name, shape and type of an input, of which name and type may be left out.
///
/// ```
/// use firstpass::{Dtype, InputSpec};
///
/// # fn main() -> firstpass::Result<()> {
/// let typed = InputSpec::new("ids", [1, 16])?.of(Dtype::I64);
/// assert_eq!("ids=1x16:i64".parse::<InputSpec>()?, typed);
/// assert_eq!(typed.to_string(), "ids=1x16:i64");
/// assert!("ids=1x16:f8".parse::<InputSpec>().is_err());
/// assert!(InputSpec::new("ids", [1, 0]).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    name: Option<String>,
    shape: Vec<usize>,
    dtype: Option<Dtype>,
}

impl InputSpec {
    /// An input of this name and shape; its type is the one that the file says, or f32.
    ///
    /// # Errors
    /// Fails on an empty name, on a length of 0, and on a shape that no memory holds.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Result<Self> {
        Self::checked(Some(name.into()), shape.into(), None)
    }

    /// The one input of a model that has no other.
    ///
    /// # Errors
    /// Fails on a length of 0, and on a shape that no memory holds.
    pub fn unnamed(shape: impl Into<Vec<usize>>) -> Result<Self> {
        Self::checked(None, shape.into(), None)
    }

    /// The same with values of this type.
    #[must_use]
    pub fn of(mut self, dtype: Dtype) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Its name, where one was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The length of each axis; none for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of its values, where one was given.
    pub fn dtype(&self) -> Option<Dtype> {
        self.dtype
    }

    pub(crate) fn checked(
        name: Option<String>,
        shape: Vec<usize>,
        dtype: Option<Dtype>,
    ) -> Result<Self> {
        if name.as_deref() == Some("") {
            return Err(Error::invalid("the name of an input is empty"));
        }
        let mut lengths = shape.iter();
        // No type has more than 8 bytes.
        let bytes = lengths.try_fold(8_usize, |bytes, &length| bytes.checked_mul(length));
        if bytes.is_none_or(|bytes| bytes == 0 || isize::try_from(bytes).is_err()) {
            return Err(Error::invalid(format!(
                "the shape {shape:?} of an input is empty or too large"
            )));
        }
        Ok(Self { name, shape, dtype })
    }
}

impl FromStr for InputSpec {
    type Err = Error;

    /// Reads `name=1x3x224x224:f32`, where name and type may be left out; the shape of a single number
    /// is `scalar`.
    fn from_str(text: &str) -> Result<Self> {
        harness::read_input(text)
    }
}

impl TryFrom<&str> for InputSpec {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for InputSpec {
    /// As it can be read again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        if self.shape.is_empty() {
            f.write_str("scalar")?;
        }
        for (axis, length) in self.shape.iter().enumerate() {
            write!(f, "{}{length}", if axis == 0 { "" } else { "x" })?;
        }
        match self.dtype {
            Some(dtype) => write!(f, ":{dtype}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() -> Result<()> {
        for dtype in Dtype::ALL.map(Some).into_iter().chain([None]) {
            for shape in [&[1, 3, 224, 224][..], &[7], &[]] {
                for name in [Some("a=b:0"), None] {
                    let spec = InputSpec::checked(name.map(Into::into), shape.into(), dtype)?;
                    assert_eq!(spec.to_string().parse::<InputSpec>()?, spec);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_wrong_fails_where_it_is_given() {
        for text in ["", "x=", "=1x3", "x=0x3", "x=1x3:f8", "x=-1x3", "x=1,3"] {
            let error = text.parse::<InputSpec>().expect_err("must fail");
            assert!(error.to_string().contains("1x3x224x224"), "{text}: {error}");
        }
        assert!(InputSpec::new("", [1]).is_err());
        assert!(InputSpec::unnamed([3, 0]).is_err());
        assert!(InputSpec::unnamed([usize::MAX / 4, 3]).is_err());
        assert!("x=4294967296x4294967296".parse::<InputSpec>().is_err());
    }
}
