//! Integer kernels: a safe reference, which is the definition, and faster forms of it.
//!
//! Every form accumulates the products exactly in 32 bits and shares the arithmetic of the
//! requantization (below), so that the instruction set never changes a result.

mod depthwise;
mod elementwise;
mod matrix;
mod reference;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use depthwise::{Columns, Depthwise, Input};
pub use elementwise::{Addition, add, channels_last, quantize};
pub use matrix::{Matrix, Output, PANEL, QUAD, Rows};

/// The instruction set that the integer kernels use. One that this machine does not have cannot be made.
///
/// ```compile_fail
/// let isa: firstpass_candle::Isa = firstpass_candle::Isa::Avx2;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust; the definition of every result.
    Reference,
    /// 16-bit multiply-add (`vpmaddwd`) on activations and weights widened to 16 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2(Detected),
    /// `vpdpbusd` on u8 activations and i8 weights for matrices; AVX2 for the rest.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Detected),
}

/// Proof that the processor has an instruction set: only [`Isa::available`] makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detected(());

impl Isa {
    /// What this machine has, the fastest first; never empty.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                found.push(Self::Avx512Vnni(Detected(())));
            }
            if avx2 {
                found.push(Self::Avx2(Detected(())));
            }
        }
        found.push(Self::Reference);
        found
    }

    /// The fastest that this machine has.
    pub fn detect() -> Self {
        Self::available()
            .first()
            .copied()
            .unwrap_or(Self::Reference)
    }

    /// The one of this name; `None` where this machine does not have it.
    pub fn named(name: &str) -> Option<Self> {
        let mut available = Self::available().into_iter();
        available.find(|isa| isa.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => "avx512-vnni",
        }
    }
}

/// The longest sum of products of u8 and i8 that cannot leave 32 bits.
pub const MAX_PRODUCTS: usize = i32::MAX as usize / (255 * 128);

/// The u8 values that an output may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// What is added after rounding.
    zero: f32,
    /// Of 0 to 255, as is `high`.
    low: f32,
    high: f32,
}

impl Range {
    /// From `low` to `high`; `zero` is added after rounding.
    pub fn new(zero: u8, low: u8, high: u8) -> Self {
        Self {
            zero: zero.into(),
            low: low.into(),
            high: high.into(),
        }
    }

    /// Rounds half to even, adds the zero point, clamps. NaN becomes the lower bound.
    #[inline(always)]
    pub fn round(&self, value: f32) -> u8 {
        let value = value.round_ties_even() + self.zero;
        let value = if value > self.low { value } else { self.low };
        let value = if value < self.high { value } else { self.high };
        // SAFETY: the comparisons leave `low`, `high` or a number between them, and `new` makes both
        // of u8.
        unsafe { value.to_int_unchecked::<i32>() as u8 }
    }
}

/// How the accumulators of a convolution become u8, as fbgemm computes it:
/// `fma(bias, bias_factor, accumulator) * factor`, rounded into `range`.
#[derive(Debug, Clone)]
pub struct Requantization {
    /// By output channel: what the zero point of the input contributes, and an int32 bias.
    pub correction: Vec<i32>,
    /// By output channel.
    pub bias: Vec<f32>,
    /// 1 where `bias` is divided by the scale of the accumulator already.
    pub bias_factor: f32,
    /// By output channel: scale of the accumulator over scale of the output.
    pub factor: Vec<f32>,
    pub range: Range,
    /// Whether no sum of the packed weights with u8 can leave what i32 holds once it is scaled, so that
    /// it may be rounded before it is clamped.
    bounded: bool,
}

impl Requantization {
    pub fn new(
        correction: Vec<i32>,
        bias: Vec<f32>,
        bias_factor: f32,
        factor: Vec<f32>,
        range: Range,
    ) -> Self {
        Self {
            correction,
            bias,
            bias_factor,
            factor,
            range,
            bounded: false,
        }
    }

    /// The same for `weights`, which are `[channel][product]`.
    fn of_weights(&self, weights: &[i8]) -> Self {
        const LIMIT: f64 = (1_u32 << 30) as f64;
        let products = weights.len() / self.bias.len().max(1);
        let mut channels = weights.chunks_exact(products.max(1)).enumerate();
        let bounded = channels.all(|(channel, weights)| {
            let products = weights.iter().map(|w| i64::from(w.unsigned_abs()) * 255);
            let sum = products.sum::<i64>() + i64::from(self.correction[channel].unsigned_abs());
            let bias = f64::from(self.bias[channel]) * f64::from(self.bias_factor);
            // Not so for NaN.
            (sum as f64 + bias.abs()) * f64::from(self.factor[channel]).abs() < LIMIT
        });
        Self {
            bounded,
            ..self.clone()
        }
    }

    /// Those of `channels`, one after the other; zeros for `None`.
    pub fn select(&self, channels: &[Option<usize>]) -> Self {
        fn select<T: Copy + Default>(all: &[T], channels: &[Option<usize>]) -> Vec<T> {
            let values = channels.iter().map(|c| c.map_or(T::default(), |c| all[c]));
            values.collect()
        }
        Self {
            correction: select(&self.correction, channels),
            bias: select(&self.bias, channels),
            factor: select(&self.factor, channels),
            ..*self
        }
    }

    /// Requantizes the accumulators of consecutive channels from `first` on.
    #[inline(always)]
    fn apply(&self, first: usize, accumulators: &[i32], out: &mut [u8]) {
        let count = out.len();
        let accumulators = &accumulators[..count];
        let correction = &self.correction[first..][..count];
        let bias = &self.bias[first..][..count];
        let factor = &self.factor[first..][..count];
        for i in 0..count {
            let accumulator = accumulators[i].wrapping_add(correction[i]) as f32;
            let real = bias[i].mul_add(self.bias_factor, accumulator) * factor[i];
            out[i] = self.range.round(real);
        }
    }
}
