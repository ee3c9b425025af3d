//! How operands of different shapes are walked through together.

use candle_core::{Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{Written, read, write},
    parallel::{CHUNK, for_each_part},
};
use crate::kernels::Isa;

/// The shape that both shapes are broadcast to.
pub fn broadcast(left: &[usize], right: &[usize]) -> Result<Vec<usize>> {
    let rank = left.len().max(right.len());
    let at = |dims: &[usize], axis: usize| match (axis + dims.len()).checked_sub(rank) {
        Some(axis) => dims[axis],
        None => 1,
    };
    (0..rank)
        .map(|axis| match (at(left, axis), at(right, axis)) {
            (left, right) if left == right => Ok(left),
            (1, length) | (length, 1) => Ok(length),
            _ => Err(Error::engine(format!(
                "shapes {left:?} and {right:?} do not go together"
            ))),
        })
        .collect()
}

/// How two contiguous operands are walked through for every value of the output: axes with their
/// length and the strides of both, neighbours that are walked through alike being one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strides(Vec<(usize, [usize; 2])>);

impl Strides {
    pub fn of(left: &[usize], right: &[usize], out: &[usize]) -> Self {
        let mut steps = [1, 1];
        let mut axes: Vec<(usize, [usize; 2])> = Vec::new();
        for (from_last, &length) in out.iter().rev().enumerate() {
            let mut strides = [0, 0];
            for (operand, dims) in [left, right].into_iter().enumerate() {
                let own = dims.iter().rev().nth(from_last).copied().unwrap_or(1);
                if own != 1 {
                    strides[operand] = steps[operand];
                    steps[operand] *= own;
                }
            }
            if length == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((inner, of_inner))
                    if (0..2).all(|side| strides[side] == of_inner[side] * *inner) =>
                {
                    *inner *= length;
                }
                _ => axes.push((length, strides)),
            }
        }
        if axes.is_empty() {
            axes.push((1, [0, 0]));
        }
        Self(axes)
    }

    /// Where both operands are read for the output at `index`.
    pub fn offsets(&self, mut index: usize) -> [usize; 2] {
        let mut offsets = [0, 0];
        for &(length, strides) in &self.0 {
            let at = index % length;
            index /= length;
            for side in 0..2 {
                offsets[side] += at * strides[side];
            }
        }
        offsets
    }
}

/// `function` of every pair of values.
pub fn zip<T: Written, U: Written>(
    isa: Isa,
    strides: &Strides,
    left: &Tensor,
    right: &Tensor,
    out: &Tensor,
    function: impl Fn(T, T) -> U + Sync,
) -> CandleResult<()> {
    read(left, |left: &[T]| {
        read(right, |right: &[T]| {
            write(out, |out: &mut [U]| {
                for_each_part(out, CHUNK, |number, out| {
                    let runs = Runs::new(strides, number * CHUNK);
                    isa.run(|| zip_runs(runs, left, right, out, &function));
                });
                Ok(())
            })
        })
    })
}

#[inline(always)]
fn zip_runs<T: Copy, U: Copy>(
    mut runs: Runs<'_>,
    left: &[T],
    right: &[T],
    mut out: &mut [U],
    function: impl Fn(T, T) -> U,
) {
    let [left_step, right_step] = runs.steps();
    while !out.is_empty() {
        let (length, [l, r]) = runs.next(out.len());
        let (now, later) = out.split_at_mut(length);
        match (left_step, right_step) {
            (1, 1) => {
                let pairs = left[l..][..length].iter().zip(&right[r..][..length]);
                for (out, (&left, &right)) in now.iter_mut().zip(pairs) {
                    *out = function(left, right);
                }
            }
            (1, 0) => {
                let right = right[r];
                for (out, &left) in now.iter_mut().zip(&left[l..][..length]) {
                    *out = function(left, right);
                }
            }
            (0, 1) => {
                let left = left[l];
                for (out, &right) in now.iter_mut().zip(&right[r..][..length]) {
                    *out = function(left, right);
                }
            }
            // The last axis of a contiguous operand has step 1, or 0 where it is broadcast.
            _ => now.fill(function(left[l], right[r])),
        }
        out = later;
    }
}

/// Runs of values of the output along the first of the axes of [`Strides`], one after the other: the next
/// begins without a division.
struct Runs<'a> {
    axes: &'a [(usize, [usize; 2])],
    /// Along each axis, where the next value is.
    places: Vec<usize>,
    offsets: [usize; 2],
}

impl<'a> Runs<'a> {
    /// From the value at `index` on.
    fn new(strides: &'a Strides, mut index: usize) -> Self {
        let offsets = strides.offsets(index);
        let places = strides.0.iter().map(|&(length, _)| {
            let place = index % length;
            index /= length;
            place
        });
        Self {
            places: places.collect(),
            axes: &strides.0,
            offsets,
        }
    }

    /// By how much the operands move from value to value.
    fn steps(&self) -> [usize; 2] {
        self.axes.first().map_or([0, 0], |&(_, steps)| steps)
    }

    /// The length of the next run, at most `most`, and where it begins in both operands.
    #[inline(always)]
    fn next(&mut self, most: usize) -> (usize, [usize; 2]) {
        let begin = self.offsets;
        let mut moved = (self.axes[0].0 - self.places[0]).min(most);
        let length = moved;
        for (place, &(length, strides)) in self.places.iter_mut().zip(self.axes) {
            *place += moved;
            for (offset, stride) in self.offsets.iter_mut().zip(strides) {
                *offset += moved * stride;
            }
            if *place < length {
                break;
            }
            *place = 0;
            for (offset, stride) in self.offsets.iter_mut().zip(strides) {
                *offset -= length * stride;
            }
            moved = 1;
        }
        (length, begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_axes_are_one_where_they_are_walked_through_alike() {
        let of = |left: &[usize], right: &[usize]| -> Vec<(usize, [usize; 2])> {
            let out = broadcast(left, right).expect("they go together");
            Strides::of(left, right, &out).0
        };
        assert_eq!(of(&[2, 3, 4], &[2, 3, 4]), [(24, [1, 1])]);
        assert_eq!(of(&[2, 3, 4], &[]), [(24, [1, 0])]);
        assert_eq!(
            of(&[2, 3, 4, 5], &[3, 1, 1]),
            [(20, [1, 0]), (3, [20, 1]), (2, [60, 0])]
        );
        assert_eq!(of(&[1, 3], &[2, 1]), [(3, [1, 0]), (2, [0, 1])]);
        assert_eq!(of(&[], &[1]), [(1, [0, 0])]);
        assert!(broadcast(&[2, 3], &[2]).is_err());
    }

    #[test]
    fn runs_begin_where_their_index_says() {
        for (left, right) in [
            (&[2, 3, 4, 5][..], &[3, 1, 1][..]),
            (&[2, 3, 4], &[2, 3, 4]),
            (&[1, 3], &[2, 1]),
            (&[5, 1, 2], &[1, 7, 1]),
            (&[], &[1]),
        ] {
            let out = broadcast(left, right).expect("they go together");
            let (strides, count) = (Strides::of(left, right, &out), out.iter().product());
            for start in 0..count {
                let (mut runs, mut index) = (Runs::new(&strides, start), start);
                while index < count {
                    let (length, begin) = runs.next(7.min(count - index));
                    assert_eq!(begin, strides.offsets(index), "{left:?} {right:?} {index}");
                    index += length;
                }
            }
        }
    }
}
