//! The ONNX file format, as far as models of vision and tokens need it.

mod constant;
pub mod cut;
mod error;
pub mod external;
mod flat;
mod proto;
mod weight_files;
mod wire;
pub mod write;

pub use constant::{Constant, Int8s, Values};
pub use error::{EngineResult, Error, ErrorKind, Result};
use prost::Message;
pub use prost::bytes::Bytes;
pub use proto::*;
pub use weight_files::weight_files;

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

    pub fn graph(&self, name: &str) -> Option<&GraphProto> {
        self.attribute(name)?.g.as_ref()
    }

    /// The graphs that it chooses between or repeats.
    pub fn graphs(&self) -> impl Iterator<Item = &GraphProto> {
        self.attribute.iter().filter_map(|a| a.g.as_ref())
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
    let model = decode_model(bytes)?;
    let opset = own_opset(&model)?;
    let graph = model.graph.ok_or_else(|| malformed("it holds no graph"))?;
    Ok((graph, opset))
}

/// The same for whoever computes what it means: functions of the file's own are unfolded, and every node stands behind
/// those that it reads.
///
/// # Errors
/// Fails on bytes that are no ONNX model, and on functions that cannot be unfolded.
pub fn decode_flat(bytes: Bytes) -> Result<(GraphProto, i64)> {
    let model = decode_model(bytes)?;
    let opset = own_opset(&model)?;
    Ok((flat::flat(model)?, opset))
}

fn decode_model(bytes: Bytes) -> Result<ModelProto> {
    ModelProto::decode(bytes).map_err(|error| {
        let is_nested = error.to_string().contains("recursion limit");
        let error = Error::engine(error.to_string());
        match is_nested {
            // A valid file may be so, and is not read here all the same.
            true => Error::unsupported(
                "its graphs lie within each other more than 30 deep, and such files are not read",
            ),
            false => error.context("the file is not an ONNX model"),
        }
    })
}

/// The version of ONNX's own operator set.
pub(crate) fn own_opset(model: &ModelProto) -> Result<i64> {
    let mut imported = model.opset_import.iter();
    let own = imported.find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    let opset = own.or(model.opset_import.first());
    let opset = opset.ok_or_else(|| malformed("it names no operator set"))?;
    Ok(opset.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph within a branch of an If, within a branch of an If, and so on.
    fn nested(depth: usize) -> Vec<u8> {
        let mut graph = GraphProto::default().encode_to_vec();
        for _ in 0..depth {
            let mut attribute = Vec::new();
            wire::push(&mut attribute, 1, b"then_branch");
            wire::push(&mut attribute, 6, &graph);
            let mut node = Vec::new();
            wire::push(&mut node, 4, b"If");
            wire::push(&mut node, 5, &attribute);
            graph = Vec::new();
            wire::push(&mut graph, 1, &node);
        }
        let mut model = Vec::new();
        wire::push(&mut model, 7, &graph);
        wire::push(
            &mut model,
            8,
            &OperatorSetIdProto::default().encode_to_vec(),
        );
        model
    }

    #[test]
    fn graphs_within_graphs_are_not_called_malformed() {
        assert!(decode(nested(30).into()).is_ok());
        for depth in [40, 200, 1000] {
            let error = decode(nested(depth).into()).expect_err("too deep");
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(error.to_string().contains("30 deep"), "{error}");
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
