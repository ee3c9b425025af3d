//! Convolution over an image, with any number of groups: weights that are packed once times panels of columns.

use std::{cell::Cell, marker::PhantomData};

use rayon::prelude::*;

use super::{
    blocks::{Blocks, Registers},
    panels::{Panels, Piece},
    tile::Tile,
};
use crate::{geometry::Window, kernels::Isa, memory::Room};

/// Values of the panels that are made together: they stay in the second-level cache.
const PANELS: usize = 1 << 16;
/// Values of a panel at most: windows that are larger have too many products to be kept.
const LARGEST_PANEL: usize = 1 << 24;
/// Positions whose panels are made together at most.
const POSITIONS: usize = 1024;
/// Tasks for each thread, where there is more than one.
const TASKS: usize = 4;

thread_local! {
    /// Panels and their pieces, kept from pass to pass.
    static MEMORY: Cell<(Room, Vec<Piece>)> = const { Cell::new((Room::EMPTY, Vec::new())) };
}

/// What is done with each run of values of a channel once they are computed: it is given the number of the
/// plane, where in it the run begins, and the run.
pub type Finish<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

/// The shape of a convolution over images.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub window: Window,
    pub groups: usize,
    /// Number, channels, height and width.
    pub input: [usize; 4],
    pub output: [usize; 4],
}

impl Shape {
    /// Whether every line reads the line at its own place: then an image may as well be a single line.
    fn lined_up(self) -> Self {
        if !self.window.is_pointwise() {
            return self;
        }
        let line =
            |[number, channels, height, width]: [usize; 4]| [number, channels, 1, height * width];
        Self {
            input: line(self.input),
            output: line(self.output),
            ..self
        }
    }

    fn group_inputs(&self) -> usize {
        self.input[1] / self.groups
    }

    fn group_outputs(&self) -> usize {
        self.output[1] / self.groups
    }
}

/// A convolution with packed weights.
pub struct Dense {
    isa: Isa,
    registers: Registers,
    shape: Shape,
    /// By group.
    blocks: Vec<Blocks>,
    bias: Vec<f32>,
    bounds: Option<(f32, f32)>,
}

impl Dense {
    /// Packs `weights`, which are `[channel][channel of the group][row][column]`; `None` where there are no
    /// kernels for the instruction set, or the window is too large.
    ///
    /// # Panics
    /// Where the weights or the biases are not as many as the shape says.
    pub fn new(
        isa: Isa,
        shape: Shape,
        weights: &[f32],
        bias: &[f32],
        bounds: Option<(f32, f32)>,
    ) -> Option<Self> {
        let registers = Registers::of(isa)?;
        let shape = shape.lined_up();
        let channels = shape.group_outputs();
        let length = channels * shape.group_inputs() * shape.window.taps();
        assert_eq!(weights.len(), length * shape.groups);
        assert_eq!(bias.len(), shape.output[1]);
        let positions = shape.output[2] * shape.output[3];
        let groups = weights.chunks_exact(length);
        let blocks = groups.map(|weights| Blocks::pack(&registers, weights, channels, positions));
        let blocks: Vec<Blocks> = blocks.collect();
        let panel = |blocks: &Blocks| blocks.vectors * registers.lanes * blocks.products;
        if blocks.iter().any(|blocks| panel(blocks) > LARGEST_PANEL) {
            return None;
        }
        Some(Self {
            isa,
            registers,
            shape,
            blocks,
            bias: bias.to_vec(),
            bounds,
        })
    }

    /// Computes `out` from `input`, on the threads of the pool that calls.
    ///
    /// # Panics
    /// Where slices are of other lengths than the shape says.
    pub fn run(&self, input: &[f32], out: &mut [f32], finish: Option<Finish<'_>>) {
        assert_eq!(input.len(), self.shape.input.iter().product::<usize>());
        assert_eq!(out.len(), self.shape.output.iter().product::<usize>());
        let Some(first) = self.blocks.first() else {
            return;
        };
        let threads = rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads());
        let division = Division::new(&self.shape, first, self.registers.lanes, threads);
        let out = Shared::new(out);
        let task = |number: usize| self.task(&division, number, input, &out, finish);
        match threads {
            1 => (0..division.tasks()).for_each(task),
            _ => (0..division.tasks()).into_par_iter().for_each(task),
        }
    }

    fn task(
        &self,
        division: &Division,
        number: usize,
        input: &[f32],
        out: &Shared<'_>,
        finish: Option<Finish<'_>>,
    ) {
        let Shape {
            window,
            groups,
            input: [_, _, height, width],
            output: [_, _, lines, columns],
            ..
        } = self.shape;
        let (part, number) = (number % division.parts, number / division.parts);
        let (tile, group) = (number % division.tiles, number / division.tiles);
        let blocks = &self.blocks[group % groups];
        let all = lines * columns;
        let start = tile * division.tile;
        let count = division.tile.min(all - start);
        let panel_width = blocks.vectors * self.registers.lanes;
        let inputs = self.shape.group_inputs() * height * width;
        let (mut room, mut pieces) = MEMORY.take();
        let mut panels = Panels {
            window,
            input: [height, width],
            columns,
            positions: start..start + count,
            channels: self.shape.group_inputs(),
            width: panel_width,
            pieces: &mut pieces,
        };
        let values = room.floats(panels.length());
        panels.fill(self.isa, &input[group * inputs..][..inputs], values);
        let own = blocks.count().div_ceil(division.parts);
        let own = part * own..blocks.count().min((part + 1) * own);
        let panel = panel_width * blocks.products;
        for block in own {
            let first = block * blocks.rows;
            let rows = blocks.rows.min(blocks.channels - first);
            let plane = group * blocks.channels + first;
            let bias = &self.bias[group % groups * blocks.channels + first..][..rows];
            let weights = blocks.weights(block);
            for (number, panel) in values.chunks_exact(panel).enumerate() {
                let column = number * panel_width;
                let columns = panel_width.min(count - column);
                let vectors = columns.div_ceil(self.registers.lanes);
                let kernel = (self.registers.kernel)(rows, vectors);
                let Some(kernel) = kernel else {
                    unreachable!("a block has no more rows and vectors than there are kernels for");
                };
                let tile = Tile {
                    products: blocks.products,
                    weights: weights.as_ptr(),
                    panel: panel.as_ptr(),
                    width: panel_width,
                    bias: bias.as_ptr(),
                    out: out.rows(plane * all + start + column, rows, all, columns),
                    stride: all,
                    columns,
                    bounds: self.bounds,
                };
                // SAFETY: the instruction set was detected; the weights are those of a block of `rows`, and
                // as many biases; panels hold whole vectors; the rows lie within the output, and no other
                // task has this block of this tile.
                unsafe { kernel(&tile) };
            }
            if let Some(finish) = finish {
                for row in plane..plane + rows {
                    // SAFETY: of this plane only this task uses these values.
                    let run = unsafe { out.part(row * all + start, count) };
                    finish(row, start, run);
                }
            }
        }
        MEMORY.set((room, pieces));
    }
}

/// How a convolution is divided: a task is a part of the blocks of a tile of positions of a group of an image.
struct Division {
    /// Positions of a tile.
    tile: usize,
    tiles: usize,
    /// Parts of the blocks.
    parts: usize,
    /// Groups of all images.
    groups: usize,
}

impl Division {
    fn new(shape: &Shape, blocks: &Blocks, lanes: usize, threads: usize) -> Self {
        let width = blocks.vectors * lanes;
        let positions = shape.output[2] * shape.output[3];
        let groups = shape.input[0] * shape.groups;
        let widths = positions.div_ceil(width);
        let most = (PANELS / blocks.products).min(POSITIONS) / width;
        let mut tiles = widths.div_ceil(most.max(1));
        let mut parts = 1;
        if threads > 1 {
            let wanted = threads * TASKS;
            tiles = tiles.max(wanted.div_ceil(groups).min(widths));
            parts = wanted.div_ceil(groups * tiles).min(blocks.count());
        }
        let tile = widths.div_ceil(tiles) * width;
        Self {
            tile,
            tiles: positions.div_ceil(tile),
            parts,
            groups,
        }
    }

    fn tasks(&self) -> usize {
        self.groups * self.tiles * self.parts
    }
}

/// Values that several tasks write, each its own.
struct Shared<'a> {
    values: *mut f32,
    length: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: it gives nothing away but pointers, and parts by an unsafe function.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    fn new(values: &'a mut [f32]) -> Self {
        Self {
            values: values.as_mut_ptr(),
            length: values.len(),
            borrowed: PhantomData,
        }
    }

    /// Where `rows` begin that lie `stride` apart and have as many columns.
    ///
    /// # Panics
    /// Where they do not lie within.
    fn rows(&self, start: usize, rows: usize, stride: usize, columns: usize) -> *mut f32 {
        assert!(start + (rows - 1) * stride + columns <= self.length);
        self.values.wrapping_add(start)
    }

    /// # Safety
    /// Nobody else uses these values meanwhile.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller says that the parts are disjoint"
    )]
    unsafe fn part(&self, start: usize, length: usize) -> &mut [f32] {
        assert!(start + length <= self.length);
        // SAFETY: they lie within what is borrowed exclusively, and the caller has them alone.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(start), length) }
    }
}
