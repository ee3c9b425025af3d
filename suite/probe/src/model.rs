//! One file of a model, as a backend sees it.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Dtype, Error, Result};

/// The format of a model file: a name, as it stands in a `model.toml` and in records. Backends name the
/// ones that they read, of which the harness need not know any.
///
/// ```
/// use firstpass_probe::Format;
///
/// const NCNN: Format = Format::named("ncnn");
/// assert_eq!(NCNN.key(), "ncnn");
/// assert!(Format::new("../ncnn").is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Format([u8; Self::LONGEST]);

impl Format {
    /// A scripted module as `torch.jit.script(…).save(…)` writes it.
    pub const TORCHSCRIPT: Self = Self::named("torchscript");
    /// ONNX; a quantized model has pairs of QuantizeLinear and DequantizeLinear around float operators.
    pub const ONNX: Self = Self::named("onnx");
    /// ONNX with QLinearConv, whose definition is in integers.
    pub const ONNX_QOPERATOR: Self = Self::named("onnx-qoperator");

    /// Characters of a name.
    const LONGEST: usize = 32;

    /// The format of this name, which may come from outside.
    ///
    /// # Errors
    /// Fails where it is not 1 to 32 lowercase letters, digits and, between them, single `-`, `_` or `.`: it
    /// becomes part of file names.
    pub fn new(name: &str) -> Result<Self> {
        Self::parse(name).ok_or_else(|| {
            Error::input(format!(
                "{name:?} is no name of a format: 1 to {} lowercase letters and digits, with single \
                 -, _ or . between them",
                Self::LONGEST
            ))
        })
    }

    /// The format of this name, for constants.
    ///
    /// # Panics
    /// Where [`Self::new`] fails; a constant does not compile then.
    pub const fn named(name: &'static str) -> Self {
        match Self::parse(name) {
            Some(format) => format,
            None => panic!("no name of a format"),
        }
    }

    const fn parse(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        if bytes.len() > Self::LONGEST {
            return None;
        }
        let mut kept = [0; Self::LONGEST];
        // What a name may not begin or end with, nor have twice in a row.
        let mut after_separator = true;
        let mut at = 0;
        while at < bytes.len() {
            after_separator = match bytes[at] {
                b'a'..=b'z' | b'0'..=b'9' => false,
                b'-' | b'_' | b'.' if !after_separator => true,
                _ => return None,
            };
            kept[at] = bytes[at];
            at += 1;
        }
        // True of an empty name as well.
        if after_separator {
            return None;
        }
        Some(Self(kept))
    }

    /// The name of the format.
    pub fn key(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0);
        let name = &self.0[..length.unwrap_or(Self::LONGEST)];
        // All are ASCII.
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// Whether files are graphs of ONNX.
    pub fn is_onnx(self) -> bool {
        [Self::ONNX, Self::ONNX_QOPERATOR].contains(&self)
    }

    /// Whether whoever loads a file may run code that is in it, so that only files from people one trusts
    /// are loaded. True of every format that is not known to be data.
    pub fn is_program(self) -> bool {
        !self.is_onnx()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({:?})", self.key())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for Format {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(&name)
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.key().into()
    }
}

/// One file of a model with the names and shapes of what goes in and comes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub name: String,
    pub format: Format,
    pub path: PathBuf,
    /// In the order in which [`crate::Backend::pass`] takes them.
    pub inputs: Vec<TensorSpec>,
    /// In the order in which [`crate::Backend::pass`] returns them; none where the engine is to give all
    /// that the file returns.
    pub outputs: Vec<OutputSpec>,
}

impl Model {
    /// The name of an output, also of one that is not declared.
    pub fn output_name(&self, place: usize) -> String {
        match self.outputs.get(place) {
            Some(spec) => spec.name.clone(),
            None => format!("output-{place}"),
        }
    }

    pub fn input_shapes(&self) -> Vec<Vec<usize>> {
        self.inputs.iter().map(|spec| spec.shape.clone()).collect()
    }
}

/// An input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    pub name: String,
    pub shape: Vec<usize>,
    #[serde(default, skip_serializing_if = "Dtype::is_default")]
    pub dtype: Dtype,
}

impl TensorSpec {
    /// An input of f32.
    pub fn f32(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            dtype: Dtype::F32,
        }
    }
}

impl OutputSpec {
    /// An output whose shape is known beforehand.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            shape: Some(shape.into()),
        }
    }
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    pub name: String,
    /// `None` where it is not known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_a_format_is_its_name() -> serde_json::Result<()> {
        for (format, json) in [
            (Format::TORCHSCRIPT, "\"torchscript\""),
            (Format::ONNX, "\"onnx\""),
            (Format::ONNX_QOPERATOR, "\"onnx-qoperator\""),
            (Format::named("ncnn-2026.1"), "\"ncnn-2026.1\""),
        ] {
            assert_eq!(serde_json::to_string(&format)?, json);
            assert_eq!(serde_json::from_str::<Format>(json)?, format);
            assert_eq!(format.to_string(), json.trim_matches('"'));
        }
        // As a key, and with an escape, which a reader cannot borrow.
        let map = std::collections::BTreeMap::from([(Format::ONNX, 1)]);
        let json = serde_json::to_string(&map)?;
        assert_eq!(json, "{\"onnx\":1}");
        assert_eq!(
            serde_json::from_str::<std::collections::BTreeMap<Format, i32>>("{\"\\u006fnnx\": 1}")?,
            map
        );
        Ok(())
    }

    #[test]
    fn names_that_are_none_are_refused_where_they_are_read() {
        let long = "a".repeat(33);
        for name in [
            "", "ONNX", "Onnx", "on nx", " onnx", "onnx\n", "onnx\0", "a/b", "a\\b", "..",
            "../onnx", ".onnx", "onnx.", "-onnx", "onnx-", "a--b", "a..b", "öl", "\u{1}", &long,
        ] {
            let error = Format::new(name).expect_err(name);
            assert_eq!(error.kind, crate::ErrorKind::Input);
            let json = serde_json::to_string(name).unwrap_or_default();
            let error = serde_json::from_str::<Format>(&json).expect_err(name);
            assert!(error.to_string().contains("no name of a format"), "{error}");
        }
        for name in ["a", "1", "onnx", "a-b_c.d", &long[1..]] {
            assert_eq!(
                Format::new(name)
                    .map(|f| f.key().to_owned())
                    .ok()
                    .as_deref(),
                Some(name)
            );
        }
    }

    #[test]
    fn a_file_of_an_unknown_format_may_run_code() {
        assert!(Format::TORCHSCRIPT.is_program());
        assert!(Format::named("ncnn").is_program());
        assert!(!Format::ONNX.is_program() && !Format::ONNX_QOPERATOR.is_program());
    }
}
