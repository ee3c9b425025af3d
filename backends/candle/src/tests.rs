//! Whole graphs, made here, against arithmetic written out once more.

use firstpass_probe::{ErrorKind, Result};
use proptest::{collection::vec, prelude::*};

use crate::{
    Engine, Settings,
    kernels::Isa,
    onnx::{
        AttributeProto, GraphProto, NodeProto, TensorProto,
        data_type::{FLOAT, INT8, INT32, INT64, UINT8},
        decode,
        write::{encode, f32_value, node},
    },
    plan::Plan,
    prepared::{ConvKind, Prepared},
};

/// A graph with the input "x" and the output "y".
#[derive(Clone, Default)]
struct Graph(GraphProto);

impl Graph {
    fn new() -> Self {
        Self(GraphProto {
            input: vec![f32_value("x", None)],
            output: vec![f32_value("y", None)],
            ..Default::default()
        })
    }

    fn constant(mut self, name: &str, dims: &[usize], data_type: i32, raw_data: Vec<u8>) -> Self {
        self.0.initializer.push(TensorProto {
            name: name.into(),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type,
            raw_data: raw_data.into(),
            ..Default::default()
        });
        self
    }

    fn floats(self, name: &str, dims: &[usize], values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, dims, FLOAT, raw)
    }

    fn bytes(self, name: &str, dims: &[usize], values: &[i8]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, dims, INT8, raw)
    }

    fn node(self, op_type: &str, inputs: &[&str], output: &str) -> Self {
        self.node_with(op_type, inputs, output, &[])
    }

    /// Attributes with one value are integers, others are lists.
    fn node_with(
        mut self,
        op_type: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, &[usize])],
    ) -> Self {
        let attribute = |(name, values): &(&str, &[usize])| {
            let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
            match values[..] {
                [value] => AttributeProto::int(name, value),
                _ => AttributeProto::ints(name, &values),
            }
        };
        let node = node(op_type, inputs, output);
        let node = attributes.iter().map(attribute).fold(node, NodeProto::with);
        self.0.node.push(node);
        self
    }

    /// QuantizeLinear from `input` to `<output>.q` and DequantizeLinear to `output`.
    fn quantized(self, input: &str, output: &str, scale: f32, zero: u8) -> Self {
        let [s, z, q] = ["scale", "zero", "q"].map(|part| format!("{output}.{part}"));
        self.floats(&s, &[], &[scale])
            .constant(&z, &[], UINT8, vec![zero])
            .node("QuantizeLinear", &[input, &s, &z], &q)
            .node("DequantizeLinear", &[&q, &s, &z], output)
    }

    fn encode(&self) -> Vec<u8> {
        encode(self.0.clone(), 13)
    }

    fn prepare(&self, isa: Isa, shape: &[usize]) -> Result<Prepared> {
        prepare(&self.encode(), isa, shape)
    }
}

fn prepare(bytes: &[u8], isa: Isa, shape: &[usize]) -> Result<Prepared> {
    let engine = Engine::new(Settings {
        threads: 2,
        kernels: isa,
        ..Settings::default()
    })?;
    let bytes = bytes.to_vec().into();
    let plan = Plan::new(&decode(bytes)?, "x", &["y"])?;
    Prepared::new(&engine, &plan, shape)
}

#[derive(Debug, Clone)]
enum TestBias {
    None,
    Float(Vec<f32>),
    Int32(Vec<i32>),
}

/// A convolution of any geometry.
#[derive(Debug, Clone)]
struct Case {
    input: [usize; 4],
    groups: usize,
    channels: usize,
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
    weights: Vec<i8>,
    /// One, or one a channel.
    scales: Vec<f32>,
    bias: TestBias,
    relu: bool,
    values: Vec<f32>,
}

const IN_SCALE: f32 = 0.0173;
const IN_ZERO: u8 = 113;
const OUT_ZERO: u8 = 97;

fn case() -> impl Strategy<Value = Case> {
    let shape = (
        1..3_usize,
        prop_oneof![
            // Groups, inputs of a group, outputs of a group.
            (Just(1_usize), 1..20_usize, 1..40_usize),
            (1..40_usize, Just(1_usize), Just(1_usize)),
            (2..4_usize, 1..5_usize, 1..5_usize),
        ],
        [1..4_usize, 1..4_usize],
        [1..3_usize, 1..3_usize],
        [1..3_usize, 1..3_usize],
        [0..2_usize, 0..2_usize, 0..2_usize, 0..2_usize],
        [5..9_usize, 5..9_usize],
    );
    shape.prop_flat_map(
        |(number, (groups, inputs, outputs), kernel, strides, dilations, pads, size)| {
            let input = [number, groups * inputs, size[0], size[1]];
            let channels = groups * outputs;
            let scale = 0.001..0.01_f32;
            (
                vec(any::<i8>(), channels * inputs * kernel[0] * kernel[1]),
                prop_oneof![vec(scale.clone(), 1), vec(scale, channels)],
                prop_oneof![
                    Just(TestBias::None),
                    vec(-1.0..1.0_f32, channels).prop_map(TestBias::Float),
                    vec(-9999..9999_i32, channels).prop_map(TestBias::Int32),
                ],
                any::<bool>(),
                vec(-3.0..3.0_f32, input.iter().product::<usize>()),
            )
                .prop_map(move |(weights, scales, bias, relu, values)| Case {
                    input,
                    groups,
                    channels,
                    kernel,
                    strides,
                    dilations,
                    pads,
                    weights,
                    scales,
                    bias,
                    relu,
                    values,
                })
        },
    )
}

impl Case {
    fn weight_dims(&self) -> [usize; 4] {
        let [height, width] = self.kernel;
        [self.channels, self.input[1] / self.groups, height, width]
    }

    fn scale_of(&self, channel: usize) -> f32 {
        self.scales[if self.scales.len() == 1 { 0 } else { channel }]
    }

    fn out_scale(&self) -> f32 {
        let products = self.weights.len() / self.channels;
        IN_SCALE * 0.005 * 50.0 * 60.0 * (products as f32).sqrt() / 100.0
    }

    fn conv(&self, graph: Graph, inputs: &[&str], output: &str) -> Graph {
        let attributes: [(&str, &[usize]); 4] = [
            ("group", &[self.groups]),
            ("strides", &self.strides),
            ("dilations", &self.dilations),
            ("pads", &self.pads),
        ];
        graph.node_with("Conv", inputs, output, &attributes)
    }

    fn quantized_graph(&self) -> Graph {
        let per_tensor: &[usize] = &[];
        let per_channel: &[usize] = &[self.channels];
        let scale_dims = if self.scales.len() == 1 {
            per_tensor
        } else {
            per_channel
        };
        let graph = Graph::new()
            .quantized("x", "x.d", IN_SCALE, IN_ZERO)
            .bytes("w", &self.weight_dims(), &self.weights)
            .floats("w.scale", scale_dims, &self.scales)
            .node_with(
                "DequantizeLinear",
                &["w", "w.scale"],
                "w.d",
                &[("axis", &[0])],
            );
        let graph = match &self.bias {
            TestBias::None => self.conv(graph, &["x.d", "w.d"], "c"),
            TestBias::Float(bias) => self.conv(
                graph.floats("b", &[self.channels], bias),
                &["x.d", "w.d", "b"],
                "c",
            ),
            TestBias::Int32(bias) => {
                let raw = bias.iter().flat_map(|v| v.to_le_bytes()).collect();
                let scales: Vec<f32> = (0..self.channels)
                    .map(|channel| IN_SCALE * self.scale_of(channel))
                    .collect();
                let graph = graph
                    .constant("b", &[self.channels], INT32, raw)
                    .floats("b.scale", &[self.channels], &scales)
                    .node_with(
                        "DequantizeLinear",
                        &["b", "b.scale"],
                        "b.d",
                        &[("axis", &[0])],
                    );
                self.conv(graph, &["x.d", "w.d", "b.d"], "c")
            }
        };
        let last = if self.relu { "r" } else { "c" };
        let graph = if self.relu {
            graph.node("Relu", &["c"], "r")
        } else {
            graph
        };
        graph.quantized(last, "y", self.out_scale(), OUT_ZERO)
    }

    /// Sums over the window, in any arithmetic, by output value with its channel.
    fn sums(&self, product: impl Fn(usize, usize) -> f64) -> Option<Vec<(usize, f64)>> {
        let [number, in_channels, in_height, in_width] = self.input;
        let [height, width] = [0, 1].map(|axis| {
            let padded = self.input[2 + axis] + self.pads[axis] + self.pads[axis + 2];
            let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            Some(padded.checked_sub(reach)? / self.strides[axis] + 1)
        });
        let (height, width) = height.zip(width)?;
        let [_, group_inputs, kernel_height, kernel_width] = self.weight_dims();
        let mut sums = Vec::new();
        for image in 0..number {
            for channel in 0..self.channels {
                for (row, column) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    let mut sum = 0.0;
                    for input in 0..group_inputs {
                        for y in 0..kernel_height {
                            for x in 0..kernel_width {
                                let iy = row * self.strides[0] + y * self.dilations[0];
                                let ix = column * self.strides[1] + x * self.dilations[1];
                                let Some(iy) = iy.checked_sub(self.pads[0]) else {
                                    continue;
                                };
                                let Some(ix) = ix.checked_sub(self.pads[1]) else {
                                    continue;
                                };
                                if iy >= in_height || ix >= in_width {
                                    continue;
                                }
                                let group = channel / (self.channels / self.groups);
                                let plane = image * in_channels + group * group_inputs + input;
                                let weight = (channel * group_inputs + input) * kernel_height + y;
                                sum += product(
                                    (plane * in_height + iy) * in_width + ix,
                                    weight * kernel_width + x,
                                );
                            }
                        }
                    }
                    sums.push((channel, sum));
                }
            }
        }
        Some(sums)
    }

    fn quantized_result(&self) -> Option<Vec<f32>> {
        let quantized = self.values.iter().map(|value| {
            let step = (value * (1.0 / IN_SCALE)).round_ties_even() + f32::from(IN_ZERO);
            f64::from(step.clamp(0.0, 255.0)) - f64::from(IN_ZERO)
        });
        let quantized: Vec<f64> = quantized.collect();
        let sums = self.sums(|input, weight| quantized[input] * f64::from(self.weights[weight]))?;
        let result = sums.into_iter().map(|(channel, sum)| {
            let scale = IN_SCALE * self.scale_of(channel);
            let factor = scale / self.out_scale();
            let real = match &self.bias {
                TestBias::None => sum as f32,
                TestBias::Float(bias) if self.scales.len() == 1 => {
                    bias[channel].mul_add(1.0 / scale, sum as f32)
                }
                TestBias::Float(bias) => sum as f32 + bias[channel] / scale,
                TestBias::Int32(bias) => (sum + f64::from(bias[channel])) as f32,
            };
            let low = if self.relu { f32::from(OUT_ZERO) } else { 0.0 };
            let step = (real * factor).round_ties_even() + f32::from(OUT_ZERO);
            (step.clamp(low, 255.0) - f32::from(OUT_ZERO)) * self.out_scale()
        });
        Some(result.collect())
    }

    fn float_graph(&self) -> Graph {
        let weights: Vec<f32> = self.weights.iter().map(|&w| f32::from(w)).collect();
        let graph = Graph::new().floats("w", &self.weight_dims(), &weights);
        match &self.bias {
            TestBias::Float(bias) => {
                let graph = graph.floats("b", &[self.channels], bias);
                self.conv(graph, &["x", "w", "b"], "y")
            }
            _ => self.conv(graph, &["x", "w"], "y"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn integer_convolutions_are_exact(case in case()) {
        let expected = case.quantized_result();
        for isa in Isa::available() {
            let prepared = case.quantized_graph().prepare(isa, &case.input);
            let Some(expected) = &expected else {
                prop_assert!(prepared.is_err());
                return Ok(());
            };
            // Padding as large as the window is refused.
            let Ok(mut prepared) = prepared else {
                prop_assert!(case.kernel.contains(&1));
                return Ok(());
            };
            let kinds: Vec<_> = prepared.operators().filter_map(|(_, kind)| kind).collect();
            prop_assert_eq!(kinds, [ConvKind::Integer]);
            let found = prepared.pass(&case.values).and_then(|outputs| Ok(outputs[0].f32s()?.to_vec()));
            prop_assert_eq!(found.as_ref(), Ok(expected), "{}", isa.name());
            prop_assert_eq!(prepared.pass(&case.values).and_then(|outputs| Ok(outputs[0].f32s()?.to_vec())), found);
        }
    }

    #[test]
    fn float_convolutions_are_close(case in case()) {
        let Ok(mut prepared) = case.float_graph().prepare(Isa::Reference, &case.input) else {
            return Ok(());
        };
        let sums = case.sums(|input, weight| {
            f64::from(case.values[input]) * f64::from(case.weights[weight])
        });
        let found = prepared.pass(&case.values).and_then(|outputs| Ok(outputs[0].f32s()?.to_vec()));
        let (Some(sums), Ok(found)) = (sums, found) else {
            return Err(TestCaseError::fail("it must run"));
        };
        prop_assert_eq!(sums.len(), found.len());
        for ((channel, sum), found) in sums.into_iter().zip(found) {
            let bias = match &case.bias {
                TestBias::Float(bias) => f64::from(bias[channel]),
                _ => 0.0,
            };
            prop_assert!((sum + bias - f64::from(found)).abs() < 0.02, "{} {}", sum, found);
        }
    }

    /// A damaged file gives an error or a model that runs, never a panic.
    #[test]
    fn survives_damage(
        flips in vec((any::<prop::sample::Index>(), 0..8_u32), 1..6),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = network().encode();
        for (index, bit) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= 1 << bit;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(mut prepared) = prepare(&bytes, Isa::detect(), &[1, 3, 12, 10]) {
            let _ = prepared.pass(&[0.5; 360]);
        }
    }
}

/// Every operator that is implemented, in one graph.
fn network() -> Graph {
    let weights = |count: usize| -> Vec<i8> { (0..count).map(|i| (i * 37 % 255) as i8).collect() };
    let attributes: [(&str, &[usize]); 2] = [("pads", &[1, 1, 1, 1]), ("group", &[1])];
    let depthwise: [(&str, &[usize]); 2] = [("pads", &[1, 1, 1, 1]), ("group", &[8])];
    let shape: Vec<u8> = [0_i64, -1, 4]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    Graph::new()
        .quantized("x", "x.d", 0.02, 128)
        .bytes("w1", &[8, 3, 3, 3], &weights(216))
        .floats("w1.scale", &[], &[0.01])
        .node("DequantizeLinear", &["w1", "w1.scale"], "w1.d")
        .floats("b1", &[8], &[0.1; 8])
        .node_with("Conv", &["x.d", "w1.d", "b1"], "c1", &attributes)
        .floats("zero", &[], &[0.0])
        .floats("six", &[], &[6.0])
        .node("Clip", &["c1", "zero", "six"], "c1.clipped")
        .quantized("c1.clipped", "c1.d", 0.05, 0)
        .bytes("w2", &[8, 1, 3, 3], &weights(72))
        .floats("w2.scale", &[8], &[0.01; 8])
        .node_with(
            "DequantizeLinear",
            &["w2", "w2.scale"],
            "w2.d",
            &[("axis", &[0])],
        )
        .node_with("Conv", &["c1.d", "w2.d"], "c2", &depthwise)
        .quantized("c2", "c2.d", 0.06, 100)
        .node("Add", &["c1.d", "c2.d"], "sum")
        .node("Relu", &["sum"], "sum.relu")
        .quantized("sum.relu", "sum.d", 0.07, 90)
        .node("Sigmoid", &["sum.d"], "s")
        .node("Relu", &["s"], "s.relu")
        .node("Add", &["s.relu", "s"], "t")
        .floats("w3", &[8, 8, 1, 1], &[0.25; 64])
        .node("Conv", &["t", "w3"], "f")
        .node("Relu", &["f"], "f.relu")
        .node_with("Concat", &["f.relu", "sum.d"], "both", &[("axis", &[1])])
        .node_with("Transpose", &["both"], "last", &[("perm", &[0, 2, 3, 1])])
        .node_with("Flatten", &["last"], "flat", &[("axis", &[1])])
        .constant("shape", &[3], INT64, shape)
        .node("Reshape", &["flat", "shape"], "shaped")
        .node("Identity", &["shaped"], "y")
}

#[test]
fn runs_every_operator() -> Result<()> {
    let input: Vec<f32> = (0..360).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut prepared = network().prepare(Isa::Reference, &[1, 3, 12, 10])?;
    let expected = prepared.pass(&input)?;
    assert_eq!(expected[0].shape, [1, 480, 4]);
    assert_eq!(
        prepared.pass(&input)?,
        expected,
        "a pass must leave nothing to the next"
    );
    for isa in Isa::available() {
        let mut prepared = network().prepare(isa, &[1, 3, 12, 10])?;
        assert_eq!(prepared.pass(&input)?, expected, "{}", isa.name());
    }
    let kinds: Vec<_> = prepared.operators().filter_map(|(_, kind)| kind).collect();
    assert_eq!(
        kinds,
        [ConvKind::Integer, ConvKind::Integer, ConvKind::Float]
    );
    Ok(())
}

#[test]
fn names_what_it_does_not_know() {
    let int_weights = |graph: Graph| {
        graph
            .bytes("w", &[1, 1, 1, 1], &[3])
            .floats("w.scale", &[], &[0.5])
            .node("DequantizeLinear", &["w", "w.scale"], "w.d")
    };
    let quantized = || int_weights(Graph::new().quantized("x", "x.d", 0.1, 3));
    let cases = [
        (Graph::new().node("Softplus", &["x"], "y"), "(Softplus)"),
        // Nothing quantizes the result.
        (
            quantized().node("Conv", &["x.d", "w.d"], "y"),
            "\"y/Conv\" (Conv)",
        ),
        (
            quantized()
                .node("Conv", &["x.d", "w.d"], "c")
                .node("Sigmoid", &["c"], "y"),
            "\"c/Conv\" (Conv)",
        ),
        (
            quantized().node("Add", &["x.d", "x.d"], "y"),
            "\"y/Add\" (Add)",
        ),
        // Only one side is quantized.
        (
            int_weights(Graph::new()).node("Conv", &["x", "w.d"], "y"),
            "\"y/Conv\" (Conv)",
        ),
        (
            quantized().node("Add", &["x.d", "x"], "y"),
            "\"y/Add\" (Add)",
        ),
        (
            Graph::new()
                .quantized("x", "x.d", 0.1, 3)
                .floats("w", &[1, 1, 1, 1], &[1.0])
                .node("Conv", &["x.d", "w"], "y"),
            "\"y/Conv\" (Conv)",
        ),
        // Activations of another type.
        (
            Graph::new()
                .floats("s", &[], &[0.1])
                .constant("z", &[], INT8, vec![0])
                .node("QuantizeLinear", &["x", "s", "z"], "y"),
            "(QuantizeLinear)",
        ),
    ];
    for (graph, part) in cases {
        let error = graph
            .prepare(Isa::Reference, &[1, 1, 4, 4])
            .err()
            .expect("the graph must be refused");
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn refuses_what_is_malformed() {
    let node = |inputs: &[&str]| Graph::new().node("Relu", inputs, "y");
    for graph in [
        Graph::new(),
        node(&["nothing"]),
        node(&["y"]),
        node(&[]),
        node(&["x"]).node("Relu", &["x"], "y"),
        Graph::new().quantized("x", "y", 0.0, 3),
        Graph::new().quantized("x", "y", f32::NAN, 3),
        Graph::new().node_with("Transpose", &["x"], "y", &[("perm", &[0, 0, 1, 2])]),
        Graph::new().node_with("Transpose", &["x"], "y", &[("perm", &[0, 1])]),
        Graph::new().node_with("Concat", &["x", "x"], "y", &[("axis", &[4])]),
        Graph::new()
            .floats("w", &[1, 2, 1, 1], &[1.0, 1.0])
            .node("Conv", &["x", "w"], "y"),
        Graph::new()
            .floats("w", &[1, 1, 9, 9], &[1.0; 81])
            .node("Conv", &["x", "w"], "y"),
    ] {
        assert!(
            graph.prepare(Isa::Reference, &[1, 1, 4, 4]).is_err(),
            "{:?}",
            graph.0.node
        );
    }
}
