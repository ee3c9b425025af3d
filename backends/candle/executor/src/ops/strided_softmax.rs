//! Softmax of rows that are short, or whose values lie apart: many rows side by side, in vectors.

use super::functions::exp;
use crate::kernels::Isa;

/// Rows that are computed together.
const ROWS: usize = 16;
/// Sums that a row is added up in, one after the other, as for a row whose values lie together.
const SUMS: usize = 8;

/// Rows that are shorter are computed side by side.
pub const SHORT: usize = 8;

/// Rows of `length` values each, `step` apart, and from a row to the next.
#[derive(Clone, Copy)]
pub struct Layout {
    pub length: usize,
    pub step: usize,
    pub next: usize,
}

/// Softmax of each of `count` rows.
pub fn softmax_side_by_side(isa: Isa, of: Layout, count: usize, input: &[f32], out: &mut [f32]) {
    match isa {
        Isa::Reference => all(of, count, input, out),
        // A closure of this size would not become part of a function with these instructions.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => {
            // SAFETY: this instruction set is chosen only where it was detected.
            unsafe { all_avx2(of, count, input, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => {
            // SAFETY: as above.
            unsafe { all_avx512(of, count, input, out) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn all_avx2(of: Layout, count: usize, input: &[f32], out: &mut [f32]) {
    all(of, count, input, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn all_avx512(of: Layout, count: usize, input: &[f32], out: &mut [f32]) {
    all(of, count, input, out);
}

#[inline(always)]
fn all(of: Layout, count: usize, input: &[f32], out: &mut [f32]) {
    for first in (0..count).step_by(ROWS) {
        let at = first * of.next;
        // With a distance of 1 as a constant the compiler makes vector code.
        match (count - first, of.next) {
            (ROWS.., 1) => rows::<ROWS>(Layout { next: 1, ..of }, &input[at..], &mut out[at..]),
            (ROWS.., _) => rows::<ROWS>(of, &input[at..], &mut out[at..]),
            (rest, _) => {
                for row in first..first + rest {
                    let at = row * of.next;
                    rows::<1>(of, &input[at..], &mut out[at..]);
                }
            }
        }
    }
}

#[inline(always)]
fn rows<const N: usize>(of: Layout, input: &[f32], out: &mut [f32]) {
    let values = |number: usize| -> [f32; N] {
        let input = &input[number * of.step..][..(N - 1) * of.next + 1];
        std::array::from_fn(|row| input[row * of.next])
    };
    let mut largest = [f32::NEG_INFINITY; N];
    for number in 0..of.length {
        for (largest, value) in largest.iter_mut().zip(values(number)) {
            *largest = if value > *largest { value } else { *largest };
        }
    }
    let mut sums = [[0.0_f32; N]; SUMS];
    let mut rest = [0.0_f32; N];
    let whole = of.length / SUMS * SUMS;
    for number in 0..of.length {
        let sum = match number < whole {
            true => &mut sums[number % SUMS],
            false => &mut rest,
        };
        let mut powers = values(number);
        for row in 0..N {
            powers[row] = exp(powers[row] - largest[row]);
            sum[row] += powers[row];
        }
        let out = &mut out[number * of.step..][..(N - 1) * of.next + 1];
        for (row, power) in powers.into_iter().enumerate() {
            out[row * of.next] = power;
        }
    }
    let mut total = [0.0_f32; N];
    for sum in sums.iter().chain([&rest]) {
        for (total, &sum) in total.iter_mut().zip(sum) {
            *total += sum;
        }
    }
    for number in 0..of.length {
        let out = &mut out[number * of.step..][..(N - 1) * of.next + 1];
        for (row, &total) in total.iter().enumerate() {
            out[row * of.next] /= total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::rows::softmax_of_row;

    #[test]
    fn rows_side_by_side_are_as_rows_one_by_one() {
        for (length, count) in [(1, 2), (2, 40), (3, 17), (16, 33), (21, 16), (80, 50)] {
            let input: Vec<f32> = (0..length * count)
                .map(|at| (at * 7919 % 1009) as f32 / 50.0 - 10.0)
                .collect();
            let layouts = [
                Layout {
                    length,
                    step: count,
                    next: 1,
                },
                Layout {
                    length,
                    step: 1,
                    next: length,
                },
            ];
            for of in layouts {
                let mut expected = vec![0.0; input.len()];
                for row in 0..count {
                    let at = |number: usize| row * of.next + number * of.step;
                    let values: Vec<f32> = (0..length).map(|number| input[at(number)]).collect();
                    let mut result = vec![0.0; length];
                    softmax_of_row(&values, false, &mut result);
                    for (number, value) in result.into_iter().enumerate() {
                        expected[at(number)] = value;
                    }
                }
                for isa in Isa::available() {
                    let mut out = vec![f32::NAN; input.len()];
                    softmax_side_by_side(isa, of, count, &input, &mut out);
                    assert_eq!(out, expected, "{count} rows of {length}, {}", isa.name());
                }
            }
        }
    }
}
