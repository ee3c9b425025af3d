//! Sums of products over windows, exact.

use std::thread;

use firstpass_probe::{Error, Result};

use crate::array::{Array, volume};

/// The window of a convolution along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub stride: usize,
    pub dilation: usize,
    /// Padding before the first value and after the last.
    pub padding: [usize; 2],
}

/// What a convolution adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub vertical: Span,
    pub horizontal: Span,
    pub groups: usize,
}

/// A number whose products are added up in another type.
pub trait Factor: Copy + Send + Sync {
    type Sum: Copy + Default + Send + std::ops::AddAssign;
    fn times(self, other: Self) -> Self::Sum;
}

/// Differences of two bytes: products fit into 17 bits.
impl Factor for i16 {
    type Sum = i32;
    fn times(self, other: Self) -> i32 {
        i32::from(self) * i32::from(other)
    }
}

/// Products of two f32 are exact.
impl Factor for f64 {
    type Sum = f64;
    fn times(self, other: Self) -> f64 {
        self * other
    }
}

/// The longest sum of products of two differences of bytes that cannot leave 32 bits.
pub const MAX_PRODUCTS: usize = i32::MAX as usize / (255 * 255);

impl Span {
    fn positions(&self, size: usize, kernel: usize) -> Option<usize> {
        let reach = kernel.checked_sub(1)?.checked_mul(self.dilation)?;
        let padded = size
            .checked_add(self.padding[0])?
            .checked_add(self.padding[1])?;
        let room = padded.checked_sub(reach)?.checked_sub(1)?;
        Some(room.checked_div(self.stride)? + 1)
    }

    /// What `tap` reads at `position`; `None` in the padding.
    fn source(&self, position: usize, tap: usize, size: usize) -> Option<usize> {
        let padded = position * self.stride + tap * self.dilation;
        padded.checked_sub(self.padding[0]).filter(|&at| at < size)
    }
}

impl Window {
    /// The dimensions of the output.
    ///
    /// # Errors
    /// Fails where window, input and weights do not fit.
    pub fn output(&self, input: [usize; 4], weights: [usize; 4]) -> Result<[usize; 4]> {
        let [number, in_channels, in_height, in_width] = input;
        let [channels, group_inputs, rows, columns] = weights;
        let height = self.vertical.positions(in_height, rows);
        let width = self.horizontal.positions(in_width, columns);
        let fits =
            in_channels == group_inputs * self.groups && channels.is_multiple_of(self.groups);
        match (height, width) {
            (Some(height), Some(width)) if fits => {
                let dims = [number, channels, height, width];
                volume(&dims)?;
                Ok(dims)
            }
            _ => Err(Error::input(format!(
                "weights {weights:?} in {self:?} do not fit an input {input:?}"
            ))),
        }
    }

    /// The sum of products at every output. Padding counts as zero.
    ///
    /// # Errors
    /// Fails where the dimensions do not fit.
    pub fn sums<T: Factor>(
        &self,
        input: &Array<T>,
        weights: &Array<T>,
        threads: usize,
    ) -> Result<Array<T::Sum>> {
        let of_plane = |plane: Plane<'_, T>, out: &mut [T::Sum]| self.plane_sums(&plane, out);
        self.planes(input, weights, threads, of_plane)
    }

    /// Every plane of the output by itself, on several threads.
    fn planes<T: Factor, S: Copy + Default + Send>(
        &self,
        input: &Array<T>,
        weights: &Array<T>,
        threads: usize,
        of_plane: impl Fn(Plane<'_, T>, &mut [S]) + Sync,
    ) -> Result<Array<S>> {
        let (in_dims, weight_dims) = (input.image_dims()?, weights.image_dims()?);
        let dims = self.output(in_dims, weight_dims)?;
        let [_, in_channels, in_height, in_width] = in_dims;
        let [channels, group_inputs, rows, columns] = weight_dims;
        let [_, _, height, width] = dims;
        let mut out = vec![S::default(); dims.iter().product()];
        let in_plane = in_height * in_width;
        let plane = |number: usize| {
            let (image, channel) = (number / channels, number % channels);
            let group = channel / (channels / self.groups);
            let first = image * in_channels + group * group_inputs;
            let taps = group_inputs * rows * columns;
            Plane {
                input: &input.values[first * in_plane..][..group_inputs * in_plane],
                size: [in_height, in_width],
                weights: &weights.values[channel * taps..][..taps],
                kernel: [rows, columns],
                width,
            }
        };
        let length = height * width;
        let share = (out.len() / length.max(1)).div_ceil(threads.max(1)).max(1);
        thread::scope(|scope| {
            for (part, out) in out.chunks_mut(share * length.max(1)).enumerate() {
                let (plane, of_plane) = (&plane, &of_plane);
                let mut work = move || {
                    for (number, out) in out.chunks_mut(length).enumerate() {
                        of_plane(plane(part * share + number), out);
                    }
                };
                if threads > 1 {
                    scope.spawn(work);
                } else {
                    work();
                }
            }
        });
        Ok(Array {
            dims: dims.to_vec(),
            values: out,
        })
    }

    fn plane_sums<T: Factor>(&self, plane: &Plane<'_, T>, out: &mut [T::Sum]) {
        let [in_height, in_width] = plane.size;
        let [rows, columns] = plane.kernel;
        let inputs = plane.input.chunks_exact(in_height * in_width);
        for (input, weights) in inputs.zip(plane.weights.chunks_exact(rows * columns)) {
            for (tap, &weight) in weights.iter().enumerate() {
                let (tap_row, tap_column) = (tap / columns, tap % columns);
                for (row, out) in out.chunks_exact_mut(plane.width).enumerate() {
                    let Some(in_row) = self.vertical.source(row, tap_row, in_height) else {
                        continue;
                    };
                    let input = &input[in_row * in_width..][..in_width];
                    self.row_sums(input, tap_column, weight, out);
                }
            }
        }
    }

    fn row_sums<T: Factor>(&self, input: &[T], tap: usize, weight: T, out: &mut [T::Sum]) {
        let span = &self.horizontal;
        let reads = |column: &usize| span.source(*column, tap, input.len()).is_some();
        let Some(first) = (0..out.len()).find(reads) else {
            return;
        };
        let Some(start) = span.source(first, tap, input.len()) else {
            return;
        };
        let values = input[start..].iter().step_by(span.stride);
        if span.stride == 1 {
            // The same, in a form of which the compiler makes vector code.
            for (out, value) in out[first..].iter_mut().zip(&input[start..]) {
                *out += value.times(weight);
            }
        } else {
            for (out, value) in out[first..].iter_mut().zip(values) {
                *out += value.times(weight);
            }
        }
    }

    /// Sums in which two products after each other are added with saturation to 16 bits, and the pairs
    /// exactly; products are in the order of the taps, and of the channels within a tap. `input` is not yet reduced by its zero point, with which padding is
    /// filled; the sums are.
    ///
    /// # Errors
    /// Fails where the dimensions do not fit.
    pub fn sums_of_saturating_pairs(
        &self,
        input: &Array<i16>,
        zero: i16,
        weights: &Array<i16>,
        threads: usize,
    ) -> Result<Array<i32>> {
        let of_plane = |plane: Plane<'_, i16>, out: &mut [i32]| {
            let [rows, columns] = plane.kernel;
            let (products, taps) = (plane.weights.len(), rows * columns);
            let channels = products / taps;
            let all: i32 = plane.weights.iter().map(|&weight| i32::from(weight)).sum();
            out.fill(-i32::from(zero) * all);
            let mut first = vec![0; out.len()];
            let mut second = vec![0; out.len()];
            // The factors of a product for all outputs: their values, and the weight.
            let factors = |number: usize, values: &mut [i16]| {
                let (tap, channel) = (number / channels, number % channels);
                self.values_of_tap(&plane, channel, tap, zero, values);
                i32::from(plane.weights[channel * taps + tap])
            };
            for number in (0..products).step_by(2) {
                let weight = factors(number, &mut first);
                let other = if number + 1 < products {
                    factors(number + 1, &mut second)
                } else {
                    0
                };
                for ((out, &a), &b) in out.iter_mut().zip(&first).zip(&second) {
                    let pair = i32::from(a) * weight + i32::from(b) * other;
                    *out += pair.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
                }
            }
        };
        self.planes(input, weights, threads, of_plane)
    }
}

impl Window {
    /// What a tap on a channel of the group reads for every place of a plane of the output; `zero` in
    /// the padding.
    fn values_of_tap(
        &self,
        plane: &Plane<'_, i16>,
        channel: usize,
        tap: usize,
        zero: i16,
        values: &mut [i16],
    ) {
        let [in_height, in_width] = plane.size;
        let [_, columns] = plane.kernel;
        let input = &plane.input[channel * in_height * in_width..][..in_height * in_width];
        let (tap_row, tap_column) = (tap / columns, tap % columns);
        let across = &self.horizontal;
        let is_copied = across.stride == 1 && across.padding == [0, 0];
        for (row, values) in values.chunks_exact_mut(plane.width).enumerate() {
            let Some(in_row) = self.vertical.source(row, tap_row, in_height) else {
                values.fill(zero);
                continue;
            };
            let input = &input[in_row * in_width..][..in_width];
            if is_copied {
                values.copy_from_slice(&input[tap_column * across.dilation..][..plane.width]);
                continue;
            }
            for (column, value) in values.iter_mut().enumerate() {
                let place = across.source(column, tap_column, in_width);
                *value = place.map_or(zero, |place| input[place]);
            }
        }
    }
}

/// What one plane of an output is computed from.
struct Plane<'a, T> {
    /// The planes of the group.
    input: &'a [T],
    /// Height and width of such a plane.
    size: [usize; 2],
    /// `[plane][row][column]`
    weights: &'a [T],
    kernel: [usize; 2],
    /// Of the output.
    width: usize,
}

#[cfg(test)]
mod tests;
