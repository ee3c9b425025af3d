//! The ONNX file format, as far as quantized vision models need it.
//!
//! The messages are a subset of `onnx.proto` of the ONNX specification (IR version 10), written by
//! hand with the field numbers of that file. Unknown fields are skipped, as protobuf defines.

mod weight_files;
pub mod write;

use std::ops::Deref;

use firstpass_probe::{EngineResult, Error, Result};
use prost::Message;
pub use prost::bytes::Bytes;
pub use weight_files::weight_files;

/// `TensorProto.DataType`.
pub mod data_type {
    pub const FLOAT: i32 = 1;
    pub const UINT8: i32 = 2;
    pub const INT8: i32 = 3;
    pub const INT32: i32 = 6;
    pub const INT64: i32 = 7;
    pub const BOOL: i32 = 9;
    pub const DOUBLE: i32 = 11;
}

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// Which of the fields above holds the value: see [`attribute_type`]. 0 in files older than IR
    /// version 2.
    #[prost(int32, tag = "20")]
    pub r#type: i32,
}

/// `AttributeProto.AttributeType`.
pub mod attribute_type {
    pub const FLOAT: i32 = 1;
    pub const INT: i32 = 2;
    pub const STRING: i32 = 3;
    pub const TENSOR: i32 = 4;
    pub const FLOATS: i32 = 6;
    pub const INTS: i32 = 7;
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    /// A part of the bytes that the model was decoded from, not a copy.
    #[prost(bytes = "bytes", tag = "9")]
    pub raw_data: Bytes,
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// `TypeProto.Tensor`.
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// `TensorShapeProto.Dimension`: a length, or the name of one that the file leaves open.
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

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
    U8(Vec<u8>),
    I8(Int8s),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
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
    /// Fails on a type that is not read here and where dimensions and data do not agree.
    pub fn read(tensor: &TensorProto) -> Result<Self> {
        let read = || {
            let dims: Vec<usize> = tensor
                .dims
                .iter()
                .map(|&dim| usize::try_from(dim).ok())
                .collect::<Option<_>>()
                .ok_or_else(|| malformed(format!("it has dimensions {:?}", tensor.dims)))?;
            let values = tensor.values()?;
            let count = dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
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
    fn values(&self) -> Result<Values> {
        if self.data_location == EXTERNAL {
            return Err(Error::unsupported("its data lie in another file"));
        }
        let raw = &self.raw_data;
        let is_raw = !raw.is_empty();
        Ok(match self.data_type {
            data_type::FLOAT if is_raw => Values::F32(little_endian(raw, f32::from_le_bytes)?),
            data_type::FLOAT => Values::F32(self.float_data.clone()),
            // Truth values are bytes too.
            data_type::UINT8 | data_type::BOOL if is_raw => Values::U8(raw.to_vec()),
            data_type::UINT8 | data_type::BOOL => Values::U8(narrow(&self.int32_data)?),
            data_type::INT8 if is_raw => Values::I8(Int8s(raw.clone())),
            data_type::INT8 => Values::I8(narrow::<i8>(&self.int32_data)?.into()),
            data_type::INT32 if is_raw => Values::I32(little_endian(raw, i32::from_le_bytes)?),
            data_type::INT32 => Values::I32(self.int32_data.clone()),
            data_type::INT64 if is_raw => Values::I64(little_endian(raw, i64::from_le_bytes)?),
            data_type::INT64 => Values::I64(self.int64_data.clone()),
            other => {
                return Err(Error::unsupported(format!(
                    "its values have ONNX data type {other}"
                )));
            }
        })
    }
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

fn narrow<T: TryFrom<i32>>(values: &[i32]) -> Result<Vec<T>> {
    let narrowed: Option<Vec<T>> = values
        .iter()
        .map(|&value| T::try_from(value).ok())
        .collect();
    narrowed.ok_or_else(|| malformed("a value is outside the range of its type"))
}

impl ValueInfoProto {
    fn tensor_type(&self) -> Option<&TensorTypeProto> {
        self.r#type.as_ref()?.tensor_type.as_ref()
    }

    /// The declared type of its elements, as in [`data_type`].
    pub fn elements(&self) -> Option<i32> {
        self.tensor_type().map(|tensor| tensor.elem_type)
    }

    /// Whether the value is declared to be a tensor of f32.
    pub fn is_f32(&self) -> bool {
        self.elements() == Some(data_type::FLOAT)
    }

    /// The declared lengths; `None` where one of them is left open or none is declared.
    pub fn shape(&self) -> Option<Vec<usize>> {
        self.lengths()?
            .into_iter()
            .map(std::result::Result::ok)
            .collect()
    }

    /// Each declared length, or the name that the file gives to one that it leaves open (it may be
    /// empty); `None` where no shape is declared.
    pub fn lengths(&self) -> Option<Vec<std::result::Result<usize, String>>> {
        let shape = self.tensor_type()?.shape.as_ref()?;
        let length = |dim: &DimensionProto| {
            let declared = dim.dim_value.and_then(|value| usize::try_from(value).ok());
            // Some exporters write 0 or -1 for a length that is open.
            let declared = declared.filter(|&length| length > 0);
            declared.ok_or_else(|| dim.dim_param.clone().unwrap_or_default())
        };
        Some(shape.dim.iter().map(length).collect())
    }
}

impl NodeProto {
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|a| a.name == name)
    }

    pub fn int(&self, name: &str) -> Result<Option<i64>> {
        self.attribute(name)
            .map(|a| {
                a.i.ok_or_else(|| self.malformed(format!("attribute {name} is no integer")))
            })
            .transpose()
    }

    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name)?.f
    }

    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    pub fn text(&self, name: &str) -> Option<&[u8]> {
        self.attribute(name)?.s.as_deref()
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    /// How messages name this node.
    pub fn label(&self) -> String {
        let name = Some(&self.name).filter(|name| !name.is_empty());
        let name = name.or(self.output.first()).map_or("", String::as_str);
        format!("node {name:?} ({})", self.op_type)
    }

    /// An error of the file in this node.
    pub fn malformed(&self, what: impl std::fmt::Display) -> Error {
        malformed(format!("{}: {what}", self.label()))
    }

    /// Something valid in this node that is not implemented.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::unsupported(format!("{}: {what}", self.label()))
    }
}

/// An error of the file.
pub fn malformed(what: impl std::fmt::Display) -> Error {
    Error::engine(format!("the ONNX file is malformed: {what}"))
}

/// The graph in the bytes of a model file.
///
/// # Errors
/// Fails on bytes that are no ONNX model.
pub fn decode(bytes: Bytes) -> Result<GraphProto> {
    decode_with_opset(bytes).map(|(graph, _)| graph)
}

/// The graph in the bytes of a model file, and the version of ONNX's own operator set that it is of.
///
/// # Errors
/// Fails on bytes that are no ONNX model.
pub fn decode_with_opset(bytes: Bytes) -> Result<(GraphProto, i64)> {
    let model = ModelProto::decode(bytes)
        .engine()
        .map_err(|e| e.context("the file is not an ONNX model"))?;
    let mut imported = model.opset_import.iter();
    let own = imported.find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    let opset = own.or(model.opset_import.first());
    let opset = opset.ok_or_else(|| malformed("it names no operator set"))?;
    let version = opset.version;
    let graph = model.graph.ok_or_else(|| malformed("it holds no graph"))?;
    Ok((graph, version))
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
    fn refuses_constants_that_contradict_themselves() {
        for bad in [
            tensor(&[3], data_type::INT8, &[0; 2]),
            tensor(&[-1], data_type::INT8, &[0; 2]),
            tensor(&[1], data_type::FLOAT, &[0; 3]),
            tensor(&[i64::MAX, i64::MAX], data_type::INT8, &[0; 2]),
            tensor(&[2], 16, &[0; 4]),
            TensorProto {
                int32_data: vec![300],
                ..tensor(&[1], data_type::UINT8, &[])
            },
            TensorProto {
                data_location: EXTERNAL,
                ..tensor(&[0], data_type::FLOAT, &[])
            },
        ] {
            assert!(Constant::read(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn refuses_bytes_that_are_no_model() {
        for bytes in [
            &b""[..],
            b"\xff\xff\xff",
            b"hello, world",
            &[0x3a, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(decode(Bytes::from_static(bytes)).is_err());
        }
    }
}
