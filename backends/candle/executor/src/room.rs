//! Memory of kernels.

use bytemuck::{Pod, Zeroable};

/// What a core fetches at once, and as long as the longest vector: vectors that lie in two lines take
/// twice as long.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct CacheLine([u8; LINE]);

pub const LINE: usize = 64;

/// Memory that is kept, from the beginning of a cache line on.
#[derive(Default)]
pub struct Room(Vec<CacheLine>);

impl Room {
    pub const EMPTY: Self = Self(Vec::new());

    /// The first `length` floats, with what was written there.
    pub fn floats(&mut self, length: usize) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(self.at_least(length * size_of::<f32>()))[..length]
    }

    /// The first `length` bytes or more, with what was written there.
    pub fn at_least(&mut self, length: usize) -> &mut [u8] {
        let lines = length.div_ceil(LINE);
        if self.0.len() < lines {
            self.0.resize(lines, CacheLine::zeroed());
        }
        bytemuck::cast_slice_mut(&mut self.0)
    }
}
