//! Softmax of values that lie apart: many rows side by side, in vectors.

use super::functions::exp;
use crate::kernels::Isa;

/// Rows that are computed together.
const ROWS: usize = 16;
/// Sums that a row is added up in, one after the other, as for a row whose values lie together.
const SUMS: usize = 8;

/// Softmax of each of `stride` rows, whose values are `stride` apart.
pub fn strided_softmax(isa: Isa, input: &[f32], stride: usize, out: &mut [f32]) {
    match isa {
        Isa::Reference => all(input, stride, out),
        // A closure of this size would not become part of a function with these instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => {
            // SAFETY: this instruction set is chosen only where it was detected.
            unsafe { all_avx2(input, stride, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => {
            // SAFETY: as above.
            unsafe { all_avx512(input, stride, out) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn all_avx2(input: &[f32], stride: usize, out: &mut [f32]) {
    all(input, stride, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn all_avx512(input: &[f32], stride: usize, out: &mut [f32]) {
    all(input, stride, out);
}

#[inline(always)]
fn all(input: &[f32], stride: usize, out: &mut [f32]) {
    for first in (0..stride).step_by(ROWS) {
        match stride - first {
            ROWS.. => rows::<ROWS>(&input[first..], stride, &mut out[first..]),
            rest => {
                for row in first..first + rest {
                    rows::<1>(&input[row..], stride, &mut out[row..]);
                }
            }
        }
    }
}

#[inline(always)]
fn rows<const N: usize>(input: &[f32], stride: usize, out: &mut [f32]) {
    let mut largest = [f32::NEG_INFINITY; N];
    let mut length = 0;
    for values in input.chunks(stride) {
        for (largest, &value) in largest.iter_mut().zip(&values[..N]) {
            *largest = if value > *largest { value } else { *largest };
        }
        length += 1;
    }
    let mut sums = [[0.0_f32; N]; SUMS];
    let mut rest = [0.0_f32; N];
    let whole = length / SUMS * SUMS;
    let lines = input.chunks(stride).zip(out.chunks_mut(stride));
    for (number, (values, out)) in lines.enumerate() {
        let sum = match number < whole {
            true => &mut sums[number % SUMS],
            false => &mut rest,
        };
        for row in 0..N {
            out[row] = exp(values[row] - largest[row]);
            sum[row] += out[row];
        }
    }
    let mut total = [0.0_f32; N];
    for sum in sums.iter().chain([&rest]) {
        for (total, &sum) in total.iter_mut().zip(sum) {
            *total += sum;
        }
    }
    for out in out.chunks_mut(stride) {
        for (out, &total) in out[..N].iter_mut().zip(&total) {
            *out /= total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::rows::softmax_of_row;

    #[test]
    fn rows_side_by_side_are_as_rows_one_by_one() {
        for (length, stride) in [(1, 2), (2, 40), (16, 33), (21, 16), (80, 50)] {
            let count = length * stride;
            let input: Vec<f32> = (0..count)
                .map(|at| (at * 7919 % 1009) as f32 / 50.0 - 10.0)
                .collect();
            let mut expected = vec![0.0; count];
            for row in 0..stride {
                let values: Vec<f32> = input[row..].iter().copied().step_by(stride).collect();
                let mut result = vec![0.0; length];
                softmax_of_row(&values, false, &mut result);
                for (number, value) in result.into_iter().enumerate() {
                    expected[number * stride + row] = value;
                }
            }
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; count];
                strided_softmax(isa, &input, stride, &mut out);
                assert_eq!(
                    out,
                    expected,
                    "{length} values {stride} apart, {}",
                    isa.name()
                );
            }
        }
    }
}
