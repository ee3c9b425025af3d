//! Exact sums become integers, by one rule at a time.
//!
//! A quantized value `q` stands for the real number `scale · (q − zero)`. A convolution or addition of
//! quantized values is an exact sum; engines differ in how they scale, round and store it. Every rule
//! here is one function of plain numbers.

use crate::{
    kind::Kind,
    rules::{Arithmetic, Rounding},
};

/// How a tensor is quantized: one scale and zero point, of a type of one byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantization {
    /// A normal positive number.
    pub scale: f32,
    pub zero: i32,
    /// The smallest and the largest value of the type.
    pub limits: (i32, i32),
}

/// The real numbers that an activation lets through: Relu and Clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub low: f32,
    pub high: f32,
}

impl Bounds {
    pub const NONE: Self = Self {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };

    /// Those after `next` was applied as well.
    pub fn then(self, next: Self) -> Self {
        Self {
            low: self.low.clamp(next.low, next.high),
            high: self.high.clamp(next.low, next.high),
        }
    }
}

/// A rule made ready for one output tensor.
#[derive(Debug, Clone, Copy)]
pub struct Requantizer {
    pub arithmetic: Arithmetic,
    pub rounding: Rounding,
    pub output: Quantization,
    low: f64,
    high: f64,
}

/// The bias of a channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bias {
    Float(f32),
    /// In steps of the product of the scales of input and weights.
    Int(i32),
}

/// The scales of a channel of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Channel {
    /// Of the input.
    pub input: f32,
    /// Of the weights.
    pub weight: f32,
    /// How many scales the weights have: one for all channels, or one for each.
    pub scales: usize,
    pub bias: Bias,
}

impl Requantizer {
    pub fn new(
        arithmetic: Arithmetic,
        rounding: Rounding,
        bounds: Bounds,
        output: Quantization,
    ) -> Self {
        let all = Self {
            arithmetic,
            rounding,
            output,
            low: f64::from(output.limits.0),
            high: f64::from(output.limits.1),
        };
        Self {
            low: f64::from(all.quantize(bounds.low)),
            high: f64::from(all.quantize(bounds.high)),
            ..all
        }
    }

    /// The integer for a number of steps above the zero point. NaN becomes the lowest.
    fn store(&self, steps: f64) -> i32 {
        let value = self.rounding.round(steps) + f64::from(self.output.zero);
        value.max(self.low).min(self.high) as i32
    }

    /// QuantizeLinear.
    pub fn quantize(&self, value: f32) -> i32 {
        let Quantization {
            scale,
            zero,
            limits: (low, high),
        } = self.output;
        let (arithmetic, rounding) = (self.arithmetic, self.rounding);
        let limits = (low.into(), high.into());
        let zero = zero.into();
        let value = value.into();
        let all = quantized(arithmetic, rounding, Kind::F32, value, scale, zero, limits) as f64;
        all.max(self.low).min(self.high) as i32
    }

    /// A sum of products, its bias not yet added.
    pub fn sum(&self, sum: i32, channel: &Channel) -> i32 {
        let Channel { input, weight, .. } = *channel;
        let accumulator = input * weight;
        let factor = accumulator / self.output.scale;
        self.store(match self.arithmetic {
            Arithmetic::Fbgemm => {
                let bias = match channel.bias {
                    Bias::Float(bias) => bias,
                    Bias::Int(bias) => bias as f32 * accumulator,
                };
                let with_bias = if channel.scales == 1 {
                    bias.mul_add(1.0 / accumulator, sum as f32)
                } else {
                    sum as f32 + bias / accumulator
                };
                f64::from(with_bias * factor)
            }
            Arithmetic::Standard => match channel.bias {
                Bias::Float(bias) if bias != 0.0 => {
                    f64::from(real_sum(sum, channel) as f32 / self.output.scale)
                }
                // 53 bits hold the product of a factor of 24 and a sum below 2^29.
                _ => f64::from(with_integer_bias(sum, channel)) * f64::from(factor),
            },
            Arithmetic::QLinear => f64::from(with_integer_bias(sum, channel) as f32 * factor),
            Arithmetic::FixedPoint => {
                let sum = with_integer_bias(sum, channel);
                if channel.scales == 1 {
                    // 53 bits hold the product of a factor of 24 and a sum below 2^29.
                    f64::from(sum) * f64::from(factor)
                } else {
                    f64::from(sum as f32 * tract_factor(channel, self.output.scale))
                }
            }
            Arithmetic::FakeQuantize => return self.quantize(real_sum(sum, channel) as f32),
            Arithmetic::Exact => real_sum(sum, channel) / f64::from(self.output.scale),
        })
    }

    /// Two quantized values.
    pub fn add(&self, values: [i32; 2], inputs: [Quantization; 2]) -> i32 {
        let [a, b] = inputs;
        self.store(match self.arithmetic {
            Arithmetic::Fbgemm => {
                let real = |value: i32, q: Quantization| {
                    (value as f32).mul_add(q.scale, -q.scale * q.zero as f32)
                };
                f64::from((real(values[0], a) + real(values[1], b)) * (1.0 / self.output.scale))
            }
            Arithmetic::FixedPoint => {
                let real = |value: i32, q: Quantization| (value - q.zero) as f32 * q.scale;
                f64::from((real(values[0], a) + real(values[1], b)) * (1.0 / self.output.scale))
            }
            Arithmetic::QLinear => {
                let [to_a, to_b] = [a.scale / self.output.scale, b.scale / self.output.scale];
                let zero = self.output.zero as f32;
                let fixed = zero - (to_a * a.zero as f32 + to_b * b.zero as f32);
                let sum = fixed + values[0] as f32 * to_a + values[1] as f32 * to_b;
                // The zero point is in the sum already; that of the output is an integer, so that it
                // changes no rounding but by the precision of f32.
                return self.store_absolute(f64::from(sum));
            }
            Arithmetic::Standard => {
                let real = |value: i32, q: Quantization| (value - q.zero) as f32 * q.scale;
                f64::from((real(values[0], a) + real(values[1], b)) / self.output.scale)
            }
            Arithmetic::FakeQuantize => {
                let real = |value: i32, q: Quantization| (value - q.zero) as f32 * q.scale;
                return self.quantize(real(values[0], a) + real(values[1], b));
            }
            Arithmetic::Exact => {
                let real =
                    |value: i32, q: Quantization| f64::from(q.scale) * f64::from(value - q.zero);
                (real(values[0], a) + real(values[1], b)) / f64::from(self.output.scale)
            }
        })
    }

    /// The integer for a number that includes the zero point.
    fn store_absolute(&self, value: f64) -> i32 {
        self.rounding.round(value).max(self.low).min(self.high) as i32
    }
}

/// The integer within `limits` that a number becomes; `division` is the type of ONNX's division. NaN becomes the lowest.
pub fn quantized(
    arithmetic: Arithmetic,
    rounding: Rounding,
    division: Kind,
    value: f64,
    scale: f32,
    zero: i64,
    limits: (i64, i64),
) -> i64 {
    let (low, high) = (limits.0 as f64, limits.1 as f64);
    let of_steps = |steps: f64| rounding.round(steps) + zero as f64;
    let integer = match arithmetic {
        Arithmetic::Fbgemm | Arithmetic::FixedPoint => {
            of_steps(f64::from(value as f32 * (1.0 / scale)))
        }
        Arithmetic::Standard | Arithmetic::QLinear => {
            of_steps(division.rounded(value / f64::from(scale)))
        }
        Arithmetic::FakeQuantize => {
            rounding.round(above_lowest(value as f32, scale, zero, limits).into()) + low
        }
        Arithmetic::Exact => of_steps(value / f64::from(scale)),
    };
    integer.max(low).min(high) as i64
}

/// How many steps a number lies above the lowest of its type, as OpenVINO counts them: from the real numbers that the
/// ends of the type stand for (`get_input_bands` of its reader of ONNX), in two roundings to f32.
fn above_lowest(value: f32, scale: f32, zero: i64, (low, high): (i64, i64)) -> f32 {
    let real = |end: i64| scale * (end - zero) as f32;
    let (lowest, highest) = (real(low), real(high));
    let steps_of_one = (high - low) as f32 / (highest - lowest);
    let shift = -lowest * steps_of_one;
    value * steps_of_one + shift
}

/// With the bias as an i32, as QLinearConv has it.
fn with_integer_bias(sum: i32, channel: &Channel) -> i32 {
    let bias = match channel.bias {
        Bias::Float(bias) => (bias / (channel.input * channel.weight)).round_ties_even() as i32,
        Bias::Int(bias) => bias,
    };
    sum.wrapping_add(bias)
}

/// tract's `sa·sw/so`. Its optimizer folds the three constants in an order that depends on how many
/// channels there are, and each order rounds to other f32: below 16 they are folded as they are written
/// (tract-core, `model/typed.rs`, `wire_node`). Else a division becomes a multiplication by `1/so`
/// (`ops/math/mod.rs`, `declutter_div`), which below 32 channels is multiplied with `sa` first
/// (`declutter_mul_const_mul_const`); from 32 on the product `sa·sw` is another operator by then, which
/// that rule does not see (`ops/binary.rs`, `find_most_efficient_config`).
fn tract_factor(channel: &Channel, output: f32) -> f32 {
    let Channel { input, weight, .. } = *channel;
    match channel.scales {
        ..16 => (weight * input) / output,
        16..32 => weight * (input * (1.0 / output)),
        32.. => (weight * input) * (1.0 / output),
    }
}

/// The real number that a sum of products stands for, with its bias.
pub fn real_sum(sum: i32, channel: &Channel) -> f64 {
    let accumulator = f64::from(channel.input) * f64::from(channel.weight);
    let bias = match channel.bias {
        Bias::Float(bias) => f64::from(bias),
        Bias::Int(bias) => f64::from(bias) * accumulator,
    };
    accumulator * f64::from(sum) + bias
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Arithmetic; 6] = [
        Arithmetic::Standard,
        Arithmetic::Fbgemm,
        Arithmetic::QLinear,
        Arithmetic::FixedPoint,
        Arithmetic::FakeQuantize,
        Arithmetic::Exact,
    ];

    /// The product is rounded once: in f32, 16777217 would become 16777216 before it is scaled.
    #[test]
    fn fixed_point_keeps_every_bit_of_a_sum() {
        let channel = Channel {
            input: 1.0,
            weight: 1.0,
            scales: 1,
            bias: Bias::Int(0),
        };
        let rule = |arithmetic| {
            let output = Quantization {
                scale: 131_072.0,
                zero: 0,
                limits: (0, 255),
            };
            Requantizer::new(arithmetic, Rounding::HalfEven, Bounds::NONE, output)
        };
        // 128.5 steps and a little: 128 where the little is lost.
        let sum = (1 << 24) + (1 << 16) + 1;
        assert_eq!(rule(Arithmetic::FixedPoint).sum(sum, &channel), 129);
        assert_eq!(rule(Arithmetic::QLinear).sum(sum, &channel), 128);
    }

    /// What tract 0.23.9 gives in two layers of FaceBoxes, of 24 and of 384 channels, where the order in
    /// which `sa·sw/so` is folded decides; as it is written, both are halves in f32 and go to the even.
    #[test]
    fn the_factor_of_a_channel_is_folded_in_the_order_of_tract() {
        let scales = |bits: [u32; 3]| bits.map(f32::from_bits);
        let first = scales([0x3ccf_c103, 0x3b95_3ba5, 0x3d42_301a]);
        let second = scales([0x3d28_ee00, 0x3985_4f4a, 0x3bd4_c62d]);
        let of = |arithmetic, sum, [input, weight, scale]: [f32; 3], scales| {
            let rule = Requantizer::new(
                arithmetic,
                Rounding::HalfEven,
                Bounds::NONE,
                output(scale, 60),
            );
            let bias = Bias::Int(0);
            rule.sum(
                sum,
                &Channel {
                    input,
                    weight,
                    scales,
                    bias,
                },
            )
        };
        let found = |scales| {
            [
                of(Arithmetic::FixedPoint, -4310, first, scales),
                of(Arithmetic::FixedPoint, 1548, second, scales),
            ]
        };
        assert_eq!(
            [15, 16, 31, 32].map(found),
            [[50, 62], [49, 62], [49, 62], [50, 63]]
        );
        assert_eq!(of(Arithmetic::QLinear, -4310, first, 24), 50);
        assert_eq!(of(Arithmetic::QLinear, 1548, second, 384), 62);
    }

    fn output(scale: f32, zero: i32) -> Quantization {
        Quantization {
            scale,
            zero,
            limits: (0, 255),
        }
    }

    fn requantizer(arithmetic: Arithmetic, rounding: Rounding) -> Requantizer {
        Requantizer::new(arithmetic, rounding, Bounds::NONE, output(0.5, 10))
    }

    #[test]
    fn halves_go_where_the_rule_says() {
        use Rounding::{HalfAway, HalfEven};
        for (value, even, away) in [
            (0.25, 10, 11),
            (0.75, 12, 12),
            (-0.25, 10, 9),
            (-0.75, 8, 8),
        ] {
            for arithmetic in ALL {
                assert_eq!(requantizer(arithmetic, HalfEven).quantize(value), even);
                // Counted from the lowest of the type, no half lies below zero.
                if arithmetic != Arithmetic::FakeQuantize {
                    assert_eq!(requantizer(arithmetic, HalfAway).quantize(value), away);
                }
            }
        }
    }

    /// What OpenVINO 2026.4.1 gives for QuantizeLinear before DequantizeLinear, where division, a product with the
    /// inverse, a fused multiply-add or another order of the constants give the neighbour.
    #[test]
    fn fake_quantize_gives_what_openvino_does() {
        let u8 = (0, 255);
        for (bits, scale, zero, limits, expected) in [
            (0x4188_51eb, 0.16, 127, u8, 234),
            (0xc0f8_51ea, 0.16, 127, u8, 78),
            (0x4191_47af, 0.16, 127, u8, 240),
            (0x408c_ccce, 0.16, 127, u8, 154),
            (0x404d_5810, 0.023, 3, u8, 142),
            (0x3e93_3332, 0.023, 3, u8, 15),
            (0x3f39_78d5, 0.023, 3, u8, 35),
            (0x3d67_6f2b, 0.000_485, 128, u8, 244),
            (0xbc22_e5dd, 0.000_485, 128, u8, 108),
            (0x4130_cccd, 0.1, -5, (-128, 127), 106),
            (0xc0e1_9999, 0.1, -5, (-128, 127), -76),
        ] {
            let value = f32::from_bits(bits);
            let output = Quantization {
                scale,
                zero,
                limits,
            };
            let of = |arithmetic| {
                let rounding = Rounding::HalfEven;
                Requantizer::new(arithmetic, rounding, Bounds::NONE, output).quantize(value)
            };
            assert_eq!(of(Arithmetic::FakeQuantize), expected, "{value} by {scale}");
        }
        // A half goes to the even neighbour of those that count from the lowest of the type.
        let odd = output(0.5, 11);
        let of = |arithmetic| {
            Requantizer::new(arithmetic, Rounding::HalfEven, Bounds::NONE, odd).quantize(0.25)
        };
        assert_eq!(of(Arithmetic::Standard), 11);
        assert_eq!(of(Arithmetic::FakeQuantize), 12);
    }

    #[test]
    fn values_stay_within_type_and_bounds() {
        let all = requantizer(Arithmetic::Exact, Rounding::HalfEven);
        for (value, expected) in [
            (1e30, 255),
            (-1e30, 0),
            (f32::NAN, 0),
            (f32::INFINITY, 255),
            (f32::NEG_INFINITY, 0),
        ] {
            assert_eq!(all.quantize(value), expected, "{value}");
        }
        let relu = Bounds {
            low: 0.0,
            high: 6.0,
        };
        let clipped = Requantizer::new(
            Arithmetic::Fbgemm,
            Rounding::HalfEven,
            relu,
            output(0.5, 10),
        );
        assert_eq!([clipped.quantize(-3.0), clipped.quantize(7.0)], [10, 22]);
        assert_eq!(
            relu.then(Bounds {
                low: 1.0,
                high: 9.0
            }),
            Bounds {
                low: 1.0,
                high: 6.0
            }
        );
    }

    #[test]
    fn where_nothing_is_rounded_all_rules_agree() {
        for arithmetic in ALL {
            let rule = requantizer(arithmetic, Rounding::HalfEven);
            let channel = Channel {
                input: 0.5,
                weight: 0.25,
                scales: 8,
                bias: Bias::Float(1.0),
            };
            // 0.125 · 12 + 1 = 2.5: five steps.
            assert_eq!(rule.sum(12, &channel), 15);
            let inputs = [output(0.5, 3), output(1.0, 7)];
            // 0.5 · (8 − 3) + (9 − 7) = 4.5: nine steps.
            assert_eq!(rule.add([8, 9], inputs), 19);
        }
    }

    #[test]
    fn an_integer_bias_is_rounded_first() {
        let channel = Channel {
            input: 1.0,
            weight: 1.0,
            scales: 1,
            bias: Bias::Float(0.4),
        };
        let of = |arithmetic| requantizer(arithmetic, Rounding::HalfEven).sum(1, &channel);
        // 1.4 / 0.5 = 2.8 against 1 / 0.5 = 2.
        assert_eq!(of(Arithmetic::Exact), 13);
        assert_eq!(of(Arithmetic::Fbgemm), 13);
        assert_eq!(of(Arithmetic::QLinear), 12);
    }
}
