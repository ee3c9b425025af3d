//! What a model file says of its inputs and outputs.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_onnx::{
    Constant, GraphProto, NodeProto, TensorProto, ValueInfoProto, data_type, decode,
};
use firstpass_probe::{Dtype, Format};
use firstpass_trial::model::{Activation, Precision};
use firstpass_trial::tensor_files::unfolded;
use zip::ZipArchive;

/// More bytes are not read: protobuf allows no more in a message.
const MOST_BYTES: u64 = 1 << 31;

/// More bytes of one file of code are not read: the largest modules have some hundred KiB.
const MOST_CODE: u64 = 64 << 20;

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
    /// of a type that cannot be given to all engines.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            ensure!(size > 0, "it is empty");
            ensure!(
                size <= MOST_BYTES,
                "it has {size} bytes, and models of more than {MOST_BYTES} are not read"
            );
            let mut bytes = Vec::new();
            BufReader::new(file).read_to_end(&mut bytes)?;
            if bytes.starts_with(b"PK") {
                return torchscript(bytes);
            }
            let graph = decode(bytes.into())?;
            onnx(&graph)
        };
        read().with_context(|| {
            format!(
                "cannot read {}; give an ONNX file or a TorchScript file",
                path.display()
            )
        })
    }
}

fn torchscript(bytes: Vec<u8>) -> Result<Signature> {
    let mut archive = ZipArchive::new(std::io::Cursor::new(bytes))
        .context("it begins like an archive, but is damaged")?;
    let mut is_module = false;
    let mut precision = Precision::Fp32;
    let unfolded = unfolded(&mut archive)?;
    ensure!(
        unfolded <= MOST_BYTES,
        "its files unfold to {unfolded} bytes, and models of more than {MOST_BYTES} are not read"
    );
    for index in 0..archive.len() {
        let file = archive.by_index(index)?;
        let name = file.name()?.into_owned();
        is_module |= name.ends_with("/constants.pkl") || name.contains("/code/");
        // The code of a quantized module names its operators.
        if name.contains("/code/") && has_extension(&name, "py") {
            let mut code = String::new();
            let size = file
                .take(MOST_CODE + 1)
                .read_to_string(&mut code)
                .with_context(|| format!("{name} is damaged"))?;
            ensure!(
                size as u64 <= MOST_CODE,
                "{name} holds more than {MOST_CODE} bytes of code, which are not read"
            );
            if code.contains("ops.quantized.") {
                precision = Precision::Int8;
            }
        }
    }
    ensure!(
        is_module,
        "it is an archive without code: save the model with torch.jit.script(model).save(…), not \
         with torch.save"
    );
    Ok(Signature {
        format: Format::TORCHSCRIPT,
        precision,
        inputs: Vec::new(),
        outputs: Vec::new(),
    })
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

fn onnx(graph: &GraphProto) -> Result<Signature> {
    ensure!(
        graph.node.len() <= MOST_OPERATORS,
        "it has {} operators, and more than {MOST_OPERATORS} are not looked at",
        graph.node.len()
    );
    let is_there = |operators: &[&str]| {
        let mut nodes = graph.node.iter();
        nodes.any(|node| operators.contains(&node.op_type.as_str()))
    };
    let in_integers = is_there(&[
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
    ]);
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
        format: if in_integers {
            Format::ONNX_QOPERATOR
        } else {
            Format::ONNX
        },
        precision: if in_integers || is_there(&["QuantizeLinear", "DynamicQuantizeLinear"]) {
            Precision::Int8
        } else {
            Precision::Fp32
        },
        inputs,
        outputs,
    })
}

fn declared(value: &ValueInfoProto, what: &str) -> Result<Declared> {
    let dtype = match value.elements() {
        Some(data_type::FLOAT) => Dtype::F32,
        Some(data_type::DOUBLE) => Dtype::F64,
        Some(data_type::INT64) => Dtype::I64,
        Some(data_type::INT32) => Dtype::I32,
        Some(data_type::UINT8) => Dtype::U8,
        Some(data_type::INT8) => Dtype::I8,
        Some(data_type::BOOL) => Dtype::Bool,
        Some(other) => bail!(
            "its {what} {:?} is of ONNX type {other}; types that can be compared are f32, f64, i64, \
             i32, u8, i8 and bool: convert the model",
            value.name
        ),
        None => bail!("its {what} {:?} is no tensor", value.name),
    };
    Ok(Declared {
        name: value.name.clone(),
        dtype,
        lengths: value.lengths(),
        step: None,
    })
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
            "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" => {}
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
