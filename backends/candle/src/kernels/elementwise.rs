//! Kernels that treat every value alike. Their vector form is the same Rust, compiled once more
//! for the instruction set: rounding and fused multiply-add are single instructions there.

use super::{isa::Isa, requantization::Range};

/// How the sum of two u8 tensors becomes u8, as libtorch computes it: each operand dequantized
/// with one fused multiply-add.
#[derive(Debug, Clone, Copy)]
pub struct Addition {
    /// Of the operands.
    pub scales: [f32; 2],
    /// Of the operands: minus zero point times scale.
    pub offsets: [f32; 2],
    /// One over the scale of the output.
    pub inverse_scale: f32,
    pub range: Range,
}

/// Adds tensors of one length.
pub fn add(isa: Isa, addition: &Addition, left: &[u8], right: &[u8], out: &mut [u8]) {
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
            unsafe { add_avx512(addition, left, right, out) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn add_avx2(addition: &Addition, left: &[u8], right: &[u8], out: &mut [u8]) {
    add_each(addition, left, right, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_avx512(addition: &Addition, left: &[u8], right: &[u8], out: &mut [u8]) {
    add_each(addition, left, right, out);
}

#[inline(always)]
fn add_each(addition: &Addition, left: &[u8], right: &[u8], out: &mut [u8]) {
    let addition = *addition;
    for ((out, &left), &right) in out.iter_mut().zip(left).zip(right) {
        let left = f32::from(left).mul_add(addition.scales[0], addition.offsets[0]);
        let right = f32::from(right).mul_add(addition.scales[1], addition.offsets[1]);
        *out = addition
            .range
            .round((left + right) * addition.inverse_scale);
    }
}

/// Quantizes values with the reciprocal of the scale, as libtorch does.
pub fn quantize(isa: Isa, inverse_scale: f32, range: Range, values: &[f32], out: &mut [u8]) {
    match isa {
        Isa::Reference => quantize_each(inverse_scale, range, values, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => {
            // SAFETY: this instruction set is chosen only where it was detected.
            unsafe { quantize_avx2(inverse_scale, range, values, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => {
            // SAFETY: as above.
            unsafe { quantize_avx512(inverse_scale, range, values, out) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn quantize_avx2(inverse_scale: f32, range: Range, values: &[f32], out: &mut [u8]) {
    quantize_each(inverse_scale, range, values, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn quantize_avx512(inverse_scale: f32, range: Range, values: &[f32], out: &mut [u8]) {
    quantize_each(inverse_scale, range, values, out);
}

#[inline(always)]
fn quantize_each(inverse_scale: f32, range: Range, values: &[f32], out: &mut [u8]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = range.round(value * inverse_scale);
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
