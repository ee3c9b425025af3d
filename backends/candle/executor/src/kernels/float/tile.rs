//! The product of a few rows of weights and a panel of columns, which is kept in registers until it is whole.

use std::mem::MaybeUninit;

use super::lanes::{Lanes, Ymm, Zmm};

/// Rows of a block of weights at most, and vectors of a panel.
pub const MAX_ROWS: usize = 14;
pub const MAX_VECTORS: usize = 4;
/// Values of the largest result.
const LARGEST: usize = 14 * 2 * 16;

/// What is multiplied, and where the result goes.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    pub products: usize,
    /// `[product][row]`.
    pub weights: *const f32,
    /// Where the columns of the first product begin.
    pub columns: *const f32,
    pub steps: Steps<'a>,
    /// By row; the sum begins with it.
    pub bias: *const f32,
    pub out: *mut f32,
    /// From one row of the result to the next.
    pub stride: usize,
    /// Where the vectors of a row are written.
    pub places: &'a Places,
    /// What the results are clamped to, if they are.
    pub bounds: Option<(f32, f32)>,
}

/// How the columns of a product are found.
#[derive(Clone, Copy)]
pub enum Steps<'a> {
    /// As many values behind those of the product before.
    Even(usize),
    /// By product, how many values behind those of the first.
    Offsets(&'a [u32]),
}

/// Where the lanes of a vector are written in a row of the result: the first of them, and others behind a gap.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Place {
    pub start: usize,
    /// How many of the first lanes are written.
    pub count: usize,
    /// The lanes behind the gap, and where the first of them is written.
    pub rest: (usize, usize),
    pub rest_start: usize,
}

/// Where the vectors of a panel are written.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    vectors: [Place; MAX_VECTORS],
    /// How many there are.
    pub count: usize,
    /// Where the last value of a row ends.
    pub end: usize,
    /// Where all of them begin, if they are whole and lie one after the other.
    whole: Option<usize>,
}

impl Places {
    /// Of `count` vectors of as many lanes.
    pub fn new(vectors: [Place; MAX_VECTORS], count: usize, lanes: usize) -> Self {
        let end = |place: &Place| {
            let (from, to) = place.rest;
            (place.start + place.count).max(place.rest_start + to.saturating_sub(from))
        };
        let used = &vectors[..count];
        let start = vectors[0].start;
        let mut numbered = used.iter().enumerate();
        let is_whole =
            numbered.all(|(vector, of)| of.count == lanes && of.start == start + vector * lanes);
        Self {
            vectors,
            count,
            end: used.iter().map(end).max().unwrap_or(0),
            whole: is_whole.then_some(start),
        }
    }
}

pub type Kernel = unsafe fn(&Tile<'_>);

/// The kernel for as many rows and vectors, by the number of registers; `None` where they do not fit.
pub fn zmm(rows: usize, vectors: usize) -> Option<Kernel> {
    if rows == 0 || vectors == 0 {
        return None;
    }
    ZMM.get(vectors - 1)?.get(rows - 1).copied()
}

/// See [`zmm`].
pub fn ymm(rows: usize, vectors: usize) -> Option<Kernel> {
    if rows == 0 || vectors == 0 {
        return None;
    }
    YMM.get(vectors - 1)?.get(rows - 1).copied()
}

macro_rules! kernels {
    ($kernel:ident, $vectors:literal: $($rows:literal)*) => {
        &[$($kernel::<$rows, $vectors>),*]
    };
}

/// By vectors and rows. All sums, the vectors of a panel and one weight fit into 32 registers.
const ZMM: [&[Kernel]; MAX_VECTORS] = [
    kernels!(on_zmm, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    kernels!(on_zmm, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    kernels!(on_zmm, 3: 1 2 3 4 5 6 7 8 9),
    kernels!(on_zmm, 4: 1 2 3 4 5 6),
];

/// Likewise, for 16 registers.
const YMM: [&[Kernel]; MAX_VECTORS] = [
    kernels!(on_ymm, 1: 1 2 3 4 5 6 7 8 9 10 11 12),
    kernels!(on_ymm, 2: 1 2 3 4 5 6),
    kernels!(on_ymm, 3: 1 2 3 4),
    kernels!(on_ymm, 4: 1 2),
];

/// # Safety
/// As [`multiply`]; the processor has AVX-512.
#[target_feature(enable = "avx512f")]
unsafe fn on_zmm<const ROWS: usize, const VECTORS: usize>(tile: &Tile<'_>) {
    // SAFETY: as the caller says.
    unsafe { multiply::<Zmm, ROWS, VECTORS>(tile) }
}

/// # Safety
/// As [`multiply`]; the processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn on_ymm<const ROWS: usize, const VECTORS: usize>(tile: &Tile<'_>) {
    // SAFETY: as the caller says.
    unsafe { multiply::<Ymm, ROWS, VECTORS>(tile) }
}

/// # Safety
/// The weights hold `ROWS` values a product, `VECTORS` vectors can be read from the beginning of the columns of each
/// product, there are as many biases as rows, and each row of the result has room in its places, which nobody else uses
/// meanwhile.
#[allow(
    clippy::needless_range_loop,
    reason = "loops over numbers that the compiler knows keep the sums in registers"
)]
#[inline(always)]
unsafe fn multiply<V: Lanes, const ROWS: usize, const VECTORS: usize>(tile: &Tile<'_>) {
    // SAFETY: as the caller says.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        for row in 0..ROWS {
            sums[row] = [V::splat(*tile.bias.add(row)); VECTORS];
        }
        let mut weights = tile.weights;
        match tile.steps {
            Steps::Even(step) => {
                let mut columns = tile.columns;
                for _ in 0..tile.products {
                    add(&mut sums, weights, columns);
                    weights = weights.add(ROWS);
                    columns = columns.wrapping_add(step);
                }
            }
            Steps::Offsets(offsets) => {
                for &offset in offsets {
                    add(&mut sums, weights, tile.columns.add(offset as usize));
                    weights = weights.add(ROWS);
                }
            }
        }
        if let Some((low, high)) = tile.bounds {
            let (low, high) = (V::splat(low), V::splat(high));
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    sums[row][vector] = sums[row][vector].at_least(low).at_most(high);
                }
            }
        }
        // Either where they belong, or aside, and from there lane by lane.
        let mut aside = MaybeUninit::<[f32; LARGEST]>::uninit();
        let aside = aside.as_mut_ptr().cast::<f32>();
        let (out, stride) = match tile.places.whole {
            Some(start) => (tile.out.add(start), tile.stride),
            None => (aside, VECTORS * V::LANES),
        };
        for row in 0..ROWS {
            let out = out.add(row * stride);
            for vector in 0..VECTORS {
                sums[row][vector].store(out.add(vector * V::LANES));
            }
        }
        if tile.places.whole.is_none() {
            for vector in 0..VECTORS {
                let from = aside.add(vector * V::LANES);
                let place = &tile.places.vectors[vector];
                tile.place::<V>(place, from, ROWS, VECTORS * V::LANES);
            }
        }
    }
}

/// Adds a product of each row and each column.
///
/// # Safety
/// There are as many rows and vectors.
#[allow(
    clippy::needless_range_loop,
    reason = "loops over numbers that the compiler knows keep the sums in registers"
)]
#[inline(always)]
unsafe fn add<V: Lanes, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    weights: *const f32,
    from: *const f32,
) {
    // SAFETY: as the caller says.
    unsafe {
        let mut columns = [V::splat(0.0); VECTORS];
        for vector in 0..VECTORS {
            columns[vector] = V::load(from.add(vector * V::LANES));
        }
        for row in 0..ROWS {
            let weight = V::splat(*weights.add(row));
            for vector in 0..VECTORS {
                sums[row][vector] = columns[vector].times_plus(weight, sums[row][vector]);
            }
        }
    }
}

impl Tile<'_> {
    /// Writes a vector of each of `rows`, which lie `from` on and `stride` apart.
    ///
    /// # Safety
    /// They can be read, and the place lies within the rows of the result.
    #[inline(always)]
    unsafe fn place<V: Lanes>(&self, place: &Place, from: *const f32, rows: usize, stride: usize) {
        let (low, high) = place.rest;
        // SAFETY: as the caller says.
        unsafe {
            let first = V::mask(0, place.count as isize);
            let rest = V::mask(low as isize, high as isize);
            // Where the first lane would be, if it were written.
            let behind = self.out.wrapping_add(place.rest_start).wrapping_sub(low);
            for row in 0..rows {
                let values = V::load(from.add(row * stride));
                let to = self.out.wrapping_add(place.start + row * self.stride);
                values.store_masked(to, first);
                if low < high {
                    values.store_masked(behind.wrapping_add(row * self.stride), rest);
                }
            }
        }
    }
}
