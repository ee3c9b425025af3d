//! Rows of activations, and rows of what a matrix makes of them.

#[cfg(target_arch = "x86_64")]
use super::panel::QUAD;

/// Rows of activations, each made of segments of one length. So the windows of a convolution are rows
/// of an image that need not be gathered: a segment is what a window reads of a line.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [u8],
    /// Values from the start of a row to that of the next.
    pub stride: usize,
    pub count: usize,
    /// Where the segments of a row begin, in values from its start.
    pub segments: &'a [usize],
}

impl Rows<'_> {
    pub(super) fn segment(&self, row: usize, segment: usize, length: usize) -> &[u8] {
        &self.values[row * self.stride + segment..][..length]
    }

    /// Whether all segments of all rows hold `length` values.
    pub(super) fn hold(&self, length: usize) -> bool {
        match (self.count.checked_sub(1), self.segments.iter().max()) {
            (Some(last), Some(segment)) => {
                let start = last.checked_mul(self.stride);
                let end = start.and_then(|start| start.checked_add(*segment)?.checked_add(length));
                end.is_some_and(|end| end <= self.values.len())
            }
            _ => true,
        }
    }

    /// `N` rows from `first` on. Beyond `count` of them it is the last once more.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn block<const N: usize>(&self, first: usize, count: usize) -> Block<'_, N> {
        Block {
            values: &self.values[first * self.stride..],
            starts: std::array::from_fn(|row| row.min(count - 1) * self.stride),
        }
    }
}

/// Rows that are computed together.
#[cfg(target_arch = "x86_64")]
pub(super) struct Block<'a, const N: usize> {
    values: &'a [u8],
    starts: [usize; N],
}

#[cfg(target_arch = "x86_64")]
impl<const N: usize> Block<'_, N> {
    /// Four activations of a row.
    ///
    /// # Safety
    /// `segment` is one of the rows, and all of its quads up to `quad` are within the length that
    /// [`super::Matrix::multiply`] has checked.
    #[inline(always)]
    pub(super) unsafe fn quad(&self, row: usize, segment: usize, quad: usize) -> i32 {
        let at = self.starts[row] + segment + quad * QUAD;
        // SAFETY: the caller says that these four values are there.
        unsafe { self.values.as_ptr().add(at).cast::<i32>().read_unaligned() }
    }
}

/// Rows of results, each `stride` after the one before.
pub struct Output<'a> {
    pub values: &'a mut [u8],
    pub stride: usize,
}

impl Output<'_> {
    /// Whether there is room for as many rows of `length` values.
    pub(super) fn holds(&self, rows: usize, length: usize) -> bool {
        let Some(last) = rows.checked_sub(1) else {
            return true;
        };
        let end = last.checked_mul(self.stride);
        let end = end.and_then(|start| start.checked_add(length));
        end.is_some_and(|end| end <= self.values.len())
    }

    pub(super) fn row(&mut self, row: usize, length: usize) -> &mut [u8] {
        &mut self.values[row * self.stride..][..length]
    }
}
