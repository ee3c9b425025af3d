//! What a model file declares of its outputs, read without its weights: rten's user knows the types of the
//! outputs beforehand, and need not read a file twice for them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use firstpass_onnx::{ValueInfoProto, data_type};
use firstpass_probe::{Dtype, EngineResult, Error, Result};
use prost::Message;

/// `ModelProto.graph` and `GraphProto.output`.
const GRAPH: u64 = 7;
const OUTPUT: u64 = 12;

/// What protobuf calls the wire type of a field whose length is told.
const LENGTH: u64 = 2;

/// An output cannot be declared in more bytes than these.
const LONGEST: u64 = 1 << 20;

/// The types of the outputs that a file declares to be of a type that rten has not, but computes in another.
pub(crate) fn types_of_outputs(path: &Path) -> Result<BTreeMap<String, Dtype>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut types = BTreeMap::new();
    while !reader.fill_buf()?.is_empty() {
        match field(&mut reader)? {
            // Its fields come next. The model's own have other numbers than OUTPUT.
            (GRAPH, LENGTH, _) => {}
            (OUTPUT, LENGTH, length) if length <= LONGEST => {
                let mut bytes = Vec::new();
                reader.by_ref().take(length).read_to_end(&mut bytes)?;
                // What is no output is a field of another message; rten has read the file already.
                let Ok(output) = ValueInfoProto::decode(&bytes[..]) else {
                    continue;
                };
                if let Some(dtype) = output.elements().and_then(replaced) {
                    types.insert(output.name, dtype);
                }
            }
            (_, LENGTH, length) => {
                reader.seek_relative(i64::try_from(length)?)?;
            }
            _ => {}
        }
    }
    Ok(types)
}

/// The number of a field, its wire type and, of [`LENGTH`], its length; fields of other types are read.
fn field(reader: &mut impl BufRead) -> Result<(u64, u64, u64)> {
    let tag = varint(reader)?;
    let value = match tag & 7 {
        0 | LENGTH => varint(reader)?,
        1 => skip(reader, 8)?,
        5 => skip(reader, 4)?,
        other => {
            return Err(Error::engine(format!(
                "the ONNX file is malformed: a field of wire type {other}"
            )));
        }
    };
    Ok((tag >> 3, tag & 7, value))
}

fn skip(reader: &mut impl BufRead, length: usize) -> Result<u64> {
    reader.read_exact(&mut [0; 8][..length])?;
    Ok(0)
}

fn varint(reader: &mut impl BufRead) -> Result<u64> {
    // At most ten bytes, as protobuf defines it.
    let mut bytes = Vec::with_capacity(10);
    for byte in reader.take(10).bytes() {
        let byte = byte?;
        bytes.push(byte);
        if byte < 0x80 {
            break;
        }
    }
    prost::encoding::decode_varint(&mut &bytes[..]).engine()
}

/// A type that rten has not, where it computes in another.
fn replaced(elements: i32) -> Option<Dtype> {
    match elements {
        data_type::INT64 => Some(Dtype::I64),
        data_type::BOOL => Some(Dtype::Bool),
        data_type::FLOAT16 => Some(Dtype::F16),
        data_type::DOUBLE => Some(Dtype::F64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::{
        GraphProto,
        write::{constant, encode, f32_value, node},
    };

    use super::*;

    #[test]
    fn types_are_found_behind_weights_of_any_size() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.onnx");
        let mut indices = f32_value("indices", Some(&[2]));
        if let Some(tensor) = indices.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()) {
            tensor.elem_type = data_type::INT64;
        }
        let graph = GraphProto {
            node: vec![node("TopK", &["x", "k"], "values")],
            initializer: vec![constant("w", &[100_000], &vec![1.0_f32; 100_000])],
            input: vec![f32_value("x", Some(&[2]))],
            output: vec![f32_value("values", Some(&[2])), indices],
            ..GraphProto::default()
        };
        std::fs::write(&path, encode(graph, 13))?;
        let types = types_of_outputs(&path)?;
        assert_eq!(types, BTreeMap::from([("indices".into(), Dtype::I64)]));
        Ok(())
    }

    #[test]
    fn a_file_that_is_no_model_is_an_error_or_has_no_outputs() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.onnx");
        for bytes in [&b"\x3a"[..], b"\x3a\x80\x80", b"\xff\xff\xff", b"\x0f"] {
            std::fs::write(&path, bytes)?;
            assert!(types_of_outputs(&path).is_err(), "{bytes:?}");
        }
        Ok(())
    }
}
