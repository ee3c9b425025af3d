//! What a case is: plain data, from which a model file and its input follow.

use firstpass_onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto,
    write::{Element, constant, encode, f32_value, node},
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};

/// Of the files that are made here.
const OPSET: i64 = 13;

/// The names of the graph's input and output.
pub const INPUT: &str = "x";
pub const OUTPUT: &str = "y";

/// A quantized tensor's type, scale and zero point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    pub scale: f32,
    pub zero: i32,
    /// i8 and not u8.
    pub signed: bool,
}

impl Quantization {
    /// The smallest and the largest integer of the type.
    pub fn limits(self) -> (i32, i32) {
        if self.signed { (-128, 127) } else { (0, 255) }
    }
}

/// What is computed between the quantizations of the input and of the output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    /// Nothing: of floats that reach beyond the range and lie halfway between integers.
    Quantize,
    Relu,
    /// To these real numbers.
    Clip(f32, f32),
    Conv(Conv),
    /// With the same input, quantized in another way.
    Add(Quantization),
    /// Along the channels, likewise.
    Concat(Quantization),
    /// To so many times the height and width, by the nearest value.
    Resize(usize),
    /// Pointwise, depthwise, pointwise, added to the input, each quantized: a block of MobileNetV2. With
    /// so many channels within.
    Block(usize),
}

/// A convolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    pub channels: usize,
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    pub groups: usize,
    /// One scale for each output channel, and not one for all.
    pub per_channel: bool,
    /// u8 with a zero point of 128, and not i8 with 0.
    pub unsigned_weights: bool,
    pub bias: Bias,
    pub relu: bool,
}

/// How a bias is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    None,
    Float,
    /// i32 behind DequantizeLinear.
    Quantized,
}

/// A graph with its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Of the input: 1, channels, height, width.
    pub shape: [usize; 4],
    pub input: Quantization,
    pub operator: Operator,
    pub output: Quantization,
    /// Of the values of input, weights and bias.
    pub seed: u64,
}

impl Case {
    /// The shape of the output.
    pub fn output_shape(&self) -> Vec<usize> {
        let [images, channels, height, width] = self.shape;
        match &self.operator {
            Operator::Conv(conv) => {
                let size = |axis: usize, length: usize| {
                    let reach = (conv.kernel[axis] - 1) * conv.dilations[axis] + 1;
                    (length + conv.pads[axis] + conv.pads[axis + 2] - reach) / conv.strides[axis]
                        + 1
                };
                vec![images, conv.channels, size(0, height), size(1, width)]
            }
            Operator::Concat(_) => vec![images, 2 * channels, height, width],
            Operator::Resize(factor) => vec![images, channels, factor * height, factor * width],
            _ => self.shape.to_vec(),
        }
    }

    /// Of the output.
    pub fn output_scale(&self) -> f32 {
        match self.operator {
            Operator::Quantize => self.input.scale,
            _ => self.output.scale,
        }
    }

    /// The values of the input: of each integer of its type alike, so that also the ends are reached; for
    /// [`Operator::Quantize`] beyond both ends, every fourth halfway between two integers.
    pub fn values(&self) -> Vec<f32> {
        let mut random = self.random("input");
        let (low, high) = self.input.limits();
        let count = self.shape.iter().product();
        let value = |at: usize| {
            let step = f64::from(random.random_range(low..=high) - self.input.zero);
            let step = match &self.operator {
                Operator::Quantize if at.is_multiple_of(4) => step + 0.5,
                Operator::Quantize => 1.1 * step + random.random_range(-0.5..0.5),
                _ => step,
            };
            (step * f64::from(self.input.scale)) as f32
        };
        (0..count).map(value).collect()
    }

    fn random(&self, of: &str) -> ChaCha8Rng {
        let of = of.bytes().fold(self.seed, |hash, byte| {
            hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
        });
        ChaCha8Rng::seed_from_u64(of)
    }

    /// The model file.
    pub fn file(&self) -> Vec<u8> {
        let mut graph = Graph::default();
        let x = graph.requantized(INPUT, "in", self.input);
        let result = match &self.operator {
            Operator::Quantize => x,
            Operator::Relu => graph.computed(node("Relu", &[&x], "relu")),
            Operator::Clip(low, high) => {
                graph.constant("low", &[], &[*low]);
                graph.constant("high", &[], &[*high]);
                graph.computed(node("Clip", &[&x, "low", "high"], "clip"))
            }
            Operator::Conv(conv) => {
                let step = self.input.scale;
                graph.convolution(&x, "conv", (self.shape[1], step), conv, self.random("conv"))
            }
            Operator::Add(other) => {
                let other = graph.requantized(INPUT, "other", *other);
                graph.computed(node("Add", &[&x, &other], "sum"))
            }
            Operator::Concat(other) => {
                let other = graph.requantized(INPUT, "other", *other);
                let concat = node("Concat", &[&x, &other], "all");
                graph.computed(concat.with(AttributeProto::int("axis", 1)))
            }
            Operator::Resize(factor) => {
                graph.constant("scales", &[4], &[1.0, 1.0, *factor as f32, *factor as f32]);
                let resize = node("Resize", &[&x, "", "scales"], "resized")
                    .with(AttributeProto::text("mode", "nearest"))
                    .with(AttributeProto::text(
                        "coordinate_transformation_mode",
                        "asymmetric",
                    ))
                    .with(AttributeProto::text("nearest_mode", "floor"));
                graph.computed(resize)
            }
            Operator::Block(within) => self.block(&mut graph, &x, *within),
        };
        let y = match self.operator {
            Operator::Quantize => result,
            _ => graph.requantized(&result, "out", self.output),
        };
        graph.finish(&y, self)
    }

    /// A block of MobileNetV2. Its scales keep the activations within their range.
    fn block(&self, graph: &mut Graph, x: &str, within: usize) -> String {
        let channels = self.shape[1];
        let pointwise = |channels: usize, relu: bool| Conv {
            channels,
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0; 4],
            groups: 1,
            per_channel: true,
            unsigned_weights: false,
            bias: Bias::Float,
            relu,
        };
        let depthwise = Conv {
            kernel: [3, 3],
            pads: [1; 4],
            groups: within,
            ..pointwise(within, true)
        };
        let layers = [
            ("expand", channels, pointwise(within, true)),
            ("depthwise", within, depthwise),
            ("project", within, pointwise(channels, false)),
        ];
        let (mut last, mut step) = (x.to_owned(), self.input.scale);
        for (name, inputs, conv) in layers {
            let random = self.random(name);
            last = graph.convolution(&last, name, (inputs, step), &conv, random);
            let zero = if conv.relu { 0 } else { 128 };
            step *= 1.5;
            let quantization = Quantization {
                scale: step,
                zero,
                signed: false,
            };
            last = graph.requantized(&last, &format!("{name}.out"), quantization);
        }
        graph.computed(node("Add", &[x, &last], "sum"))
    }
}

/// A graph that is being made.
#[derive(Default)]
struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Graph {
    fn constant<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T]) {
        self.constants.push(constant(name, shape, values));
    }

    /// Adds a node; returns the name of its output.
    fn computed(&mut self, node: NodeProto) -> String {
        let name = node.output[0].clone();
        self.nodes.push(node);
        name
    }

    fn zero(&mut self, name: &str, zero: i32, signed: bool) {
        if signed {
            self.constant(name, &[], &[zero as i8]);
        } else {
            self.constant(name, &[], &[zero as u8]);
        }
    }

    /// Quantizes and dequantizes a tensor; returns the name of the result.
    fn requantized(&mut self, tensor: &str, name: &str, of: Quantization) -> String {
        let [scale, zero] = ["scale", "zero"].map(|part| format!("{name}.{part}"));
        let quantized = format!("{name}.quantized");
        self.constant(&scale, &[], &[of.scale]);
        self.zero(&zero, of.zero, of.signed);
        self.nodes
            .push(node("QuantizeLinear", &[tensor, &scale, &zero], &quantized));
        self.computed(node(
            "DequantizeLinear",
            &[&quantized, &scale, &zero],
            &format!("{name}.dequantized"),
        ))
    }

    /// A convolution of so many channels whose values are whole steps of a size. Its weights have about
    /// unit gain, so that results are of the order of the input.
    fn convolution(
        &mut self,
        x: &str,
        name: &str,
        (inputs, step): (usize, f32),
        conv: &Conv,
        mut random: ChaCha8Rng,
    ) -> String {
        let part = |part: &str| format!("{name}.{part}");
        let [rows, columns] = conv.kernel;
        let shape = [conv.channels, inputs / conv.groups, rows, columns];
        let taps: usize = shape[1..].iter().product();
        let scales: Vec<f32> = (0..if conv.per_channel { conv.channels } else { 1 })
            .map(|_| random.random_range(0.5..1.5) / (64.0 * (taps as f32).sqrt()))
            .collect();
        let of_scales: &[usize] = if conv.per_channel {
            &[conv.channels]
        } else {
            &[]
        };
        let weights: Vec<i8> = (0..conv.channels * taps)
            .map(|_| random.random_range(-128..=127))
            .collect();
        let zeros = vec![0_i8; scales.len()];
        if conv.unsigned_weights {
            let moved = |values: &[i8]| -> Vec<u8> {
                values.iter().map(|&v| (i16::from(v) + 128) as u8).collect()
            };
            self.constant(&part("weight"), &shape, &moved(&weights));
            self.constant(&part("weight.zero"), of_scales, &moved(&zeros));
        } else {
            self.constant(&part("weight"), &shape, &weights);
            self.constant(&part("weight.zero"), of_scales, &zeros);
        }
        self.constant(&part("weight.scale"), of_scales, &scales);
        let weights = ["weight", "weight.scale", "weight.zero"].map(part);
        let mut dequantize = node(
            "DequantizeLinear",
            &weights.each_ref().map(String::as_str),
            &part("weight.dequantized"),
        );
        if conv.per_channel {
            dequantize = dequantize.with(AttributeProto::int("axis", 0));
        }
        let weights = self.computed(dequantize);
        let bias: Vec<f32> = (0..conv.channels)
            .map(|_| random.random_range(-20.0..20.0) * step)
            .collect();
        let of_channel = |channel: usize| step * scales[if conv.per_channel { channel } else { 0 }];
        let mut inputs = vec![x.to_owned(), weights];
        match conv.bias {
            Bias::None => {}
            Bias::Float => {
                self.constant(&part("bias"), &[conv.channels], &bias);
                inputs.push(part("bias"));
            }
            Bias::Quantized => {
                let steps = bias.iter().enumerate();
                let steps: Vec<i32> = steps
                    .map(|(channel, bias)| (bias / of_channel(channel)).round() as i32)
                    .collect();
                let scales: Vec<f32> = (0..scales.len()).map(of_channel).collect();
                self.constant(&part("bias"), &[conv.channels], &steps);
                self.constant(&part("bias.scale"), of_scales, &scales);
                self.constant(&part("bias.zero"), of_scales, &vec![0_i32; scales.len()]);
                let names = ["bias", "bias.scale", "bias.zero"].map(part);
                let mut dequantize = node(
                    "DequantizeLinear",
                    &names.each_ref().map(String::as_str),
                    &part("bias.dequantized"),
                );
                if conv.per_channel {
                    dequantize = dequantize.with(AttributeProto::int("axis", 0));
                }
                inputs.push(self.computed(dequantize));
            }
        }
        let whole = |values: &[usize]| -> Vec<i64> { values.iter().map(|&v| v as i64).collect() };
        let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let convolution = node("Conv", &names, name)
            .with(AttributeProto::ints("kernel_shape", &whole(&conv.kernel)))
            .with(AttributeProto::ints("strides", &whole(&conv.strides)))
            .with(AttributeProto::ints("dilations", &whole(&conv.dilations)))
            .with(AttributeProto::ints("pads", &whole(&conv.pads)))
            .with(AttributeProto::int("group", conv.groups as i64));
        let result = self.computed(convolution);
        if conv.relu {
            self.computed(node("Relu", &[&result], &part("relu")))
        } else {
            result
        }
    }

    fn finish(mut self, result: &str, case: &Case) -> Vec<u8> {
        // The last node gives the graph's output.
        for node in &mut self.nodes {
            for name in &mut node.output {
                if name == result {
                    *name = OUTPUT.into();
                }
            }
        }
        let graph = GraphProto {
            name: "case".into(),
            node: self.nodes,
            initializer: self.constants,
            input: vec![f32_value(INPUT, Some(&case.shape))],
            output: vec![f32_value(OUTPUT, Some(&case.output_shape()))],
        };
        encode(graph, OPSET)
    }
}
