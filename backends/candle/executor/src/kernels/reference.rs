//! The definition of every integer kernel, in safe scalar Rust.

use std::ops::Range;

use super::{
    requantization::Requantization,
    rows::{Output, Rows},
};

/// Rows of segments of `segment` activations times weights `[channel][segment][k]`, for the channels of `part`.
pub fn matrix(
    weights: &[i8],
    segment: usize,
    part: &Range<usize>,
    requantization: &Requantization,
    rows: &Rows<'_>,
    out: &mut Output<'_>,
) {
    let k = rows.segments.len() * segment;
    let weights = &weights[part.start * k..part.end * k];
    let mut accumulators = vec![0; part.len()];
    for row in 0..rows.count {
        for (accumulator, weights) in accumulators.iter_mut().zip(weights.chunks_exact(k)) {
            let segments = rows.segments.iter().zip(weights.chunks_exact(segment));
            let products = segments.flat_map(|(&start, weights)| {
                let activations = rows.segment(row, start, segment);
                let products = activations.iter().zip(weights);
                products.map(|(&a, &w)| i32::from(a) * i32::from(w))
            });
            *accumulator = products.sum();
        }
        requantization.apply(part.start, &accumulators, out.row(row, part.clone()));
    }
}

/// One pixel of a depthwise convolution with weights `[tap][channel]`; `taps` has for every tap of the
/// window the channels of the pixel that it reads.
pub fn depthwise(weights: &[i8], requantization: &Requantization, taps: &[&[u8]], out: &mut [u8]) {
    for (channel, out) in out.iter_mut().enumerate() {
        let products = taps
            .iter()
            .zip(weights.chunks_exact(requantization.bias.len()));
        let accumulator = products
            .map(|(tap, weights)| i32::from(tap[channel]) * i32::from(weights[channel]))
            .sum();
        requantization.apply(channel, &[accumulator], std::slice::from_mut(out));
    }
}
