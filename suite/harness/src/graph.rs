//! What the harness knows of an ONNX graph: shapes, the work of convolutions, and the layers of a
//! quantized one: what is computed between one QuantizeLinear and the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_onnx::{
    AttributeProto, Constant, GraphProto, ModelProto, NodeProto, TensorProto, Values, decode,
    write::{constant, encode, f32_value, node},
};
use firstpass_probe::TensorSpec;
use prost::Message;

/// The operator set of the files that are made here.
const OPSET: i64 = 13;

/// A layer that reads more channels is not made a file of its own: what picks some of them grows with their square.
const MOST_CHANNELS: usize = 1 << 14;

/// A graph whose quantized activations are known.
pub struct Graph {
    graph: GraphProto,
    /// Of the file.
    bytes: Vec<u8>,
    shapes: BTreeMap<String, Vec<usize>>,
}

/// What is computed up to a QuantizeLinear of activations.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The operator whose result is quantized.
    pub name: String,
    pub operator: String,
    /// The dequantized result, by its name in the graph.
    pub output: String,
    /// Of the quantized result.
    pub scale: f32,
    /// The integer that stands for 0 in it.
    pub zero_point: i64,
    pub shape: Vec<usize>,
    /// Places of its nodes in the graph.
    nodes: Vec<usize>,
    /// The dequantized activations that it reads; none where it quantizes the input of the graph.
    pub inputs: Vec<String>,
}

impl Graph {
    /// # Errors
    /// Fails on a file that is no ONNX model.
    pub fn read(path: &Path, inputs: &[TensorSpec]) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let graph = decode(bytes.clone().into())?;
        let mut found = Self {
            graph,
            bytes,
            shapes: inputs
                .iter()
                .map(|input| (input.name.clone(), input.shape.clone()))
                .collect(),
        };
        found.infer_shapes()?;
        Ok(found)
    }

    fn constant(&self, name: &str) -> Option<&TensorProto> {
        self.graph.initializer.iter().find(|t| t.name == name)
    }

    fn producer(&self, name: &str) -> Option<usize> {
        self.graph
            .node
            .iter()
            .position(|node| node.output.iter().any(|o| o == name))
    }

    /// Shapes of activations, as far as the operators are known.
    fn infer_shapes(&mut self) -> Result<()> {
        for node in &self.graph.node {
            let first = node.input.first().and_then(|name| self.shapes.get(name));
            let (Some(first), [output]) = (first, &node.output[..]) else {
                continue;
            };
            let shape = match node.op_type.as_str() {
                "Relu" | "Clip" | "QuantizeLinear" | "DequantizeLinear" | "Add" | "Identity"
                | "Sigmoid" => Some(first.clone()),
                "Conv" => self.convolved(node, first)?,
                _ => None,
            };
            if let Some(shape) = shape {
                self.shapes.insert(output.clone(), shape);
            }
        }
        Ok(())
    }

    fn convolved(&self, node: &NodeProto, input: &[usize]) -> Result<Option<Vec<usize>>> {
        let (Some(weights), [number, _, height, width]) = (self.weights(node), input) else {
            return Ok(None);
        };
        let &[channels, _, rows, columns] = &weights.dims[..] else {
            return Ok(None);
        };
        let ints = |name: &str, default: i64, at: usize| {
            node.ints(name)
                .and_then(|ints| ints.get(at).copied())
                .unwrap_or(default)
        };
        let size = |size: usize, kernel: i64, axis: usize| -> Option<usize> {
            let pads = ints("pads", 0, axis).checked_add(ints("pads", 0, axis + 2))?;
            let padded = i64::try_from(size).ok()?.checked_add(pads)?;
            let reach = kernel.checked_sub(1)?;
            let reach = reach
                .checked_mul(ints("dilations", 1, axis))?
                .checked_add(1)?;
            let room = padded.checked_sub(reach)?;
            let steps = room.checked_div(ints("strides", 1, axis))?;
            usize::try_from(steps.checked_add(1)?).ok()
        };
        let shape = (|| {
            Some(vec![
                *number,
                usize::try_from(channels).ok()?,
                size(*height, rows, 0)?,
                size(*width, columns, 1)?,
            ])
        })();
        let shape = shape.filter(|shape| shape.iter().all(|&length| length > 0));
        Ok(Some(shape.with_context(|| {
            format!("{} has no output", node.label())
        })?))
    }

    /// The multiplications with addition of every convolution whose shape is known, by the name of its
    /// node.
    pub fn multiply_adds(&self) -> BTreeMap<&str, u64> {
        let convolutions = self.graph.node.iter().filter(|node| node.op_type == "Conv");
        let counted = convolutions.filter_map(|node| {
            let weights = self.weights(node)?;
            let mut outputs = self.shapes.get(node.output.first()?)?.iter();
            let outputs = outputs.try_fold(1_u64, |all, &n| all.checked_mul(n as u64))?;
            let mut taps = weights.dims.iter().skip(1);
            let count = taps.try_fold(outputs, |all, &n| all.checked_mul(n.try_into().ok()?))?;
            Some((node.name.as_str(), count))
        });
        counted.collect()
    }

    /// The weights of a convolution, whether they are quantized or not.
    fn weights(&self, node: &NodeProto) -> Option<&TensorProto> {
        let name = node.input.get(1)?;
        self.constant(name).or_else(|| {
            let dequantize = &self.graph.node[self.producer(name)?];
            self.constant(dequantize.input.first()?)
        })
    }

    /// Every layer whose shape is known, in the order of the graph.
    ///
    /// # Errors
    /// Fails where a scale is missing, or a scale or zero point is not a single one.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for (place, node) in self.graph.node.iter().enumerate() {
            let (Some(read), Some(quantized)) = (node.input.first(), node.output.first()) else {
                continue;
            };
            if node.op_type != "QuantizeLinear" || self.constant(read).is_some() {
                continue;
            }
            let dequantized = self.graph.node.iter().find(|other| {
                other.op_type == "DequantizeLinear" && other.input.first() == Some(quantized)
            });
            let shape = self.shapes.get(quantized);
            let dequantized = dequantized.and_then(|node| node.output.first());
            let (Some(dequantized), Some(shape)) = (dequantized, shape) else {
                continue;
            };
            let (nodes, inputs) = self.between(place);
            let operator = nodes
                .iter()
                .map(|&place| &self.graph.node[place])
                .rfind(|node| !is_around(node))
                .unwrap_or(node);
            layers.push(Layer {
                name: operator.name.clone(),
                operator: operator.op_type.clone(),
                output: dequantized.clone(),
                scale: self.scale(node)?,
                zero_point: self.zero_point(node)?,
                shape: shape.clone(),
                nodes,
                inputs,
            });
        }
        Ok(layers)
    }

    fn scale(&self, node: &NodeProto) -> Result<f32> {
        match self.input(node, 1)? {
            Some(Values::F32(scales)) if scales.len() == 1 => Ok(scales[0]),
            _ => bail!("{} has no single scale", node.label()),
        }
    }

    /// 0 where the file says none, as ONNX defines.
    fn zero_point(&self, node: &NodeProto) -> Result<i64> {
        match self.input(node, 2)? {
            None if node.input.get(2).is_none_or(String::is_empty) => Ok(0),
            Some(Values::U8(points)) if points.len() == 1 => Ok(points[0].into()),
            Some(Values::I8(points)) if points.len() == 1 => Ok(points[0].into()),
            _ => bail!("{} has no single zero point of 8 bits", node.label()),
        }
    }

    /// The values of an input of a node; `None` where it is no constant.
    fn input(&self, node: &NodeProto, place: usize) -> Result<Option<Values>> {
        let constant = node.input.get(place).and_then(|name| self.constant(name));
        let read = constant.map(Constant::read).transpose();
        Ok(read?.map(|read| read.values))
    }

    /// The nodes that a QuantizeLinear needs, itself included, back to dequantized activations, and the
    /// names of these.
    fn between(&self, place: usize) -> (Vec<usize>, Vec<String>) {
        let mut nodes = BTreeSet::from([place]);
        let mut inputs = Vec::new();
        let mut next = vec![place];
        while let Some(place) = next.pop() {
            for name in &self.graph.node[place].input {
                let Some(producer) = self.producer(name) else {
                    continue;
                };
                let node = &self.graph.node[producer];
                let activation = node
                    .input
                    .first()
                    .filter(|read| self.constant(read).is_none());
                if node.op_type == "DequantizeLinear" && activation.is_some() {
                    if !inputs.contains(name) {
                        inputs.push(name.clone());
                    }
                } else if nodes.insert(producer) {
                    next.push(producer);
                }
            }
        }
        (nodes.into_iter().collect(), inputs)
    }

    /// The file with further outputs. What is appended to a message of protobuf is merged with it.
    pub fn with_outputs(&self, names: &[&str]) -> Vec<u8> {
        let outputs = names.iter().map(|name| f32_value(name, None)).collect();
        let more = GraphProto {
            output: outputs,
            ..GraphProto::default()
        };
        let mut bytes = self.bytes.clone();
        let more = ModelProto {
            graph: Some(more),
            ..ModelProto::default()
        };
        bytes.extend(more.encode_to_vec());
        bytes
    }

    /// A file of its own for a layer, for the referee, which reads what is written here; whose input `input` holds the layer's inputs one after the other
    /// along the channels. `None` for one that quantizes the input of the graph.
    ///
    /// # Errors
    /// Fails where the layer's inputs are no images of one size.
    pub fn alone(&self, layer: &Layer, input: &str) -> Result<Option<(Vec<u8>, Vec<usize>)>> {
        let shapes: Vec<&Vec<usize>> = layer
            .inputs
            .iter()
            .filter_map(|name| self.shapes.get(name))
            .collect();
        if shapes.is_empty() || shapes.len() != layer.inputs.len() {
            return Ok(None);
        }
        let mut shape = shapes[0].clone();
        ensure!(
            shape.len() == 4 && shapes.iter().all(|s| s.len() == 4 && s[2..] == shape[2..]),
            "{} reads {shapes:?}",
            layer.name
        );
        let channels = shapes.iter().map(|shape| shape[1]);
        let channels = channels.fold(0, usize::saturating_add);
        ensure!(
            channels <= MOST_CHANNELS,
            "{} reads {channels} channels, and more than {MOST_CHANNELS} are not looked at",
            layer.name
        );
        shape[1] = channels;
        let mut made = GraphProto {
            input: vec![f32_value(input, None)],
            output: vec![f32_value(&layer.output, None)],
            ..GraphProto::default()
        };
        let mut first = 0;
        for (name, own) in layer.inputs.iter().zip(&shapes) {
            let dequantize = &self.graph.node[self.producer(name).context("it is computed")?];
            let part = Part {
                first,
                channels: own[1],
                of: shape[1],
            };
            self.feed(&mut made, dequantize, input, &part)?;
            first += own[1];
        }
        made.node.extend(
            layer
                .nodes
                .iter()
                .map(|&place| self.graph.node[place].clone()),
        );
        let last = self.producer(&layer.output).context("it is computed")?;
        made.node.push(self.graph.node[last].clone());
        let read: BTreeSet<&String> = made.node.iter().flat_map(|node| &node.input).collect();
        let constants = self
            .graph
            .initializer
            .iter()
            .filter(|t| read.contains(&t.name));
        let constants: Vec<TensorProto> = constants.cloned().collect();
        made.initializer.extend(constants);
        Ok(Some((encode(made, OPSET), shape)))
    }

    /// Nodes that give a layer one of its inputs from the channels of the file's only one. The values
    /// come dequantized: quantizing them again, with the same scale, gives the integers that they were.
    /// Where the file's input has more channels, a convolution with the weight 1 picks some: its
    /// multiplier is `s·1/s`, so that nothing is rounded.
    fn feed(
        &self,
        made: &mut GraphProto,
        dequantize: &NodeProto,
        input: &str,
        part: &Part,
    ) -> Result<()> {
        let output = &dequantize.output[0];
        let name = |what: &str| format!("{output}.{what}");
        let with_scales = |operator: &str, value: &str, output: &str| {
            let scales = dequantize.input[1..].iter().map(String::as_str);
            let inputs: Vec<&str> = std::iter::once(value).chain(scales).collect();
            node(operator, &inputs, output)
        };
        let is_whole = part.channels == part.of;
        let quantized = if is_whole {
            dequantize.input[0].clone()
        } else {
            name("all.quantized")
        };
        made.node
            .push(with_scales("QuantizeLinear", input, &quantized));
        if !is_whole {
            let shape = [part.channels, part.of, 1, 1];
            let [weights, one, zero] = ["select", "one", "zero"].map(name);
            made.initializer.extend([
                constant(&weights, &shape, &part.selection()),
                constant(&one, &[], &[1_f32]),
                constant(&zero, &[], &[0_i8]),
            ]);
            let [all, selection, selected] = ["all", "selection", "selected"].map(name);
            made.node.extend([
                with_scales("DequantizeLinear", &quantized, &all),
                node("DequantizeLinear", &[&weights, &one, &zero], &selection),
                node("Conv", &[&all, &selection], &selected)
                    .with(AttributeProto::ints("kernel_shape", &[1, 1])),
                with_scales("QuantizeLinear", &selected, &dequantize.input[0]),
            ]);
        }
        made.node.push(dequantize.clone());
        Ok(())
    }
}

/// Some channels of several.
struct Part {
    first: usize,
    channels: usize,
    of: usize,
}

impl Part {
    /// The weights `[channel][of]` that pick them.
    fn selection(&self) -> Vec<i8> {
        let mut weights = vec![0; self.channels * self.of];
        for channel in 0..self.channels {
            weights[channel * self.of + self.first + channel] = 1;
        }
        weights
    }
}

/// Whether a node is only about how a result is stored.
fn is_around(node: &NodeProto) -> bool {
    let around = [
        "QuantizeLinear",
        "DequantizeLinear",
        "Relu",
        "Clip",
        "Identity",
    ];
    around.contains(&node.op_type.as_str())
}

#[cfg(test)]
mod tests;
