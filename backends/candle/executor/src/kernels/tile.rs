//! Columns of the input of a depthwise convolution, as the vector kernels rearrange them.

#[cfg(target_arch = "x86_64")]
use crate::geometry::Span;

/// Some columns of the input, beside each other.
#[cfg(target_arch = "x86_64")]
pub(super) struct Tile<'a> {
    pub(super) rows: &'a [Option<&'a [u8]>],
    pub(super) padding: &'a [u8],
    pub(super) channels: usize,
    /// The first column; negative in the padding.
    pub(super) first: isize,
    /// Number of columns.
    pub(super) width: usize,
    /// Columns of the whole input.
    pub(super) input_width: usize,
    pub(super) horizontal: Span,
}

#[cfg(target_arch = "x86_64")]
impl<'a> Tile<'a> {
    /// The columns that are no padding.
    pub(super) fn inside(&self) -> std::ops::Range<usize> {
        let at = |column: isize| (column - self.first).clamp(0, self.width.cast_signed());
        let start = at(0).cast_unsigned();
        start..at(self.input_width.cast_signed()).cast_unsigned()
    }

    /// What the columns that are no padding read of a row, from the first of them on, beginning with the
    /// channel `offset`.
    pub(super) fn source(&self, row: Option<&'a [u8]>, offset: usize) -> &'a [u8] {
        let column = self.first.max(0).cast_unsigned();
        let from = column * self.channels + offset;
        row.unwrap_or(self.padding).get(from..).unwrap_or_default()
    }
}

/// A column of a tile, rearranged.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Column(pub(super) [u8; 64]);

/// Room for the columns of a tile, to be used again.
pub struct Columns(Vec<Column>);

impl Columns {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn take(&mut self, count: usize) -> &mut [Column] {
        if self.0.len() < count {
            self.0.resize(count, Column([0; 64]));
        }
        &mut self.0[..count]
    }
}
