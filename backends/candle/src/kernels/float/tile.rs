//! The product of a few rows of weights and a panel of columns, which is kept in registers until it is whole.

use super::lanes::{Lanes, Ymm, Zmm};

/// Rows of a block of weights at most, and vectors of a panel.
pub const MAX_ROWS: usize = 14;
pub const MAX_VECTORS: usize = 4;

/// What is multiplied, and where the result goes.
#[derive(Clone, Copy)]
pub struct Tile {
    pub products: usize,
    /// `[product][row]`.
    pub weights: *const f32,
    /// `[product][column]`.
    pub panel: *const f32,
    /// From one product of the panel to the next.
    pub width: usize,
    /// By row; the sum begins with it.
    pub bias: *const f32,
    pub out: *mut f32,
    /// From one row of the result to the next.
    pub stride: usize,
    /// Columns that are written: in the last of the vectors at least one.
    pub columns: usize,
    /// What the results are clamped to, if they are.
    pub bounds: Option<(f32, f32)>,
}

pub type Kernel = unsafe fn(&Tile);

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
unsafe fn on_zmm<const ROWS: usize, const VECTORS: usize>(tile: &Tile) {
    // SAFETY: as the caller says.
    unsafe { multiply::<Zmm, ROWS, VECTORS>(tile) }
}

/// # Safety
/// As [`multiply`]; the processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn on_ymm<const ROWS: usize, const VECTORS: usize>(tile: &Tile) {
    // SAFETY: as the caller says.
    unsafe { multiply::<Ymm, ROWS, VECTORS>(tile) }
}

/// # Safety
/// The weights hold `ROWS` values a product, `VECTORS` vectors of the panel can be read for each product, there
/// are as many biases as rows, and each row of the result has room for its columns, which nobody else uses
/// meanwhile.
#[inline(always)]
unsafe fn multiply<V: Lanes, const ROWS: usize, const VECTORS: usize>(tile: &Tile) {
    // SAFETY: as the caller says.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        for row in 0..ROWS {
            sums[row] = [V::splat(*tile.bias.add(row)); VECTORS];
        }
        let (mut weights, mut panel) = (tile.weights, tile.panel);
        for _ in 0..tile.products {
            let mut columns = [V::splat(0.0); VECTORS];
            for vector in 0..VECTORS {
                columns[vector] = V::load(panel.add(vector * V::LANES));
            }
            for row in 0..ROWS {
                let weight = V::splat(*weights.add(row));
                for vector in 0..VECTORS {
                    sums[row][vector] = columns[vector].times_plus(weight, sums[row][vector]);
                }
            }
            weights = weights.add(ROWS);
            panel = panel.wrapping_add(tile.width);
        }
        if let Some((low, high)) = tile.bounds {
            let (low, high) = (V::splat(low), V::splat(high));
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    sums[row][vector] = sums[row][vector].at_least(low).at_most(high);
                }
            }
        }
        let whole = VECTORS * V::LANES == tile.columns;
        let last = (VECTORS - 1) * V::LANES;
        let mask = V::mask(0, tile.columns as isize - last as isize);
        for row in 0..ROWS {
            let out = tile.out.add(row * tile.stride);
            for vector in 0..VECTORS - 1 {
                sums[row][vector].store(out.add(vector * V::LANES));
            }
            if whole {
                sums[row][VECTORS - 1].store(out.add(last));
            } else {
                sums[row][VECTORS - 1].store_masked(out.add(last), mask);
            }
        }
    }
}
