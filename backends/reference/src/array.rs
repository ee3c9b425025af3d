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

    /// The values at these places, in their shape.
    ///
    /// # Errors
    /// Fails where there is no such place.
    pub fn gathered(&self, places: &Array<usize>) -> Result<Self> {
        let values = places.values.iter().map(|&at| self.values.get(at).copied());
        let values: Option<Vec<T>> = values.collect();
        Ok(Self {
            dims: places.dims.clone(),
            values: values.ok_or_else(|| Error::engine("it reads beyond the end of a tensor"))?,
        })
    }

    /// As a tensor of a larger shape sees it, repeated along axes of length 1 and along those that it lacks
    /// in front.
    ///
    /// # Errors
    /// Fails where the shapes do not fit.
    pub fn broadcast(&self, dims: &[usize]) -> Result<Self> {
        if self.dims == dims {
            return Ok(self.clone());
        }
        let missing = dims.len().checked_sub(self.dims.len());
        let fits = missing.is_some_and(|missing| {
            let pairs = self.dims.iter().zip(&dims[missing..]);
            pairs.into_iter().all(|(&own, &dim)| own == dim || own == 1)
        });
        let (Some(missing), true) = (missing, fits) else {
            return Err(Error::engine(format!(
                "{:?} is not broadcast to {dims:?}",
                self.dims
            )));
        };
        let own = strides(&self.dims);
        let places = Places::new(dims)?;
        let values = places.map(|index| {
            let along = index[missing..].iter().zip(&self.dims).zip(&own);
            let at = along.map(|((&i, &dim), stride)| if dim == 1 { 0 } else { i * stride });
            self.values[at.sum::<usize>()]
        });
        Ok(Self {
            dims: dims.to_vec(),
            values,
        })
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
        let values = Places::new(&dims)?.map(|index| {
            let at = order.iter().zip(index).map(|(&axis, i)| strides[axis] * i);
            self.values[at.sum::<usize>()]
        });
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
                // There is no turn without an outer place.
                let length = part.values.len() / outer;
                values.extend_from_slice(&part.values[at * length..][..length]);
            }
        }
        let mut dims = first.dims.clone();
        dims[axis] = parts.iter().map(|part| part.dims[axis]).sum();
        Ok(Self { dims, values })
    }
}

/// The numbers of all places of a shape.
///
/// # Errors
/// Fails where it is too large.
pub fn iota(dims: &[usize]) -> Result<Array<usize>> {
    Ok(Array {
        dims: dims.to_vec(),
        values: (0..volume(dims)?).collect(),
    })
}

/// The shape that two are broadcast to.
///
/// # Errors
/// Fails where they do not fit.
pub fn broadcast_dims(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |dims: &[usize], axis: usize| {
        let at = (axis + dims.len()).checked_sub(rank);
        at.map_or(1, |at| dims[at])
    };
    let dims = (0..rank).map(|axis| match (dim(a, axis), dim(b, axis)) {
        (a, b) if a == b => Some(a),
        (1, other) | (other, 1) => Some(other),
        _ => None,
    });
    dims.collect::<Option<_>>()
        .ok_or_else(|| Error::engine(format!("{a:?} and {b:?} are not broadcast to each other")))
}

/// All places of a shape as an index along each axis, in row-major order.
pub struct Places<'a> {
    dims: &'a [usize],
    count: usize,
}

impl<'a> Places<'a> {
    /// # Errors
    /// Fails where there are too many.
    pub fn new(dims: &'a [usize]) -> Result<Self> {
        let count = volume(dims)?;
        Ok(Self { dims, count })
    }

    /// What is computed at each.
    pub fn map<T>(&self, mut value: impl FnMut(&[usize]) -> T) -> Vec<T> {
        let mut index = vec![0; self.dims.len()];
        let mut values = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            values.push(value(&index));
            for (axis, next) in index.iter_mut().enumerate().rev() {
                *next += 1;
                if *next < self.dims[axis] {
                    break;
                }
                *next = 0;
            }
        }
        values
    }
}

/// How many values lie between two along each axis.
pub fn strides(dims: &[usize]) -> Vec<usize> {
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
    fn values_are_broadcast_along_axes_of_one_and_missing_ones() -> Result<()> {
        let found = array(&[2, 1]).broadcast(&[2, 2, 3])?;
        assert_eq!(found.dims, [2, 2, 3]);
        assert_eq!(found.values[..6], [0, 0, 0, 1, 1, 1]);
        assert_eq!(found.values[..6], found.values[6..]);
        assert!(array(&[2]).broadcast(&[3]).is_err());
        assert!(array(&[2, 1]).broadcast(&[2]).is_err());
        assert_eq!(broadcast_dims(&[3, 1], &[2, 1, 4])?, [2, 3, 4]);
        assert!(broadcast_dims(&[2], &[3]).is_err());
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
