//! Convolutions of any geometry, against arithmetic written out once more.

use firstpass_onnx::data_type::INT32;
use proptest::{collection::vec, prelude::*};

use super::Graph;
use crate::{kernels::Isa, ops::ConvKind};

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
        [0..4_usize, 0..4_usize, 0..4_usize, 0..4_usize],
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
        // Float biases are what fbgemm's files have.
        let is_of_fbgemm = matches!(self.bias, TestBias::Float(_));
        let quantized = self.values.iter().map(|value| {
            let steps = match is_of_fbgemm {
                true => value * (1.0 / IN_SCALE),
                false => value / IN_SCALE,
            };
            let step = steps.round_ties_even() + f32::from(IN_ZERO);
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
            let steps = match self.bias {
                TestBias::Float(_) => real * factor,
                _ => {
                    let exact = f64::from(IN_SCALE) * f64::from(self.scale_of(channel));
                    let rest = (exact - f64::from(scale)) as f32;
                    real.mul_add(scale, real * rest) / self.out_scale()
                }
            };
            let step = steps.round_ties_even() + f32::from(OUT_ZERO);
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
            let mut prepared = prepared.map_err(|e| TestCaseError::fail(e.to_string()))?;
            let kinds: Vec<_> = prepared.operators().filter_map(|(_, kind)| kind).collect();
            prop_assert_eq!(kinds, [ConvKind::Integer]);
            let found = prepared.pass(&[&case.values]).and_then(|outputs| Ok(outputs[0].f32s()?.to_vec()));
            prop_assert_eq!(found.as_ref(), Ok(expected), "{}", isa.name());
            prop_assert_eq!(prepared.pass(&[&case.values]).and_then(|outputs| Ok(outputs[0].f32s()?.to_vec())), found);
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
        let found = prepared.pass(&[&case.values]).and_then(|outputs| Ok(outputs[0].f32s()?.to_vec()));
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
}
