//! The types of values, and what becomes of a number in each of them.

use std::fmt;

use firstpass_onnx::data_type;
use firstpass_probe::{Error, Result};

/// The type of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F16,
    BF16,
    F32,
    F64,
    Bool,
    U4,
    I4,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    I64,
}

impl Kind {
    /// The type that ONNX numbers so.
    ///
    /// # Errors
    /// Fails on types that are not computed with: strings, complex numbers, floats of one byte, u64.
    pub fn of(number: i32) -> Result<Self> {
        Ok(match number {
            data_type::FLOAT => Self::F32,
            data_type::UINT8 => Self::U8,
            data_type::INT8 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            data_type::INT32 => Self::I32,
            data_type::INT64 => Self::I64,
            data_type::BOOL => Self::Bool,
            10 => Self::F16,
            data_type::DOUBLE => Self::F64,
            12 => Self::U32,
            16 => Self::BF16,
            21 => Self::U4,
            22 => Self::I4,
            other => {
                let name = match other {
                    8 => "strings".into(),
                    13 => "u64".into(),
                    14 | 15 => "complex numbers".into(),
                    17..=20 => "floats of one byte".into(),
                    other => format!("values of ONNX data type {other}"),
                };
                return Err(Error::unsupported(format!(
                    "the referee does not compute with {name}"
                )));
            }
        })
    }

    pub fn is_real(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// The smallest and the largest integer.
    pub fn limits(self) -> (i64, i64) {
        match self {
            Self::Bool => (0, 1),
            Self::U4 => (0, 15),
            Self::I4 => (-8, 7),
            Self::U8 => (0, 255),
            Self::I8 => (-128, 127),
            Self::U16 => (0, 65535),
            Self::I16 => (-32768, 32767),
            Self::U32 => (0, i64::from(u32::MAX)),
            Self::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// The nearest number of the type, of two the even one.
    pub fn rounded(self, value: f64) -> f64 {
        match self {
            Self::F16 => rounded(value, 11, -24, 65504.0),
            Self::BF16 => rounded(value, 8, -133, 3.389_531_389_251_535_5e38),
            Self::F32 => f64::from(value as f32),
            _ => value,
        }
    }

    /// An integer as memory of the type keeps it: its lowest bits.
    pub fn wrapped(self, value: i128) -> i64 {
        let (low, high) = self.limits();
        let (low, high) = (i128::from(low), i128::from(high));
        (low + (value - low).rem_euclid(high - low + 1)) as i64
    }
}

/// The nearest number of so many binary digits that is a multiple of 2 to the power of `lowest`, of two the
/// even one; infinite beyond the largest. Rounding to f32 first, as libraries do, would round twice.
fn rounded(value: f64, digits: i32, lowest: i32, largest: f64) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    // Powers of two change no digit.
    let unit = 2_f64.powi((exponent + 1 - digits).max(lowest));
    let nearest = (value / unit).round_ties_even() * unit;
    if nearest.abs() > largest {
        f64::INFINITY.copysign(value)
    } else {
        nearest
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_lowest_bits() {
        assert_eq!(Kind::U8.wrapped(256), 0);
        assert_eq!(Kind::U8.wrapped(-1), 255);
        assert_eq!(Kind::I8.wrapped(128), -128);
        assert_eq!(Kind::I64.wrapped(1 << 63), i64::MIN);
        assert_eq!(Kind::I32.wrapped(5), 5);
    }

    #[test]
    fn numbers_are_rounded_once_and_to_the_even() {
        // Halfway between two of f16, and a little above, which f32 would lose.
        assert_eq!(Kind::F16.rounded(2049.0), 2048.0);
        assert_eq!(Kind::F16.rounded(2049.0 + 1e-9), 2050.0);
        assert_eq!(Kind::BF16.rounded(257.0), 256.0);
        assert_eq!(Kind::BF16.rounded(257.0 + 1e-9), 258.0);
        assert_eq!(Kind::F32.rounded(0.1), f64::from(0.1_f32));
        // The ends: the smallest numbers are multiples of one, and beyond the largest there is infinity.
        let smallest = 2_f64.powi(-24);
        assert_eq!(Kind::F16.rounded(smallest * 1.5), smallest * 2.0);
        assert_eq!(Kind::F16.rounded(smallest * 0.5), 0.0);
        assert_eq!(Kind::F16.rounded(-65519.0), -65504.0);
        assert_eq!(Kind::F16.rounded(-65520.0), f64::NEG_INFINITY);
        assert_eq!(
            Kind::BF16.rounded(half::bf16::MAX.to_f64()),
            half::bf16::MAX.to_f64()
        );
        assert_eq!(Kind::BF16.rounded(3.4e38), f64::INFINITY);
    }
}
