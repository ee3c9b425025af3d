//! Rows of activations, and rows of what a matrix makes of them.

use std::{marker::PhantomData, ops::Range};

#[cfg(target_arch = "x86_64")]
use super::panel::QUAD;

/// Rows of activations, each made of segments of one length. So the windows of a convolution are rows
/// of an image that need not be gathered: a segment is what a window reads of a line of the image, and
/// the windows beside each other are a line of rows.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [u8],
    /// Values from the start of a row to that of the next one of its line.
    pub stride: usize,
    pub count: usize,
    /// Rows of a line; at least one.
    pub width: usize,
    /// Values from the start of the first row of a line to that of the next line.
    pub line: usize,
    /// Where the segments of a row begin, in values from its start.
    pub segments: &'a [usize],
}

impl<'a> Rows<'a> {
    /// Rows of a single line, each of one segment.
    pub fn in_line(values: &'a [u8], stride: usize, count: usize) -> Self {
        Self {
            values,
            stride,
            count,
            width: usize::MAX,
            line: 0,
            segments: &[0],
        }
    }

    /// Where a row begins.
    pub(super) fn start(&self, row: usize) -> usize {
        row / self.width * self.line + row % self.width * self.stride
    }

    /// Where rows begin, one after the other from `first` on.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn starts(&self, first: usize, starts: &mut [usize]) {
        let (mut line, mut column) = (first / self.width, first % self.width);
        let mut rest = starts;
        while !rest.is_empty() {
            let of_line = rest.len().min(self.width - column);
            let (starts, others) = rest.split_at_mut(of_line);
            let begin = line * self.line + column * self.stride;
            for (number, start) in starts.iter_mut().enumerate() {
                *start = begin + number * self.stride;
            }
            (line, column) = (line + 1, 0);
            rest = others;
        }
    }

    pub(super) fn segment(&self, row: usize, segment: usize, length: usize) -> &[u8] {
        &self.values[self.start(row) + segment..][..length]
    }

    /// Whether all segments of all rows hold `length` values.
    pub fn hold(&self, length: usize) -> bool {
        let Some(last) = self.count.checked_sub(1) else {
            return true;
        };
        let Some(last_line) = last.checked_div(self.width) else {
            return false;
        };
        // The last row of a whole line, and the last of all, which may lie before it.
        let longest = last.min(self.width - 1);
        let ends = [
            (last_line.saturating_sub(1), longest),
            (last_line, last % self.width),
        ];
        let segment = self.segments.iter().max().copied().unwrap_or(0);
        ends.iter().all(|&(line, column)| {
            let line = line.checked_mul(self.line);
            let column = column.checked_mul(self.stride);
            let start = line.zip(column).and_then(|(a, b)| a.checked_add(b));
            let end = start.and_then(|start| start.checked_add(segment)?.checked_add(length));
            end.is_some_and(|end| end <= self.values.len())
        })
    }

    /// `N` rows from `first` on. Beyond `count` of them it is the last once more.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn block<const N: usize>(&self, first: usize, count: usize) -> Block<'_, N> {
        Block {
            values: self.values,
            starts: std::array::from_fn(|row| self.start(first + row.min(count - 1))),
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

/// Rows of results, each `stride` after the one before. Of a row nothing is written but the values of the channels that
/// are computed: others can compute its other channels meanwhile.
pub struct Output<'a> {
    values: *mut u8,
    length: usize,
    stride: usize,
    memory: PhantomData<&'a mut [u8]>,
}

// SAFETY: it stands for a slice that is borrowed exclusively, which can be sent.
unsafe impl Send for Output<'_> {}

// SAFETY: through a shared reference nothing is read or written, but by what [`Output::again`] asks for.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    pub fn new(values: &'a mut [u8], stride: usize) -> Self {
        Self {
            values: values.as_mut_ptr(),
            length: values.len(),
            stride,
            memory: PhantomData,
        }
    }

    /// The same rows once more.
    ///
    /// # Safety
    /// While both are used, what is computed with one are other channels than what is computed with the other, and rows
    /// do not overlap.
    pub(super) unsafe fn again(&self) -> Output<'a> {
        Output { ..*self }
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Whether there is room for as many rows of `length` values.
    pub(super) fn holds(&self, rows: usize, length: usize) -> bool {
        let Some(last) = rows.checked_sub(1) else {
            return true;
        };
        let end = last.checked_mul(self.stride);
        let end = end.and_then(|start| start.checked_add(length));
        end.is_some_and(|end| end <= self.length)
    }

    /// The channels `channels` of a row.
    ///
    /// # Panics
    /// Where there is no room for them.
    pub(super) fn row(&mut self, row: usize, channels: Range<usize>) -> &mut [u8] {
        let first = self.rows(row, 1, channels.start, channels.len());
        // SAFETY: there is room for as many values, which nobody else uses: they belong to the slice that is borrowed, or
        // to the part of it that [`Self::again`] leaves to this one.
        unsafe { std::slice::from_raw_parts_mut(first, channels.len()) }
    }

    /// Where `width` channels from `channel` on begin of the first of `count` rows from `first` on.
    ///
    /// # Panics
    /// Where there is no room for them in all of these rows.
    pub(super) fn rows(
        &mut self,
        first: usize,
        count: usize,
        channel: usize,
        width: usize,
    ) -> *mut u8 {
        let rows = first.checked_add(count);
        let end = channel.checked_add(width).zip(rows);
        let is_there = end.is_some_and(|(end, rows)| self.holds(rows, end));
        assert!(is_there && count > 0, "room for all rows");
        // It lies before the end that was just looked at.
        self.values.wrapping_add(first * self.stride + channel)
    }
}
