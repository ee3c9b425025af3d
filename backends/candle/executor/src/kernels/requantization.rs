//! How 32-bit sums of products become u8, which every form of a kernel shares.

/// The longest sum of products of u8 and i8 that cannot leave 32 bits.
pub const MAX_PRODUCTS: usize = i32::MAX as usize / (255 * 128);

/// How the accumulators of a convolution become u8: `real = fma(bias, bias_factor, accumulator)`, then
/// `real * factor`, as fbgemm computes it, or `fma(real, factor, real * rest) / divisor`, rounded into `range`.
#[derive(Debug, Clone)]
pub struct Requantization {
    /// By output channel: what the zero point of the input contributes, and an int32 bias.
    pub correction: Vec<i32>,
    /// By output channel.
    pub bias: Vec<f32>,
    /// 1 where `bias` is divided by the scale of the accumulator already.
    pub bias_factor: f32,
    /// By output channel: scale of the accumulator over scale of the output, if it is not the divisor.
    pub factor: Vec<f32>,
    /// The scale of the output, where ONNX's QuantizeLinear divides by it.
    pub divisor: Option<f32>,
    /// By output channel, where there is a divisor: what `factor` lacks as an f32 of the product of the
    /// scales, so that sums become the real numbers that they stand for, rounded once.
    pub rest: Vec<f32>,
    pub range: Range,
    /// What vector kernels may multiply by instead of dividing.
    pub(super) inverse: Option<[f32; 2]>,
    /// Whether no sum of the packed weights with u8 can leave what i32 holds once it is scaled, so that
    /// it may be rounded before it is clamped.
    pub(super) bounded: bool,
    /// Whether `bias` may change a sum.
    pub(super) has_bias: bool,
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
            divisor: None,
            rest: Vec::new(),
            range,
            inverse: None,
            bounded: false,
            has_bias: true,
        }
    }

    /// The same, divided in the end; `rest` is by output channel.
    pub fn divided(self, divisor: f32, rest: Vec<f32>) -> Self {
        Self {
            divisor: Some(divisor),
            rest,
            ..self
        }
    }

    /// The same for `weights`, which are `[channel][product]`.
    pub(super) fn of_weights(&self, weights: &[i8]) -> Self {
        const LIMIT: f64 = (1_u32 << 30) as f64;
        let products = weights.len() / self.bias.len().max(1);
        let mut channels = weights.chunks_exact(products.max(1)).enumerate();
        let bounded = channels.all(|(channel, weights)| {
            let products = weights.iter().map(|w| i64::from(w.unsigned_abs()) * 255);
            let sum = products.sum::<i64>() + i64::from(self.correction[channel].unsigned_abs());
            let bias = f64::from(self.bias[channel]) * f64::from(self.bias_factor);
            // Not so for NaN.
            let factor = f64::from(self.factor[channel]) / f64::from(self.divisor.unwrap_or(1.0));
            (sum as f64 + bias.abs()) * factor.abs() < LIMIT
        });
        // An infinite factor makes NaN of zero.
        let has_bias = !self.bias_factor.is_finite() || self.bias.iter().any(|&bias| bias != 0.0);
        Self {
            bounded,
            has_bias,
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
            rest: match self.divisor {
                None => Vec::new(),
                Some(_) => select(&self.rest, channels),
            },
            ..*self
        }
    }

    /// Requantizes the accumulators of consecutive channels from `first` on.
    #[inline(always)]
    pub(super) fn apply(&self, first: usize, accumulators: &[i32], out: &mut [u8]) {
        let count = out.len();
        let accumulators = &accumulators[..count];
        let correction = &self.correction[first..][..count];
        let bias = &self.bias[first..][..count];
        let factor = &self.factor[first..][..count];
        for i in 0..count {
            let accumulator = accumulators[i].wrapping_add(correction[i]) as f32;
            let real = bias[i].mul_add(self.bias_factor, accumulator);
            out[i] = self.range.round(match self.divisor {
                None => real * factor[i],
                Some(divisor) => real.mul_add(factor[i], real * self.rest[first + i]) / divisor,
            });
        }
    }
}

/// The u8 values that an output may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// What is added after rounding.
    pub(super) zero: f32,
    /// Of 0 to 255, as is `high`.
    pub(super) low: f32,
    pub(super) high: f32,
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
