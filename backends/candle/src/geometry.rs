//! Where the window of a convolution reads.

use firstpass_probe::{Error, Result};

/// No tensor of a model that is run may hold more values: a damaged file must not exhaust memory.
const MAX_VALUES: usize = 1 << 28;

/// The number of values in a tensor of shape `dims`.
///
/// # Errors
/// Fails above [`MAX_VALUES`].
pub fn volume(dims: &[usize]) -> Result<usize> {
    dims.iter()
        .try_fold(1_usize, |product, &dim| product.checked_mul(dim))
        .filter(|&values| values <= MAX_VALUES)
        .ok_or_else(|| Error::unsupported(format!("a tensor of shape {dims:?} is too large")))
}

/// The window of a convolution along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Padding before the first value.
    pub before: usize,
    /// Padding after the last value.
    pub after: usize,
}

impl Span {
    /// Values from the first tap to the last.
    fn reach(&self) -> Option<usize> {
        self.kernel
            .checked_sub(1)?
            .checked_mul(self.dilation)?
            .checked_add(1)
    }

    /// The number of positions of the window over `size` values; `None` where it does not fit.
    pub fn positions(&self, size: usize) -> Option<usize> {
        let reach = self.reach()?;
        // A window wholly inside the padding is of no use; the limit keeps sizes sane as well.
        if self.before >= reach.max(2) || self.after >= reach.max(2) {
            return None;
        }
        let room = size
            .checked_add(self.before + self.after)?
            .checked_sub(reach)?;
        Some(room.checked_div(self.stride)? + 1)
    }

    /// The index that `tap` reads at `position`; `None` in the padding.
    #[inline]
    pub fn source(&self, position: usize, tap: usize, size: usize) -> Option<usize> {
        (position * self.stride + tap * self.dilation)
            .checked_sub(self.before)
            .filter(|&index| index < size)
    }

    /// The positions of `0..positions` at which `tap` reads one of `size` values.
    pub fn valid(&self, tap: usize, size: usize, positions: usize) -> std::ops::Range<usize> {
        let offset = tap * self.dilation;
        let start = self.before.saturating_sub(offset).div_ceil(self.stride);
        let end = (size + self.before)
            .saturating_sub(offset)
            .div_ceil(self.stride)
            .min(positions);
        start.min(end)..end
    }

    fn is_pointwise(&self) -> bool {
        (self.kernel, self.stride, self.before, self.after) == (1, 1, 0, 0)
    }
}

/// The window of a convolution over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub vertical: Span,
    pub horizontal: Span,
}

impl Window {
    /// Every output pixel reads the one input pixel at its own place.
    pub fn is_pointwise(&self) -> bool {
        self.vertical.is_pointwise() && self.horizontal.is_pointwise()
    }

    /// The span of both axes where they are equal and padded alike on both sides.
    pub fn symmetric(&self) -> Option<Span> {
        let span = self.vertical;
        (span == self.horizontal && span.before == span.after).then_some(span)
    }

    pub fn taps(&self) -> usize {
        self.vertical.kernel * self.horizontal.kernel
    }

    /// Height and width of the output for an input of `height` x `width`.
    ///
    /// # Errors
    /// Fails where the window does not fit.
    pub fn output(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        self.vertical
            .positions(height)
            .zip(self.horizontal.positions(width))
            .ok_or_else(|| {
                Error::unsupported(format!("{self:?} does not fit {height}x{width} pixels"))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_agree_with_single_taps() {
        for (kernel, stride, dilation, before, after, size) in [
            (3, 1, 1, 1, 1, 7),
            (3, 2, 1, 1, 0, 8),
            (5, 3, 2, 4, 3, 11),
            (1, 2, 1, 0, 0, 5),
            (2, 1, 3, 0, 3, 4),
        ] {
            let span = Span {
                kernel,
                stride,
                dilation,
                before,
                after,
            };
            let positions = span.positions(size).expect("fits");
            for tap in 0..kernel {
                let range = span.valid(tap, size, positions);
                for position in 0..positions {
                    assert_eq!(
                        range.contains(&position),
                        span.source(position, tap, size).is_some(),
                        "{span:?} size {size} tap {tap} position {position}"
                    );
                }
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let span = Span {
            kernel: 3,
            stride: 1,
            dilation: 1,
            before: 0,
            after: 0,
        };
        assert_eq!(span.positions(3), Some(1));
        assert_eq!(span.positions(2), None);
        assert_eq!(Span { stride: 0, ..span }.positions(9), None);
        assert_eq!(Span { kernel: 0, ..span }.positions(9), None);
        assert_eq!(
            Span {
                before: usize::MAX,
                ..span
            }
            .positions(9),
            None
        );
        assert_eq!(
            Span {
                dilation: usize::MAX,
                ..span
            }
            .positions(9),
            None
        );
        assert!(volume(&[usize::MAX, 2]).is_err());
        assert!(volume(&[1 << 20, 1 << 20]).is_err());
    }
}
