//! Dense arrays in row-major order.

use firstpass_probe::{Error, Result};

/// No array of a model may hold more values: a damaged file must not exhaust memory.
const MAX_VALUES: usize = 1 << 28;

/// The values of a tensor, with its dimensions in the order of ONNX.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    pub dims: Vec<usize>,
    pub values: Vec<T>,
}

/// The number of values in an array.
///
/// # Errors
/// Fails above [`MAX_VALUES`].
pub fn volume(dims: &[usize]) -> Result<usize> {
    dims.iter()
        .try_fold(1_usize, |product, &dim| product.checked_mul(dim))
        .filter(|&values| values <= MAX_VALUES)
        .ok_or_else(|| Error::unsupported(format!("a tensor of shape {dims:?} is too large")))
}

impl<T: Copy> Array<T> {
    /// The same dimensions with another value in each place.
    pub fn map<U>(&self, value: impl FnMut(T) -> U) -> Array<U> {
        Array {
            dims: self.dims.clone(),
            values: self.values.iter().copied().map(value).collect(),
        }
    }

    /// The four dimensions of an image.
    ///
    /// # Errors
    /// Fails on any other number of dimensions.
    pub fn image_dims(&self) -> Result<[usize; 4]> {
        <[usize; 4]>::try_from(&self.dims[..])
            .map_err(|_| Error::input(format!("{:?} are no dimensions of images", self.dims)))
    }

    /// With its axes in another order: axis `n` of the result is axis `order[n]`.
    ///
    /// # Errors
    /// Fails where `order` names other axes than there are.
    pub fn transposed(&self, order: &[usize]) -> Result<Self> {
        let rank = self.dims.len();
        let mut named = order.to_vec();
        named.sort_unstable();
        if named.into_iter().ne(0..rank) {
            return Err(Error::input(format!(
                "{order:?} is no order of {rank} axes"
            )));
        }
        let dims: Vec<usize> = order.iter().map(|&axis| self.dims[axis]).collect();
        let strides = strides(&self.dims);
        let mut index = vec![0; rank];
        let mut values = Vec::with_capacity(self.values.len());
        for _ in 0..self.values.len() {
            let at = order.iter().zip(&index).map(|(&axis, i)| strides[axis] * i);
            values.push(self.values[at.sum::<usize>()]);
            for (axis, next) in index.iter_mut().enumerate().rev() {
                *next += 1;
                if *next < dims[axis] {
                    break;
                }
                *next = 0;
            }
        }
        Ok(Self { dims, values })
    }

    /// With every value repeated so many times along each axis.
    ///
    /// # Errors
    /// Fails where the result is too large.
    pub fn repeated(&self, times: &[usize]) -> Result<Self> {
        let lengths = self.dims.iter().zip(times);
        let dims: Vec<usize> = lengths.map(|(length, times)| length * times).collect();
        let of = strides(&dims);
        let from = strides(&self.dims);
        let value = |at: usize| {
            let axes = 0..dims.len();
            let place = axes.map(|axis| at / of[axis] % dims[axis] / times[axis] * from[axis]);
            self.values[place.sum::<usize>()]
        };
        let values = (0..volume(&dims)?).map(value).collect();
        Ok(Self { dims, values })
    }

    /// With other dimensions, as `Reshape` writes them: -1 is computed, 0 is copied unless
    /// `allow_zero`.
    ///
    /// # Errors
    /// Fails where the number of values would be another.
    pub fn reshaped(&self, wanted: &[i64], allow_zero: bool) -> Result<Self> {
        let misfit = || Error::input(format!("{:?} cannot be reshaped to {wanted:?}", self.dims));
        let mut dims = Vec::with_capacity(wanted.len());
        for (axis, &dim) in wanted.iter().enumerate() {
            dims.push(match dim {
                -1 => None,
                0 if !allow_zero => Some(*self.dims.get(axis).ok_or_else(misfit)?),
                dim => Some(usize::try_from(dim).map_err(|_| misfit())?),
            });
        }
        let known: usize = volume(&dims.iter().flatten().copied().collect::<Vec<_>>())?;
        let computed = self.values.len().checked_div(known);
        let unknown = dims.iter().filter(|dim| dim.is_none()).count();
        let dims: Option<Vec<usize>> = dims.into_iter().map(|dim| dim.or(computed)).collect();
        let dims = dims.filter(|_| unknown <= 1).ok_or_else(misfit)?;
        if volume(&dims)? != self.values.len() {
            return Err(misfit());
        }
        Ok(Self {
            dims,
            values: self.values.clone(),
        })
    }

    /// Several arrays one after the other along `axis`.
    ///
    /// # Errors
    /// Fails where another axis differs.
    pub fn concatenated(parts: &[&Self], axis: usize) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(Error::input("nothing is concatenated"));
        };
        let fits = |part: &&Self| {
            let mut dims = part.dims.clone();
            let length = first.dims.get(axis);
            match (dims.get_mut(axis), length) {
                (Some(dim), Some(&length)) => *dim = length,
                _ => return false,
            }
            dims == first.dims
        };
        if !parts.iter().all(fits) {
            let dims: Vec<_> = parts.iter().map(|part| &part.dims).collect();
            return Err(Error::input(format!(
                "{dims:?} cannot be concatenated along axis {axis}"
            )));
        }
        let outer: usize = first.dims[..axis].iter().product();
        let mut values = Vec::new();
        for at in 0..outer {
            for part in parts {
                let length = part.values.len() / outer;
                values.extend_from_slice(&part.values[at * length..][..length]);
            }
        }
        let mut dims = first.dims.clone();
        dims[axis] = parts.iter().map(|part| part.dims[axis]).sum();
        Ok(Self { dims, values })
    }
}

/// How many values lie between two along each axis.
fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dims: &[usize]) -> Array<usize> {
        Array {
            dims: dims.to_vec(),
            values: (0..dims.iter().product()).collect(),
        }
    }

    #[test]
    fn axes_change_places() -> Result<()> {
        let found = array(&[2, 3, 1]).transposed(&[2, 1, 0])?;
        assert_eq!(found.dims, [1, 3, 2]);
        assert_eq!(found.values, [0, 3, 1, 4, 2, 5]);
        assert!(array(&[2, 3]).transposed(&[0, 0]).is_err());
        assert!(array(&[2, 3]).transposed(&[0]).is_err());
        Ok(())
    }

    #[test]
    fn values_are_repeated() -> Result<()> {
        let found = array(&[1, 2, 2]).repeated(&[1, 2, 3])?;
        assert_eq!(found.dims, [1, 4, 6]);
        assert_eq!(found.values[..6], [0, 0, 0, 1, 1, 1]);
        assert_eq!(found.values[12..18], [2, 2, 2, 3, 3, 3]);
        Ok(())
    }

    #[test]
    fn shapes_are_computed_or_refused() -> Result<()> {
        assert_eq!(array(&[2, 6]).reshaped(&[0, -1, 2], false)?.dims, [2, 3, 2]);
        for wanted in [&[5, -1][..], &[-1, -1], &[13], &[2, 0, 3, 0], &[-2, 6]] {
            assert!(
                array(&[2, 6]).reshaped(wanted, false).is_err(),
                "{wanted:?}"
            );
        }
        assert!(array(&[2, 6]).reshaped(&[0, 12], true).is_err());
        Ok(())
    }

    #[test]
    fn parts_follow_each_other() -> Result<()> {
        let found = Array::concatenated(&[&array(&[2, 1]), &array(&[2, 2])], 1)?;
        assert_eq!(found.dims, [2, 3]);
        assert_eq!(found.values, [0, 0, 1, 1, 2, 3]);
        assert!(Array::concatenated(&[&array(&[2, 1]), &array(&[3, 1])], 1).is_err());
        assert!(Array::concatenated(&[&array(&[2])], 1).is_err());
        Ok(())
    }
}
