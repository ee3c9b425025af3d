//! Weights in the order in which kernels read them.

use super::tile::{self, Kernel, MAX_ROWS, MAX_VECTORS};
use crate::{kernels::isa::Isa, store::Stored};

/// The registers that a kernel has: by rows of weights and vectors of a panel.
#[derive(Clone, Copy)]
pub struct Registers {
    /// Values of a vector.
    pub lanes: usize,
    pub kernel: fn(usize, usize) -> Option<Kernel>,
}

impl Registers {
    /// `None` where there are no kernels for the instruction set.
    pub fn of(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Reference => None,
            Isa::Avx2(_) => Some(Self {
                lanes: 8,
                kernel: tile::ymm,
            }),
            Isa::Avx512Vnni(_) => Some(Self {
                lanes: 16,
                kernel: tile::zmm,
            }),
        }
    }
}

/// A matrix of weights, some rows at a time.
pub struct Blocks {
    /// Rows of a block, but for the last.
    pub rows: usize,
    pub channels: usize,
    pub products: usize,
    /// Of a panel of columns.
    pub vectors: usize,
    /// `[block][product][row]`.
    values: Stored<f32>,
}

impl Blocks {
    /// Packs `weights`, which are `[channel][product]`, for as many columns.
    pub fn pack(registers: &Registers, weights: &[f32], channels: usize, columns: usize) -> Self {
        let products = weights.len() / channels;
        let [rows, vectors] = shape(registers, channels, columns);
        let values = Stored::new(weights.len(), |values| {
            let length = (rows * products).max(1);
            let blocks = values.chunks_mut(length);
            for (block, weights) in blocks.zip(weights.chunks(length)) {
                transpose(weights, products, block);
            }
        });
        Self {
            rows,
            channels,
            products,
            vectors,
            values,
        }
    }

    pub fn count(&self) -> usize {
        self.channels.div_ceil(self.rows)
    }

    /// The weights of a block.
    pub fn weights(&self, number: usize) -> &[f32] {
        let length = self.rows * self.products;
        let start = number * length;
        &self.values[start..self.values.len().min(start + length)]
    }
}

/// Rows of `products` values as columns.
fn transpose(rows: &[f32], products: usize, out: &mut [f32]) {
    /// Products whose columns stay in the first-level cache while all rows write to them.
    const TOGETHER: usize = 256;
    let count = rows.len() / products;
    for (number, out) in out.chunks_mut(TOGETHER * count).enumerate() {
        let length = out.len() / count;
        for (at, row) in rows.chunks_exact(products).enumerate() {
            let row = &row[number * TOGETHER..][..length];
            for (column, &value) in out.chunks_exact_mut(count).zip(row) {
                column[at] = value;
            }
        }
    }
}

/// Rows of a block and vectors of a panel with which the product takes the least time.
fn shape(registers: &Registers, channels: usize, columns: usize) -> [usize; 2] {
    let all = columns.div_ceil(registers.lanes);
    let shapes = (1..=MAX_VECTORS.min(all)).flat_map(|vectors| {
        let rows = 1..=MAX_ROWS.min(channels);
        rows.map(move |rows| [rows, vectors])
    });
    let fitting = shapes.filter(|&[rows, vectors]| (registers.kernel)(rows, vectors).is_some());
    // Half a cycle for each multiplication and each load, in parallel; sums wait four cycles for themselves.
    let cycles = |rows: usize, vectors: usize| match rows * vectors {
        0 => 0,
        sums => sums.max(rows + vectors).max(8),
    };
    let time = |[rows, vectors]: [usize; 2]| {
        let panel =
            |vectors| channels / rows * cycles(rows, vectors) + cycles(channels % rows, vectors);
        all / vectors * panel(vectors) + panel(all % vectors)
    };
    let best = fitting.min_by_key(|&shape| (time(shape), usize::MAX - shape[0] * shape[1]));
    best.unwrap_or([1, 1])
}
