//! Means and products of the real numbers that integers stand for, quantized again: as dequantizing to floats,
//! computing on these and quantizing has them, in the same order. Their vector form is the same Rust, compiled
//! once more for the instruction set.

use super::{isa::Isa, requantization::Range, scaling::Scaling};

/// A function that is compiled once more for each instruction set.
macro_rules! for_each_isa {
    ($(#[$docs:meta])* $name:ident($($argument:ident: $type:ty),* $(,)?) by $each:ident) => {
        $(#[$docs])*
        pub fn $name(isa: Isa, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) {
                $each($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
            fn avx512($($argument: $type),*) {
                $each($($argument),*);
            }
            match isa {
                Isa::Reference => $each($($argument),*),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2(_) => {
                    // SAFETY: this instruction set is chosen only where it was detected.
                    unsafe { avx2($($argument),*) }
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Vnni(_) => {
                    // SAFETY: as above.
                    unsafe { avx512($($argument),*) }
                }
            }
        }
    };
}

/// Which real numbers integers stand for.
#[derive(Debug, Clone, Copy)]
pub struct Reals {
    pub scale: f32,
    pub zero: f32,
}

impl Reals {
    #[inline(always)]
    pub fn of(self, integer: u8) -> f32 {
        (f32::from(integer) - self.zero) * self.scale
    }
}

/// How real numbers become integers.
#[derive(Debug, Clone, Copy)]
pub struct Integers {
    pub scaling: Scaling,
    pub range: Range,
}

impl Integers {
    /// Writes what `real` gives for each place.
    #[inline(always)]
    fn write(self, out: &mut [u8], reals: impl Iterator<Item = f32>) {
        let range = self.range;
        let pairs = out.iter_mut().zip(reals);
        match self.scaling {
            Scaling::Over(scale) => pairs.for_each(|(out, real)| *out = range.round(real / scale)),
            Scaling::By(inverse) => {
                pairs.for_each(|(out, real)| *out = range.round(real * inverse));
            }
        }
    }
}

for_each_isa! {
    /// Multiplies tensors of one length.
    multiply(of: [Reals; 2], to: Integers, both: [&[u8]; 2], out: &mut [u8]) by multiply_each
}

#[inline(always)]
fn multiply_each(of: [Reals; 2], to: Integers, [left, right]: [&[u8]; 2], out: &mut [u8]) {
    let pairs = left.iter().zip(right);
    to.write(out, pairs.map(|(&a, &b)| of[0].of(a) * of[1].of(b)));
}

/// How ONNX Runtime's QLinearAdd adds integers: each times a factor, from `fixed` on, which holds all zero points.
#[derive(Debug, Clone, Copy)]
pub struct Mixture {
    factors: [f32; 2],
    fixed: f32,
    /// That of the output is none: it is in the sum before that is rounded.
    range: Range,
}

impl Mixture {
    /// Of operands that stand for these numbers, into steps of `scale` from `zero` on.
    pub fn new(of: [Reals; 2], scale: f32, zero: u8) -> Self {
        let factors = of.map(|of| of.scale / scale);
        let zeros = factors[0].mul_add(of[0].zero, factors[1] * of[1].zero);
        Self {
            factors,
            fixed: f32::from(zero) - zeros,
            range: Range::new(0, u8::MIN, u8::MAX),
        }
    }
}

for_each_isa! {
    /// Adds tensors of one length in this way.
    mix(mixture: Mixture, both: [&[u8]; 2], out: &mut [u8]) by mix_each
}

#[inline(always)]
fn mix_each(mixture: Mixture, [left, right]: [&[u8]; 2], out: &mut [u8]) {
    let Mixture {
        factors: [a, b],
        fixed,
        range,
    } = mixture;
    for ((out, &left), &right) in out.iter_mut().zip(left).zip(right) {
        let sum = f32::from(right).mul_add(b, fixed);
        *out = range.round(f32::from(left).mul_add(a, sum));
    }
}

for_each_isa! {
    /// Multiplies every pixel by `factors`, one for each channel.
    multiply_channels(of: Reals,
    to: Integers,
    pixels: &[u8],
    factors: &[f32],
    out: &mut [u8]) by multiply_each_channel
}

#[inline(always)]
fn multiply_each_channel(of: Reals, to: Integers, pixels: &[u8], factors: &[f32], out: &mut [u8]) {
    let outs = out.chunks_exact_mut(factors.len());
    for (pixel, out) in pixels.chunks_exact(factors.len()).zip(outs) {
        let pairs = pixel.iter().zip(factors);
        to.write(out, pairs.map(|(&value, &factor)| of.of(value) * factor));
    }
}

for_each_isa! {
    /// The mean of all pixels, by channel. It is summed in the order in which the mean of a plane of floats is:
    /// in eight sums side by side.
    mean_of_pixels(of: Reals, to: Integers, pixels: &[u8], out: &mut [u8]) by means
}

#[inline(always)]
fn means(of: Reals, to: Integers, pixels: &[u8], out: &mut [u8]) {
    const LANES: usize = 16;
    const SUMS: usize = 8;
    let channels = out.len();
    let count = pixels.len() / channels;
    let load = |pixel: usize, first: usize, width: usize| -> [u8; LANES] {
        let values = &pixels[pixel * channels + first..][..width];
        values.first_chunk().copied().unwrap_or_else(|| {
            let mut some = [0; LANES];
            some[..width].copy_from_slice(values);
            some
        })
    };
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let (first, width) = (block * LANES, out.len());
        let mut sums = [[0.0_f32; LANES]; SUMS];
        for start in (0..count / SUMS).map(|eight| eight * SUMS) {
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let values = load(start + pixel, first, width);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += of.of(value);
                }
            }
        }
        let mut rest = [0.0_f32; LANES];
        for pixel in count / SUMS * SUMS..count {
            for (sum, value) in rest.iter_mut().zip(load(pixel, first, width)) {
                *sum += of.of(value);
            }
        }
        let mean = |lane: usize| {
            let sum: f32 = sums.iter().map(|sums| sums[lane]).sum();
            (sum + rest[lane]) / count as f32
        };
        let means: [f32; LANES] = std::array::from_fn(mean);
        to.write(out, means.into_iter());
    }
}

/// The windows of a row of outputs.
pub struct Windows<'a> {
    /// The rows of the input that they read, from top to bottom, channels last.
    pub rows: &'a [&'a [u8]],
    /// By output column, the columns of the input, from left to right.
    pub columns: &'a [Vec<usize>],
    /// By output column, by what the sum is divided.
    pub divisors: &'a [f32],
}

for_each_isa! {
    /// The means of windows; `sums` has one for each channel, and what is in them does not matter.
    average(of: Reals,
    to: Integers,
    windows: &Windows<'_>,
    sums: &mut [f32],
    out: &mut [u8]) by average_each
}

#[inline(always)]
fn average_each(of: Reals, to: Integers, windows: &Windows<'_>, sums: &mut [f32], out: &mut [u8]) {
    let channels = sums.len();
    let outs = out.chunks_exact_mut(channels);
    let columns = windows.columns.iter().zip(windows.divisors);
    for ((columns, &divisor), out) in columns.zip(outs) {
        sums.fill(0.0);
        for row in windows.rows {
            for &column in columns {
                let pixel = &row[column * channels..][..channels];
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += of.of(value);
                }
            }
        }
        to.write(out, sums.iter().map(|&sum| sum / divisor));
    }
}

for_each_isa! {
    /// The larger of two values, at each place.
    maximum(values: &[u8], out: &mut [u8]) by maximum_of_each
}

#[inline(always)]
fn maximum_of_each(values: &[u8], out: &mut [u8]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = value.max(*out);
    }
}

for_each_isa! {
    /// The largest value of each channel in some columns of a row, which are told by output column.
    largest_of_columns(row: &[u8],
    columns: &[Vec<usize>],
    channels: usize,
    out: &mut [u8]) by largest_of_each_column
}

#[inline(always)]
fn largest_of_each_column(row: &[u8], columns: &[Vec<usize>], channels: usize, out: &mut [u8]) {
    for (columns, out) in columns.iter().zip(out.chunks_exact_mut(channels)) {
        let pixel = |column: usize| &row[column * channels..][..channels];
        match columns[..] {
            [] => out.fill(0),
            // Together, which reads and writes what has been computed so far less often.
            [a, b, c] => {
                let values = pixel(a).iter().zip(pixel(b)).zip(pixel(c));
                for (out, ((&a, &b), &c)) in out.iter_mut().zip(values) {
                    *out = a.max(b).max(c);
                }
            }
            [first, ref others @ ..] => {
                out.copy_from_slice(pixel(first));
                for &column in others {
                    for (out, &value) in out.iter_mut().zip(pixel(column)) {
                        *out = value.max(*out);
                    }
                }
            }
        }
    }
}
