//! The rules by which engines turn exact sums into integers: what they are, and the knobs that set them.

use firstpass_probe::{Error, Knob, Knobs, Result};

use crate::any_order::End;

const ARITHMETIC: &str = "arithmetic";
const ROUNDING: &str = "rounding";
const SUMS: &str = "sums";
const F32_SUMS: &str = "f32-sums";

/// What an interpretation follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `None`: that of the engine for which the file is written, told by its biases.
    pub arithmetic: Option<Arithmetic>,
    pub rounding: Rounding,
    pub sums: Sums,
    /// Where there is one, everything is computed on dequantized f32, as an engine without integer
    /// kernels does, and convolutions give that end of what their sums may be in any order. It is one of
    /// results only where no other result goes into them: for a single layer.
    pub end: Option<End>,
}

/// In which numbers, and in which order, a sum is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
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
                &["as-written", "qlinear", "fbgemm", "fixed-point", "exact"],
                "how sums are scaled: QLinearConv's way in f32, fbgemm's, QLinearConv's in fixed point, or \
                 in real numbers; as written: fbgemm's where biases are floats, QLinearConv's in f32 where they \
                 are integers",
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
                None | Some("as-written") => None,
                Some("fbgemm") => Some(Arithmetic::Fbgemm),
                Some("qlinear") => Some(Arithmetic::QLinear),
                Some("fixed-point") => Some(Arithmetic::FixedPoint),
                Some("exact") => Some(Arithmetic::Exact),
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
        })
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
