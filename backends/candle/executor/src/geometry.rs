//! Where the window of a convolution or a pooling reads.

use firstpass_onnx::{Error, Result};

/// No tensor of a model that is run may hold more values: a damaged file must not exhaust memory.
/// A fuzzer, which tries thousands of files a second, is content with less.
const MAX_VALUES: usize = if cfg!(fuzzing) { 1 << 16 } else { 1 << 28 };
/// Nor any that is computed from constants when the model is loaded or prepared.
const MAX_FOLDED: usize = if cfg!(fuzzing) { 1 << 16 } else { 1 << 24 };
/// No side of an image may be padded with more values, which keeps sizes sane as well.
const MAX_PADDING: usize = 1 << 12;

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

/// Fails on a shape that is too large for a tensor that is computed from constants.
///
/// # Errors
/// Fails above [`MAX_FOLDED`].
pub fn check_folded(dims: &[usize]) -> Result<()> {
    if volume(dims)? <= MAX_FOLDED {
        Ok(())
    } else {
        Err(Error::unsupported(format!(
            "a constant of shape {dims:?} is too large"
        )))
    }
}

/// An axis counted from the start; negative ones count from the end.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let rank_i64 = i64::try_from(rank).unwrap_or(i64::MAX);
    let from_start = if axis < 0 {
        axis.checked_add(rank_i64)
    } else {
        Some(axis)
    };
    from_start
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|&axis| axis < rank)
        .ok_or_else(|| Error::engine(format!("a tensor of rank {rank} has no axis {axis}")))
}

/// The window along one axis.
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
    /// One value at a time.
    pub const POINT: Self = Self {
        kernel: 1,
        stride: 1,
        dilation: 1,
        before: 0,
        after: 0,
    };

    /// Values from the first tap to the last.
    pub fn reach(&self) -> Option<usize> {
        self.kernel
            .checked_sub(1)?
            .checked_mul(self.dilation)?
            .checked_add(1)
    }

    /// The number of positions of the window over `size` values; `None` where it does not fit.
    pub fn positions(&self, size: usize) -> Option<usize> {
        Some(self.room(size)?.checked_div(self.stride)? + 1)
    }

    /// The same where a last window may reach beyond the padding, if it begins before it.
    pub fn positions_rounded_up(&self, size: usize) -> Option<usize> {
        let positions = self
            .room(size)?
            .checked_next_multiple_of(self.stride)?
            .checked_div(self.stride)?
            + 1;
        let last_begins_inside = (positions - 1) * self.stride < size + self.before;
        Some(positions - usize::from(!last_begins_inside))
    }

    /// By how much the window can be moved.
    fn room(&self, size: usize) -> Option<usize> {
        if self.before > MAX_PADDING || self.after > MAX_PADDING {
            return None;
        }
        size.checked_add(self.before + self.after)?
            .checked_sub(self.reach()?)
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

    /// Padding on both sides together with which there are as many positions as strides in `size`.
    fn same(&self, size: usize) -> Option<usize> {
        let last = size.div_ceil(self.stride).checked_sub(1)? * self.stride;
        Some(last.checked_add(self.reach()?)?.saturating_sub(size))
    }

    pub fn is_pointwise(&self) -> bool {
        (self.kernel, self.stride, self.before, self.after) == (1, 1, 0, 0)
    }
}

/// The window over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub vertical: Span,
    pub horizontal: Span,
}

impl Window {
    /// That of spans along one axis or two.
    pub fn of(spans: &[Span]) -> Option<Self> {
        let (vertical, horizontal) = match *spans {
            [span] => (Span::POINT, span),
            [vertical, horizontal] => (vertical, horizontal),
            _ => return None,
        };
        Some(Self {
            vertical,
            horizontal,
        })
    }

    /// Every output pixel reads the one input pixel at its own place.
    pub fn is_pointwise(&self) -> bool {
        self.vertical.is_pointwise() && self.horizontal.is_pointwise()
    }

    pub fn taps(&self) -> usize {
        self.vertical.kernel * self.horizontal.kernel
    }
}

/// How a tensor is padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Padding {
    /// Before the first value, for all axes, then behind the last; nowhere, where the list is empty.
    Explicit(Vec<usize>),
    /// So that there is a position for every stride that begins inside, where an odd value is added at
    /// the end.
    SameUpper,
    /// Likewise, at the beginning.
    SameLower,
}

/// What a node says of its window but for the size of the kernel, which a convolution has from its
/// weights. Lists are by axis; an empty one is 1 everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub padding: Padding,
}

impl Geometry {
    /// Everywhere and without padding.
    pub const POINTWISE: Self = Self {
        strides: Vec::new(),
        dilations: Vec::new(),
        padding: Padding::Explicit(Vec::new()),
    };

    /// The window of `kernel` along every axis, over values of `size`.
    ///
    /// # Errors
    /// Fails where lists are of other axes, and where the padding cannot be computed.
    pub fn spans(&self, kernel: &[usize], size: &[usize]) -> Result<Vec<Span>> {
        let axes = kernel.len();
        let pads = match &self.padding {
            Padding::Explicit(pads) => &pads[..],
            _ => &[],
        };
        let fits = |list: &[usize], length: usize| list.is_empty() || list.len() == length;
        if size.len() != axes
            || !fits(&self.strides, axes)
            || !fits(&self.dilations, axes)
            || !fits(pads, 2 * axes)
        {
            return Err(Error::engine(format!(
                "a window {kernel:?} over {size:?} with strides {:?}, dilations {:?} and pads {pads:?}: \
                 they are of different numbers of axes",
                self.strides, self.dilations
            )));
        }
        let at = |list: &[usize], axis: usize, default| list.get(axis).copied().unwrap_or(default);
        let span = |axis: usize| {
            let span = Span {
                kernel: kernel[axis],
                stride: at(&self.strides, axis, 1),
                dilation: at(&self.dilations, axis, 1),
                before: 0,
                after: 0,
            };
            let (before, after) = match self.padding {
                Padding::Explicit(_) => (at(pads, axis, 0), at(pads, axis + axes, 0)),
                Padding::SameUpper => {
                    let total = span.same(size[axis])?;
                    (total / 2, total.div_ceil(2))
                }
                Padding::SameLower => {
                    let total = span.same(size[axis])?;
                    (total.div_ceil(2), total / 2)
                }
            };
            Some(Span {
                before,
                after,
                ..span
            })
        };
        (0..axes).map(span).collect::<Option<_>>().ok_or_else(|| {
            Error::unsupported(format!("{self:?} of {kernel:?} does not fit {size:?}"))
        })
    }

    /// The window over an image, or over a line, which is an image of one row.
    ///
    /// # Errors
    /// As [`Self::spans`], and where the window has other axes.
    pub fn window(&self, kernel: &[usize], size: &[usize]) -> Result<Window> {
        let spans = self.spans(kernel, size)?;
        Window::of(&spans).ok_or_else(|| {
            Error::unsupported(format!(
                "a window {kernel:?} is not one over a line or an image"
            ))
        })
    }
}

/// A tensor over a line (number, channels, length) as one of images of one row; other shapes as they are.
pub fn as_image(dims: &[usize]) -> Vec<usize> {
    match *dims {
        [number, channels, length] => vec![number, channels, 1, length],
        _ => dims.to_vec(),
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
            (2, 1, 1, 5, 7, 3),
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
    fn padding_is_computed_from_the_size() -> Result<()> {
        let same = |padding: Padding| Geometry {
            strides: vec![2, 3],
            dilations: vec![1, 2],
            padding,
        };
        // 9 rows in steps of 2 are 5 positions, the last of which ends at 8 + 3; of 7 columns the
        // windows of 5 values begin at 0, 3 and 6.
        for (padding, expected) in [
            (Padding::SameUpper, [(1, 1), (2, 2)]),
            (Padding::SameLower, [(1, 1), (2, 2)]),
        ] {
            let window = same(padding).window(&[3, 3], &[9, 7])?;
            let spans = [window.vertical, window.horizontal];
            assert_eq!(spans.map(|span| (span.before, span.after)), expected);
            assert_eq!(window.vertical.positions(9), Some(5));
            assert_eq!(window.horizontal.positions(7), Some(3));
        }
        // An odd number is unequally divided.
        let sides = |padding| -> Result<_> {
            let window = same(padding).window(&[2, 1], &[9, 7])?;
            Ok((window.vertical.before, window.vertical.after))
        };
        assert_eq!(sides(Padding::SameUpper)?, (0, 1));
        assert_eq!(sides(Padding::SameLower)?, (1, 0));
        Ok(())
    }

    #[test]
    fn a_last_window_may_reach_beyond_the_end_but_not_begin_there() {
        let span = Span {
            kernel: 2,
            stride: 2,
            dilation: 1,
            before: 0,
            after: 0,
        };
        assert_eq!(span.positions(5), Some(2));
        assert_eq!(span.positions_rounded_up(5), Some(3));
        assert_eq!(span.positions_rounded_up(4), Some(2));
        // The third window would begin in the padding.
        let padded = Span {
            kernel: 1,
            stride: 3,
            after: 1,
            ..span
        };
        assert_eq!(padded.positions_rounded_up(3), Some(1));
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
