//! Kernels that treat every value alike. Their vector form is the same Rust, compiled once more
//! for the instruction set: rounding and fused multiply-add are single instructions there.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{
    isa::Isa,
    requantization::Range,
    scaling::{Addition, Scaling},
};

impl Addition {
    /// For the kernels of `isa`.
    pub fn new(
        isa: Isa,
        scales: [f32; 2],
        zeros: [f32; 2],
        scaling: Scaling,
        range: Range,
    ) -> Self {
        let inverse = match (isa, scaling) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Vnni(_), Scaling::Over(scale)) => {
                // SAFETY: this instruction set is chosen only where it was detected.
                unsafe { avx512::inverse(scale) }
            }
            _ => None,
        };
        Self {
            scales,
            zeros,
            scaling,
            range,
            inverse,
        }
    }
}

impl Addition {
    /// The same sums, of operands in the other order.
    pub fn swapped(self) -> Self {
        let ([a, b], [c, d]) = (self.scales, self.zeros);
        Self {
            scales: [b, a],
            zeros: [d, c],
            ..self
        }
    }
}

/// Adds tensors of one length. Without a left operand that is what `out` holds.
pub fn add(isa: Isa, addition: &Addition, left: Option<&[u8]>, right: &[u8], out: &mut [u8]) {
    match isa {
        Isa::Reference => add_each(addition, left, right, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => {
            // SAFETY: this instruction set is chosen only where it was detected.
            unsafe { add_avx2(addition, left, right, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => {
            // SAFETY: as above.
            unsafe { avx512::add(addition, left, right, out) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_avx2(addition: &Addition, left: Option<&[u8]>, right: &[u8], out: &mut [u8]) {
    add_each(addition, left, right, out);
}

#[inline(always)]
fn add_each(addition: &Addition, left: Option<&[u8]>, right: &[u8], out: &mut [u8]) {
    let Addition {
        scales: [a, b],
        zeros: [c, d],
        scaling,
        range,
        ..
    } = *addition;
    match scaling {
        Scaling::Over(scale) => pairs(left, right, out, |left, right| {
            range.round(((left - c) * a + (right - d) * b) / scale)
        }),
        // fbgemm dequantizes with one fused multiply-add.
        Scaling::By(inverse) => {
            let (c, d) = (a * -c, b * -d);
            pairs(left, right, out, |left, right| {
                range.round((left.mul_add(a, c) + right.mul_add(b, d)) * inverse)
            });
        }
    }
}

#[inline(always)]
fn pairs(left: Option<&[u8]>, right: &[u8], out: &mut [u8], function: impl Fn(f32, f32) -> u8) {
    match left {
        Some(left) => {
            for ((out, &left), &right) in out.iter_mut().zip(left).zip(right) {
                *out = function(left.into(), right.into());
            }
        }
        None => {
            for (out, &right) in out.iter_mut().zip(right) {
                *out = function((*out).into(), right.into());
            }
        }
    }
}

/// Quantizes values.
pub fn quantize(isa: Isa, scaling: Scaling, range: Range, values: &[f32], out: &mut [u8]) {
    match isa {
        Isa::Reference => quantize_each(scaling, range, values, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => {
            // SAFETY: this instruction set is chosen only where it was detected.
            unsafe { quantize_avx2(scaling, range, values, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => {
            // SAFETY: as above.
            unsafe { avx512::quantize(scaling, range, values, out) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn quantize_avx2(scaling: Scaling, range: Range, values: &[f32], out: &mut [u8]) {
    quantize_each(scaling, range, values, out);
}

#[inline(always)]
fn quantize_each(scaling: Scaling, range: Range, values: &[f32], out: &mut [u8]) {
    let pairs = out.iter_mut().zip(values);
    match scaling {
        Scaling::Over(scale) => pairs.for_each(|(out, &value)| *out = range.round(value / scale)),
        Scaling::By(inverse) => pairs.for_each(|(out, &value)| *out = range.round(value * inverse)),
    }
}

/// Rows of `width` values, one a channel, as pixels.
pub fn channels_last(isa: Isa, rows: &[u8], width: usize, out: &mut [u8]) {
    match isa {
        Isa::Reference => pixels(rows, width, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) | Isa::Avx512Vnni(_) => {
            // SAFETY: this instruction set is chosen only where it was detected.
            unsafe { pixels_avx2(rows, width, out) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn pixels_avx2(rows: &[u8], width: usize, out: &mut [u8]) {
    pixels(rows, width, out);
}

#[inline(always)]
fn pixels(rows: &[u8], width: usize, out: &mut [u8]) {
    let channels = out.len() / width;
    if channels == 3 {
        // The channels of images, with a number that the compiler knows.
        let (red, rest) = rows.split_at(width);
        let (green, blue) = rest.split_at(width);
        let values = red.iter().zip(green).zip(blue);
        for (out, ((&red, &green), &blue)) in out.as_chunks_mut::<3>().0.iter_mut().zip(values) {
            *out = [red, green, blue];
        }
        return;
    }
    for (channel, row) in rows.chunks_exact(width).enumerate() {
        let pixels = out[channel..].iter_mut().step_by(channels);
        for (out, &value) in pixels.zip(row) {
            *out = value;
        }
    }
}
