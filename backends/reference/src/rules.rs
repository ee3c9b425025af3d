//! The rules by which engines turn exact sums into integers: what they are, and the knobs that set them.

use std::collections::BTreeSet;

use firstpass_onnx::GraphProto;
use firstpass_probe::{Error, Knob, Knobs, Result};

use crate::{any_order::End, noise::Noise};

const ARITHMETIC: &str = "arithmetic";
const AS_WRITTEN: &str = "as-written";
const STANDARD: &str = "standard";
const QLINEAR: &str = "qlinear";
const FBGEMM: &str = "fbgemm";
const FIXED_POINT: &str = "fixed-point";
const FAKE_QUANTIZE: &str = "fake-quantize";
const EXACT: &str = "exact";
const ROUNDING: &str = "rounding";
const SUMS: &str = "sums";
const F32_SUMS: &str = "f32-sums";
const F32_NOISE: &str = "f32-noise";

/// What an interpretation follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `None`: that which the file as a whole is written for; see [`written_for`].
    pub arithmetic: Option<Arithmetic>,
    pub rounding: Rounding,
    pub sums: Sums,
    /// Where there is one, everything is computed on dequantized f32, as an engine without integer
    /// kernels does, and convolutions give that end of what their sums may be in any order. It is one of
    /// results only where no other result goes into them: for a single layer.
    pub end: Option<End>,
    /// By how much floats are off that no rule defines.
    pub noise: Option<Noise>,
}

/// In which numbers, and in which order, a sum is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// The definition of ONNX, operator by operator: dequantized values are f32, an operator computes real
    /// numbers of these and rounds them to f32 once, and quantizing divides by `s` in f32. Where integers go
    /// in and come out (QLinearConv and its like), a sum is multiplied exactly by the f32 `(sa·sw)/so` and
    /// rounded once.
    Standard,
    /// PyTorch's fbgemm, in f32: `(sum + bias/(sa·sw)) · ((sa·sw)/so)` for one scale a channel,
    /// `fma(bias, 1/(sa·sw), sum) · ((sa·sw)/so)` for one scale; operands of an addition are
    /// dequantized by `fma(q, s, −s·zero)`; quantizing multiplies by `1/s`. fbgemm, `QuantUtilsAvx2.cc`
    /// (requantizeOutputProcessingAvx2); PyTorch, `QuantizedOpKernels.cpp` (qadd_kernel).
    Fbgemm,
    /// ONNX's QLinearConv as ONNX Runtime computes it: the bias is an i32 that is added to the sum,
    /// which is scaled in f32 by `(sa·sw)/so`; an addition is
    /// `fixed + qa·(sa/so) + qb·(sb/so)` with the zero points in `fixed`; quantizing divides by `s`.
    /// ONNX Runtime, MLAS `quantize.cpp` (MlasRequantizeOutput), `qladd.cpp`.
    QLinear,
    /// As tract computes QLinearConv: the bias is an i32, and with one scale of the weights the sum is
    /// multiplied by `(sa·sw)/so` exactly, in fixed point of 31 bits, and rounded once; with one scale a
    /// channel it is multiplied in f32, by a factor that depends on how many there are
    /// (`tract_factor`). An addition is of floats, `((qa−za)·sa + (qb−zb)·sb) · (1/so)`; quantizing
    /// multiplies by `1/s`. tract-core, `ops/matmul/quant.rs` (requant), `ops/quant.rs` (Scale);
    /// tract-linalg, `generic/rounding.rs` (Scaler).
    FixedPoint,
    /// As OpenVINO computes QuantizeLinear, which it reads as FakeQuantize: in f32 times the steps of a unit, the zero
    /// point added, and only then rounded, so that of two neighbours a half goes to the even one counted from the lowest
    /// of the type. All else is as in the standard. OpenVINO, `quantize_linear.cpp` of its reader of ONNX, and
    /// `fake_quantize.cpp` of its plugin for processors.
    FakeQuantize,
    /// What the graph means: real numbers, in f64, with a single rounding at the end.
    Exact,
}

/// What becomes of a number halfway between two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    HalfEven,
    /// Away from zero, as `f32::round` does.
    HalfAway,
}

/// How products are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    Exact,
    /// Depthwise convolutions add two neighbouring products with saturation to 16 bits first, as the
    /// instruction `vpmaddubsw` does in fbgemm's kernels on x86.
    DepthwisePairs,
    /// All convolutions do, over the channels of a tap and then the taps: as matrix products in that
    /// order by `vpmaddubsw`.
    Pairs,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            arithmetic: None,
            rounding: Rounding::HalfEven,
            sums: Sums::Exact,
            end: None,
            noise: None,
        }
    }
}

impl Rules {
    /// Where several values of a knob explain an engine as well, the first of them is believed: what the
    /// file says, then what the ONNX standard has an operator for, then what single libraries do.
    pub fn knobs() -> Vec<Knob> {
        vec![
            Knob::choice(
                ARITHMETIC,
                &[
                    AS_WRITTEN,
                    STANDARD,
                    QLINEAR,
                    FBGEMM,
                    FIXED_POINT,
                    FAKE_QUANTIZE,
                    EXACT,
                ],
                "how sums are scaled: as ONNX defines each operator, QLinearConv's way in f32, fbgemm's, \
                 QLinearConv's in fixed point, as ONNX defines it but with the zero point added before numbers are \
                 rounded, or in real numbers; as written: fbgemm's where quantized \
                 convolutions have biases of floats, as in files made from PyTorch's quantized models, and \
                 else as ONNX defines each operator",
            ),
            Knob::choice(
                ROUNDING,
                &["half-even", "half-away"],
                "what becomes of a number halfway between two integers",
            ),
            Knob::choice(
                SUMS,
                &["exact", "depthwise-pairs", "pairs"],
                "whether depthwise convolutions, or all, add pairs of products with saturation to 16 \
                 bits",
            ),
            Knob::choice(
                F32_SUMS,
                &["off", "lowest", "highest"],
                "of a single layer in dequantized f32, the lowest or the highest integers that sums in any \
                 order can give",
            ),
            Knob::choice(
                F32_NOISE,
                &["off", "first", "second"],
                "results of floats off by up to sixteen roundings, one of two draws: how far outputs move by what no \
                 file defines",
            ),
        ]
    }

    /// # Errors
    /// Fails on a value that is none of the knob's.
    pub fn of(knobs: &Knobs) -> Result<Self> {
        let unknown = |name: &str, value: &str| {
            Err(Error::unsupported(format!(
                "there is no rule {name}={value}"
            )))
        };
        Ok(Self {
            arithmetic: match knobs.get(ARITHMETIC) {
                None | Some(AS_WRITTEN) => None,
                Some(STANDARD) => Some(Arithmetic::Standard),
                Some(FBGEMM) => Some(Arithmetic::Fbgemm),
                Some(QLINEAR) => Some(Arithmetic::QLinear),
                Some(FIXED_POINT) => Some(Arithmetic::FixedPoint),
                Some(FAKE_QUANTIZE) => Some(Arithmetic::FakeQuantize),
                Some(EXACT) => Some(Arithmetic::Exact),
                Some(other) => return unknown(ARITHMETIC, other),
            },
            rounding: match knobs.get(ROUNDING) {
                None | Some("half-even") => Rounding::HalfEven,
                Some("half-away") => Rounding::HalfAway,
                Some(other) => return unknown(ROUNDING, other),
            },
            sums: match knobs.get(SUMS) {
                None | Some("exact") => Sums::Exact,
                Some("depthwise-pairs") => Sums::DepthwisePairs,
                Some("pairs") => Sums::Pairs,
                Some(other) => return unknown(SUMS, other),
            },
            end: match knobs.get(F32_SUMS) {
                None | Some("off") => None,
                Some("lowest") => Some(End::Lowest),
                Some("highest") => Some(End::Highest),
                Some(other) => return unknown(F32_SUMS, other),
            },
            noise: match knobs.get(F32_NOISE) {
                None | Some("off") => None,
                Some("first") => Some(Noise(1)),
                Some("second") => Some(Noise(2)),
                Some(other) => return unknown(F32_NOISE, other),
            },
        })
    }
}

impl Arithmetic {
    /// The knob that asks for it.
    pub fn knobs(self) -> Knobs {
        let value = match self {
            Self::Standard => STANDARD,
            Self::Fbgemm => FBGEMM,
            Self::QLinear => QLINEAR,
            Self::FixedPoint => FIXED_POINT,
            Self::FakeQuantize => FAKE_QUANTIZE,
            Self::Exact => EXACT,
        };
        Knobs::default().with(ARITHMETIC, value)
    }
}

/// What a file as a whole is written for. It is fbgemm's, as files are that keep the bits of PyTorch's
/// quantized models, where a convolution or a product of dequantized values has a bias of floats and none has
/// one of integers behind DequantizeLinear. Every other file means what ONNX defines.
pub fn written_for(graph: &GraphProto) -> Arithmetic {
    let nodes = || graph.node.iter();
    let dequantized: BTreeSet<&str> = nodes()
        .filter(|node| node.op_type == "DequantizeLinear")
        .flat_map(|node| node.output.iter().map(String::as_str))
        .collect();
    let is_dequantized =
        |name: Option<&String>| name.is_some_and(|name| dequantized.contains(name.as_str()));
    let sums = nodes().filter(|node| {
        matches!(&node.op_type[..], "Conv" | "Gemm")
            && is_dequantized(node.input.first())
            && is_dequantized(node.input.get(1))
    });
    let biases: Vec<&String> = sums
        .filter_map(|node| node.input.get(2))
        .filter(|name| !name.is_empty())
        .collect();
    let of_floats = |name: &&String| !is_dequantized(Some(name));
    if !biases.is_empty() && biases.iter().all(of_floats) {
        Arithmetic::Fbgemm
    } else {
        Arithmetic::Standard
    }
}

impl Rounding {
    /// f32 are f64 as well: nothing is rounded twice.
    pub fn round(self, value: f64) -> f64 {
        match self {
            Self::HalfEven => value.round_ties_even(),
            Self::HalfAway => value.round(),
        }
    }
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::write::node;

    use super::*;

    /// A convolution of dequantized values, with these inputs as its bias.
    fn file(bias: &[&str]) -> GraphProto {
        let inputs = [&["x.real", "w.real"], bias].concat();
        GraphProto {
            node: vec![
                node("DequantizeLinear", &["x", "scale"], "x.real"),
                node("DequantizeLinear", &["w", "scale"], "w.real"),
                node("DequantizeLinear", &["b", "scale"], "b.real"),
                node("Conv", &inputs, "sums"),
                node("Conv", &["y", "v", "floats"], "float"),
            ],
            ..GraphProto::default()
        }
    }

    #[test]
    fn only_a_bias_of_floats_among_integers_is_written_for_fbgemm() {
        assert_eq!(written_for(&file(&["floats"])), Arithmetic::Fbgemm);
        // A convolution of floats says nothing.
        assert_eq!(written_for(&file(&[])), Arithmetic::Standard);
        assert_eq!(written_for(&file(&["b.real"])), Arithmetic::Standard);
        let mut mixed = file(&["floats"]);
        mixed.node.extend(file(&["b.real"]).node);
        assert_eq!(written_for(&mixed), Arithmetic::Standard);
        // A file that only quantizes or adds.
        assert_eq!(written_for(&GraphProto::default()), Arithmetic::Standard);
    }

    #[test]
    fn the_knob_of_an_arithmetic_asks_for_it() -> Result<()> {
        for arithmetic in [
            Arithmetic::Standard,
            Arithmetic::QLinear,
            Arithmetic::Fbgemm,
            Arithmetic::FixedPoint,
            Arithmetic::FakeQuantize,
            Arithmetic::Exact,
        ] {
            let rules = Rules::of(&arithmetic.knobs())?;
            assert_eq!(rules.arithmetic, Some(arithmetic));
        }
        Ok(())
    }
}
