//! What a model file says of its inputs and outputs.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context, Error, Result, bail, ensure};
use firstpass_onnx::{
    Bytes, Constant, ErrorKind, GraphProto, NodeProto, TensorProto, ValueInfoProto, decode,
    decode_flat,
};
use firstpass_probe::{Dtype, Format};
use firstpass_trial::{
    model::{Activation, Precision},
    regular_file,
};

use crate::user_model::{
    archive::torchscript,
    foreign::{HEAD, foreign},
};

/// More bytes are not read: protobuf allows no more in a message.
pub(super) const MOST_BYTES: u64 = 1 << 31;

/// More operators are not looked at. The largest vision models have some thousands.
const MOST_OPERATORS: usize = 100_000;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    pub format: Format,
    pub precision: Precision,
    /// Empty for TorchScript, which does not say.
    pub inputs: Vec<Declared>,
    /// Likewise.
    pub outputs: Vec<Declared>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    pub name: String,
    pub dtype: Dtype,
    /// Each length, or the name of one that is left open; `None` where nothing is said.
    pub lengths: Option<Vec<Result<usize, String>>>,
    /// Of a whole output that is dequantized with one scale: the scale, and what comes behind it.
    pub step: Option<(f32, Activation)>,
}

impl Declared {
    /// The shape, where the file leaves nothing open.
    pub fn shape(&self) -> Option<Vec<usize>> {
        let lengths = self.lengths.as_ref()?.iter();
        lengths.map(|length| length.clone().ok()).collect()
    }
}

impl Signature {
    /// Reads it from an ONNX or a TorchScript file, told apart by their contents. Nothing of the
    /// file is run.
    ///
    /// # Errors
    /// Fails on a file that is neither, is larger than what engines read, or has an input or output
    /// of a type that Firstpass has not.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || {
            ensure!(
                !path.is_dir(),
                "it is a folder; give the model file in it, or the folder of a model.toml"
            );
            regular_file::check(path)?;
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            ensure!(size > 0, "it is empty");
            let mut reader = BufReader::with_capacity(HEAD, file);
            if let Some(message) = foreign(path, reader.fill_buf()?) {
                bail!("{message}");
            }
            ensure!(
                size <= MOST_BYTES,
                "it has {size} bytes, and models of more than {MOST_BYTES} are not read; save an ONNX \
                 model's weights in a file beside it, with onnx.save(…, save_as_external_data=True)"
            );
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            if bytes.starts_with(b"PK") {
                return torchscript(bytes);
            }
            let bytes = Bytes::from(bytes);
            // Functions that cannot be unfolded are for the engines to say.
            let flat = decode_flat(bytes.clone()).map(|(graph, _)| graph);
            let graph = flat.or_else(|_| decode(bytes));
            let graph = graph.map_err(|error| match error.kind {
                // It is ONNX, and more than is read.
                ErrorKind::Unsupported => Error::from(error),
                _ => Error::from(error).context("it is neither ONNX nor TorchScript"),
            })?;
            onnx(&graph)
        };
        read().with_context(|| format!("cannot read the model {}", path.display()))
    }
}

fn onnx(graph: &GraphProto) -> Result<Signature> {
    ensure!(
        graph.node.len() <= MOST_OPERATORS,
        "it has {} operators, and more than {MOST_OPERATORS} are not looked at",
        graph.node.len()
    );
    // Any of the forms in which a file may be quantized, which are all ONNX.
    let quantized = is_quantized(graph, 0);
    // Files of the first IR versions list the constants among the inputs.
    let values = Values::of(graph);
    let is_constant = |name: &str| values.constants.contains_key(name);
    let inputs = graph.input.iter();
    let inputs = inputs
        .filter(|input| !is_constant(&input.name))
        .map(|input| declared(input, "input"))
        .collect::<Result<Vec<_>>>()?;
    ensure!(!inputs.is_empty(), "it has no input");
    let outputs = graph.output.iter();
    let outputs = outputs
        .map(|output| {
            Ok(Declared {
                step: step(&values, &output.name),
                ..declared(output, "output")?
            })
        })
        .collect::<Result<Vec<_>>>()?;
    ensure!(!outputs.is_empty(), "it has no output");
    Ok(Signature {
        format: Format::ONNX,
        precision: if quantized {
            Precision::Int8
        } else {
            Precision::Fp32
        },
        inputs,
        outputs,
    })
}

/// Graphs within graphs deeper than this are not looked into.
const DEEPEST: usize = 64;

/// Whether an operator of a graph, or of one within it, gives integers for real numbers or computes with such.
fn is_quantized(graph: &GraphProto, depth: usize) -> bool {
    let quantizes = |node: &NodeProto| {
        let name = node.op_type.as_str();
        let is_known = matches!(
            name,
            "QuantizeLinear"
                | "DynamicQuantizeLinear"
                | "ConvInteger"
                | "MatMulInteger"
                | "MatMulIntegerToFloat"
                | "DynamicQuantizeMatMul"
                | "DynamicQuantizeLSTM"
                | "QGemm"
                | "QAttention"
        );
        is_known || name.starts_with("QLinear")
    };
    let mut nodes = graph.node.iter();
    nodes.any(|node| {
        quantizes(node)
            || depth < DEEPEST && node.graphs().any(|graph| is_quantized(graph, depth + 1))
    })
}

fn declared(value: &ValueInfoProto, what: &str) -> Result<Declared> {
    let name = &value.name;
    // TensorProto.DataType.
    let dtype = match value.elements() {
        Some(1) => Dtype::F32,
        Some(2) => Dtype::U8,
        Some(3) => Dtype::I8,
        Some(4) => Dtype::U16,
        Some(5) => Dtype::I16,
        Some(6) => Dtype::I32,
        Some(7) => Dtype::I64,
        Some(8) => bail!(
            "its {what} {name:?} is of strings, which Firstpass cannot give to engines or compare: cut what \
             handles text from the model, for example with onnx.utils.extract_model"
        ),
        Some(9) => Dtype::Bool,
        Some(10) => Dtype::F16,
        Some(11) => Dtype::F64,
        Some(12) => Dtype::U32,
        Some(13) => Dtype::U64,
        Some(16) => Dtype::BF16,
        Some(other) => bail!(
            "its {what} {name:?} is of {}; types that can be given and compared are {}: convert the model",
            unknown_type(other),
            Dtype::keys()
        ),
        None => bail!(
            "its {what} {name:?} is no tensor but a sequence, a map or an optional: export the model with \
             tensors alone (in scikit-learn with zipmap=False)"
        ),
    };
    Ok(Declared {
        name: value.name.clone(),
        dtype,
        lengths: value.lengths(),
        step: None,
    })
}

/// The name of a type that no tensor here has.
fn unknown_type(number: i32) -> String {
    match number {
        14 | 15 => "complex numbers".into(),
        17..=20 => "floats of 8 bits".into(),
        21 | 22 => "integers of 4 bits".into(),
        23 => "floats of 4 bits".into(),
        other => format!("ONNX type {other}"),
    }
}

/// What gives each value of a graph: looked up once for each output and step, in graphs of any length.
struct Values<'a> {
    producers: HashMap<&'a str, &'a NodeProto>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Values<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let mut producers = HashMap::new();
        for node in graph.node.iter().rev() {
            producers.extend(node.output.iter().map(|output| (output.as_str(), node)));
        }
        let constants = graph.initializer.iter();
        Self {
            producers,
            constants: constants
                .map(|tensor| (tensor.name.as_str(), tensor))
                .collect(),
        }
    }

    fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        let node = || {
            self.producers
                .get(name)
                .filter(|node| node.op_type == "Constant")
        };
        let given = self.constants.get(name).copied();
        given.or_else(|| node()?.tensor("value"))
    }
}

/// More operators than these between a quantized output and its end are not looked behind.
const MOST_STEPS: usize = 64;

/// The one scale that a whole output was dequantized with, looked for behind what changes no values.
fn step(values: &Values, output: &str) -> Option<(f32, Activation)> {
    let mut name = output;
    let mut activation = Activation::None;
    for _ in 0..MOST_STEPS {
        let node = values.producers.get(name)?;
        match node.op_type.as_str() {
            "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose"
            | "Slice" | "Gather" | "Split" | "Expand" | "Tile" | "DepthToSpace"
            | "SpaceToDepth" | "Dropout" => {}
            "Sigmoid" if activation == Activation::None => activation = Activation::Sigmoid,
            "DequantizeLinear" => return Some((scale(values, node)?, activation)),
            _ => return None,
        }
        name = node.input.first()?;
    }
    None
}

fn scale(values: &Values, node: &NodeProto) -> Option<f32> {
    let constant = values.constant(node.input.get(1)?)?;
    match Constant::read(constant).ok()?.values {
        firstpass_onnx::Values::F32(scales)
            if scales.len() == 1 && scales[0].is_normal() && scales[0] > 0.0 =>
        {
            Some(scales[0])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::{AttributeProto, write::node};

    use super::*;

    #[test]
    fn quantized_is_what_computes_with_quantized_values_wherever_it_stands() {
        let graph = |node: NodeProto| GraphProto {
            node: vec![node],
            ..GraphProto::default()
        };
        for name in ["QuantizeLinear", "QLinearAdd", "QAttention", "ConvInteger"] {
            assert!(is_quantized(&graph(node(name, &["x"], "y")), 0), "{name}");
        }
        // Weights alone are dequantized to floats.
        for name in ["Conv", "DequantizeLinear", "MatMulNBits"] {
            assert!(!is_quantized(&graph(node(name, &["x"], "y")), 0), "{name}");
        }
        let branch = AttributeProto {
            name: "then_branch".into(),
            g: Some(graph(node("QuantizeLinear", &["x", "s"], "q"))),
            ..AttributeProto::default()
        };
        let choice = node("If", &["c"], "y").with(branch);
        assert!(is_quantized(&graph(choice), 0));
    }
}
