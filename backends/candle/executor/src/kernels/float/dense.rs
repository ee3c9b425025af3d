//! Convolution over an image, with any number of groups: weights that are packed once times panels of columns.

use std::{cell::Cell, marker::PhantomData};

use rayon::prelude::*;

use super::{
    blocks::{Blocks, Registers},
    lines::Lines,
    panels::{Panels, Piece},
    tile::{MAX_VECTORS, Place, Places, Steps, Tile},
};
use crate::{geometry::Window, kernels::isa::Isa, room::Room};

/// Values of the panels that are made together: they stay in the second-level cache.
const PANELS: usize = 1 << 16;
/// Values of a panel at most: windows that are larger have too many products to be kept.
const LARGEST_PANEL: usize = 1 << 24;
/// Lines are taken where no more than one column in as many lies between them.
const MOST_IN_VAIN: usize = 8;
/// Positions whose panels are made together at most.
const POSITIONS: usize = 1024;
/// Tasks for each thread, where there is more than one.
const TASKS: usize = 4;

thread_local! {
    static MEMORY: Cell<Memory> = Cell::default();
}

/// What a task writes columns into, kept from pass to pass.
#[derive(Default)]
struct Memory {
    room: Room,
    pieces: Vec<Piece>,
    places: Vec<Places>,
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

/// How columns are laid out to be multiplied.
enum Layout {
    /// One after the other, for each product anew.
    Panels,
    /// Once for all taps of the window.
    Lines(Lines),
}

impl Layout {
    fn new(registers: &Registers, shape: &Shape) -> Self {
        let [_, _, height, width] = shape.input;
        let [_, _, all, columns] = shape.output;
        let mut lines = Lines {
            window: shape.window,
            input: [height, width],
            columns,
            channels: shape.group_inputs(),
            lines: 1,
        };
        let (pitch, beyond) = (lines.pitch(), lines.beyond());
        // What lies between the lines is multiplied in vain.
        let is_dense = pitch >= registers.lanes && (pitch - columns) * MOST_IN_VAIN <= columns;
        let line = lines.channels * lines.planes() * pitch;
        let fitting = (PANELS / line).saturating_sub(beyond).min(all);
        let is_worth_it = shape.window.taps() > 2 * lines.planes() && fitting > beyond;
        if !is_dense || !is_worth_it {
            return Self::Panels;
        }
        lines.lines = all.div_ceil(all.div_ceil(fitting));
        Self::Lines(lines)
    }
}

/// A convolution with packed weights.
pub struct Dense {
    isa: Isa,
    registers: Registers,
    shape: Shape,
    layout: Layout,
    /// By product, where its columns begin in lines.
    offsets: Vec<u32>,
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
        let layout = Layout::new(&registers, &shape);
        let positions = match &layout {
            Layout::Panels => shape.output[2] * shape.output[3],
            Layout::Lines(lines) => lines.positions(lines.lines),
        };
        let groups = weights.chunks_exact(length);
        let blocks = groups.map(|weights| Blocks::pack(&registers, weights, channels, positions));
        let blocks: Vec<Blocks> = blocks.collect();
        let first = blocks.first()?;
        let width = first.vectors * registers.lanes;
        if width * first.products > LARGEST_PANEL {
            return None;
        }
        let offsets = match &layout {
            Layout::Panels => Vec::new(),
            Layout::Lines(lines) => lines.offsets(),
        };
        Some(Self {
            isa,
            registers,
            shape,
            layout,
            offsets,
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
        let [_, _, lines, columns] = self.shape.output;
        let width = first.vectors * self.registers.lanes;
        let (unit, most) = match &self.layout {
            Layout::Panels => (width, (PANELS / first.products).min(POSITIONS) / width),
            Layout::Lines(lines) => (columns, lines.lines),
        };
        let groups = self.shape.input[0] * self.shape.groups;
        let division = Division::new(lines * columns, unit, most, groups, first.count(), threads);
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
            input: [_, _, height, in_width],
            output: [_, _, lines, columns],
        } = self.shape;
        let (part, number) = (number % division.parts, number / division.parts);
        let (tile, group) = (number % division.tiles, number / division.tiles);
        let blocks = &self.blocks[group % groups];
        let all = lines * columns;
        let start = tile * division.tile;
        let count = division.tile.min(all - start);
        let lanes = self.registers.lanes;
        let width = blocks.vectors * lanes;
        let inputs = self.shape.group_inputs() * height * in_width;
        let input = &input[group * inputs..][..inputs];
        let mut memory = MEMORY.take();
        let Memory {
            room,
            pieces,
            places,
        } = &mut memory;
        // Of how many positions there are columns, and from one panel of them to the next.
        let (values, positions, panel) = match &self.layout {
            Layout::Panels => {
                let mut panels = Panels {
                    window,
                    input: [height, in_width],
                    columns,
                    positions: start..start + count,
                    channels: self.shape.group_inputs(),
                    width,
                    pieces,
                };
                let values = room.floats(panels.length());
                panels.fill(self.isa, input, values);
                (values, count, width * blocks.products)
            }
            Layout::Lines(of) => {
                let values = room.floats(of.length(width + lanes));
                let own = count / columns;
                of.fill(self.isa, start / columns, own, input, values);
                (values, of.positions(own), width)
            }
        };
        let steps = match &self.layout {
            Layout::Panels => Steps::Even(width),
            Layout::Lines(_) => Steps::Offsets(&self.offsets),
        };
        places.clear();
        places.extend((0..positions).step_by(width).map(|first| {
            let vectors = width.min(positions - first).div_ceil(lanes);
            match &self.layout {
                Layout::Panels => in_a_row(first, count, vectors, lanes),
                Layout::Lines(of) => of.places(first, vectors, lanes, count / columns),
            }
        }));
        let own = blocks.count().div_ceil(division.parts);
        let own = part * own..blocks.count().min((part + 1) * own);
        for block in own {
            let first = block * blocks.rows;
            let rows = blocks.rows.min(blocks.channels - first);
            let plane = group * blocks.channels + first;
            let bias = &self.bias[group % groups * blocks.channels + first..][..rows];
            let weights = blocks.weights(block);
            for (number, places) in places.iter().enumerate() {
                let Some(kernel) = (self.registers.kernel)(rows, places.count) else {
                    unreachable!("a block has no more rows and vectors than there are kernels for");
                };
                let tile = Tile {
                    products: blocks.products,
                    weights: weights.as_ptr(),
                    columns: values[number * panel..].as_ptr(),
                    steps,
                    bias: bias.as_ptr(),
                    out: out.rows(plane * all + start, rows, all, places.end),
                    stride: all,
                    places,
                    bounds: self.bounds,
                };
                // SAFETY: the instruction set was detected; the weights are those of a block of `rows` and of
                // all products, the biases as many, and so are the offsets; from the last product on, the
                // columns hold whole vectors; the places lie within the rows of the output, and no other task
                // has this block of this tile.
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
        MEMORY.set(memory);
    }
}

/// The places of vectors of a panel whose columns lie one after the other, as those of all panels of `count`.
fn in_a_row(first: usize, count: usize, vectors: usize, lanes: usize) -> Places {
    let mut places = [Place::default(); MAX_VECTORS];
    for (vector, place) in places.iter_mut().enumerate().take(vectors) {
        place.start = first + vector * lanes;
        place.count = lanes.min(count.saturating_sub(place.start));
    }
    Places::new(places, vectors, lanes)
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
    /// Of `positions`, in tiles of at most `most` units, for as many threads.
    fn new(
        positions: usize,
        unit: usize,
        most: usize,
        groups: usize,
        blocks: usize,
        threads: usize,
    ) -> Self {
        let units = positions.div_ceil(unit);
        let mut tiles = units.div_ceil(most.max(1));
        let mut parts = 1;
        if threads > 1 {
            let wanted = threads * TASKS;
            tiles = tiles.max(wanted.div_ceil(groups).min(units));
            parts = wanted.div_ceil(groups * tiles).min(blocks);
        }
        let tile = units.div_ceil(tiles) * unit;
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
