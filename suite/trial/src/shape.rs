//! Inputs as they are named on the command line.

use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::Dtype;

/// `name=1x3x224x224:f32`; name and type may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedShape {
    pub name: Option<String>,
    pub shape: Vec<usize>,
    pub dtype: Option<Dtype>,
}

impl FromStr for NamedShape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            // Names may hold both signs; shapes and types do not.
            let (name, rest) = match text.rsplit_once('=') {
                Some((name, rest)) => (Some(name.to_owned()), rest),
                None => (None, text),
            };
            let (shape, dtype) = match rest.rsplit_once(':') {
                Some((shape, dtype)) => (shape, Some(read_dtype(dtype)?)),
                None => (rest, None),
            };
            ensure!(name.as_deref() != Some(""), "the name is empty");
            Ok(Self {
                name,
                shape: read_shape(shape)?,
                dtype,
            })
        };
        read().with_context(|| {
            format!("{text:?} is no input such as image=1x3x224x224:f32 or 1x3x224x224")
        })
    }
}

/// `1x3x224x224`; `scalar` for a single number.
///
/// # Errors
/// Fails where a length is no positive number.
pub fn read_shape(text: &str) -> Result<Vec<usize>> {
    if text == "scalar" {
        return Ok(Vec::new());
    }
    let lengths = text.split(['x', 'X']);
    lengths
        .map(|length| match length.parse() {
            Ok(length) if length > 0 => Ok(length),
            _ => bail!("{length:?} is no length"),
        })
        .collect()
}

fn read_dtype(text: &str) -> Result<Dtype> {
    let named = Dtype::ALL.into_iter().find(|dtype| dtype.key() == text);
    named.with_context(|| format!("{text:?} is no type; there are {}", Dtype::keys()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_type_may_be_left_out() -> Result<()> {
        let shape_of = |name: Option<&str>, shape: &[usize], dtype| NamedShape {
            name: name.map(Into::into),
            shape: shape.into(),
            dtype,
        };
        for (text, expected) in [
            (
                "image=1x3x224x224:f32",
                shape_of(Some("image"), &[1, 3, 224, 224], Some(Dtype::F32)),
            ),
            ("a=b:0=2x1", shape_of(Some("a=b:0"), &[2, 1], None)),
            ("7:i64", shape_of(None, &[7], Some(Dtype::I64))),
            ("t=scalar:bool", shape_of(Some("t"), &[], Some(Dtype::Bool))),
        ] {
            assert_eq!(text.parse::<NamedShape>()?, expected);
        }
        for wrong in [
            "", "=1", "x=", "x=1x", "x=0x3", "x=-1x3", "x=1x3:f8", "x=1 x 3",
        ] {
            assert!(wrong.parse::<NamedShape>().is_err(), "{wrong}");
        }
        Ok(())
    }
}
