//! Making small ONNX files.

use prost::Message;

use crate::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type,
    data_type,
};

/// The first IR version of operator set 13, which is read by all engines of our time.
const IR_VERSION: i64 = 7;

/// The bytes of a model file with this graph, which is of operator set `opset`.
pub fn encode(graph: GraphProto, opset: i64) -> Vec<u8> {
    let model = ModelProto {
        ir_version: IR_VERSION,
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: opset,
        }],
        functions: Vec::new(),
    };
    model.encode_to_vec()
}

/// A node with one output, by whose name it is known.
pub fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: format!("{output}/{operator}"),
        op_type: operator.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

impl NodeProto {
    /// The same with one attribute more.
    #[must_use]
    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
}

impl AttributeProto {
    pub fn int(name: &str, value: i64) -> Self {
        Self {
            i: Some(value),
            ..Self::of(name, attribute_type::INT)
        }
    }

    pub fn ints(name: &str, values: &[i64]) -> Self {
        Self {
            ints: values.to_vec(),
            ..Self::of(name, attribute_type::INTS)
        }
    }

    pub fn float(name: &str, value: f32) -> Self {
        Self {
            f: Some(value),
            ..Self::of(name, attribute_type::FLOAT)
        }
    }

    pub fn text(name: &str, value: &str) -> Self {
        Self {
            s: Some(value.into()),
            ..Self::of(name, attribute_type::STRING)
        }
    }

    fn of(name: &str, r#type: i32) -> Self {
        Self {
            name: name.into(),
            r#type,
            ..Self::default()
        }
    }
}

/// A value of the graph that is a tensor of f32; `None` leaves its shape open.
pub fn f32_value(name: &str, shape: Option<&[usize]>) -> ValueInfoProto {
    let dimension = |&length: &usize| DimensionProto {
        dim_value: i64::try_from(length).ok(),
        dim_param: None,
    };
    let shape = shape.map(|lengths| TensorShapeProto {
        dim: lengths.iter().map(dimension).collect(),
    });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: data_type::FLOAT,
                shape,
            }),
        }),
    }
}

/// What can be the elements of a constant.
pub trait Element: bytemuck::NoUninit {
    /// As in [`data_type`].
    const TYPE: i32;
}

impl Element for f32 {
    const TYPE: i32 = data_type::FLOAT;
}
impl Element for u8 {
    const TYPE: i32 = data_type::UINT8;
}
impl Element for i8 {
    const TYPE: i32 = data_type::INT8;
}
impl Element for i32 {
    const TYPE: i32 = data_type::INT32;
}
impl Element for i64 {
    const TYPE: i32 = data_type::INT64;
}

/// A constant of the graph, in row-major order; of rank 0 where `shape` is empty.
pub fn constant<T: Element>(name: &str, shape: &[usize], values: &[T]) -> TensorProto {
    const {
        assert!(
            cfg!(target_endian = "little"),
            "ONNX files are little-endian"
        )
    };
    TensorProto {
        name: name.into(),
        dims: shape.iter().map(|&length| length as i64).collect(),
        data_type: T::TYPE,
        raw_data: bytemuck::cast_slice::<T, u8>(values).to_vec().into(),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Constant, Result, Values, decode_with_opset};

    #[test]
    fn what_is_written_is_read_again() -> Result<()> {
        let made = GraphProto {
            node: vec![
                node("Conv", &["x", "w"], "y")
                    .with(AttributeProto::ints("pads", &[1, 0, 1, 0]))
                    .with(AttributeProto::int("group", 2))
                    .with(AttributeProto::text("auto_pad", "NOTSET")),
            ],
            initializer: vec![constant("w", &[2, 1, 1, 1], &[-1_i32, 7])],
            input: vec![f32_value("x", Some(&[1, 2, 3, 4]))],
            output: vec![f32_value("y", None)],
            ..GraphProto::default()
        };
        let (read, opset) = decode_with_opset(encode(made, 13).into())?;
        assert_eq!(opset, 13);
        let conv = &read.node[0];
        assert_eq!(
            (conv.ints("pads"), conv.int("group")?),
            (Some(&[1, 0, 1, 0][..]), Some(2))
        );
        assert_eq!(conv.text("auto_pad"), Some(&b"NOTSET"[..]));
        assert_eq!(read.input[0].shape(), Some(vec![1, 2, 3, 4]));
        assert!(read.output[0].is_f32() && read.output[0].shape().is_none());
        let weights = Constant::read(&read.initializer[0])?;
        assert_eq!(weights.values, Values::I32(vec![-1, 7]));
        Ok(())
    }
}
