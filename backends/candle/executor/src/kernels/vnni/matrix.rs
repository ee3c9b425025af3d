//! The product of rows of activations with panels of weights.

use std::{
    arch::x86_64::{
        __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_dpbusd_epi32, _mm512_mask_storeu_epi8,
        _mm512_permutexvar_epi32, _mm512_permutexvar_epi64, _mm512_set1_epi32, _mm512_setr_epi32,
        _mm512_setr_epi64, _mm512_setzero_si512,
    },
    ops::Range,
    slice,
};

use super::{
    BYTES, Quad,
    finish::{Ending, Finish, with_ending},
    position, scatter,
};
use crate::kernels::{
    panel::{PANEL, QUAD},
    requantization::Requantization,
    rows::{Output, Rows},
};

/// Rows of activations whose results are finished before those of the next begin: they stay in the
/// second-level cache while they meet every panel. A multiple of the rows of all blocks.
const TILE: usize = 120;

/// The panels that matrices of `channels` are computed in: the number of vectors of each, and the
/// channel of every lane of all of them.
pub fn panels(channels: usize) -> (Vec<usize>, Vec<Option<usize>>) {
    let (mut panels, mut lanes) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < channels {
        let vectors = vectors_for(channels - first);
        panels.push(vectors);
        for vector in 0..vectors {
            lanes.extend((0..PANEL).map(|lane| {
                let channel = first + position(vectors, vector, lane);
                (channel < channels).then_some(channel)
            }));
        }
        first += vectors * PANEL;
    }
    (panels, lanes)
}

/// The vectors of the next panel of a matrix that has as many channels left.
fn vectors_for(channels: usize) -> usize {
    channels.div_ceil(PANEL).min(4)
}

/// See [`crate::kernels::Matrix::multiply`]; `quads` are those of a segment. `part` are channels that whole panels have.
///
/// # Safety
/// All segments of the rows hold as many quads.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn matrix(
    packed: &[Quad],
    quads: usize,
    (channels, part): (usize, &Range<usize>),
    requantization: &Requantization,
    rows: &Rows<'_>,
    out: &mut Output<'_>,
) {
    let of_vector = quads * rows.segments.len();
    let packed = &packed[part.start / PANEL * of_vector..part.end.div_ceil(PANEL) * of_vector];
    let mut starts = [0; TILE];
    for first in (0..rows.count).step_by(TILE) {
        let starts = &mut starts[..TILE.min(rows.count - first)];
        rows.starts(first, starts);
        let mut packed = packed;
        let mut channel = part.start;
        while channel < part.end {
            let vectors = vectors_for(channels - channel);
            let (weights, others) = packed.split_at(vectors * of_vector);
            // Further rows find them in the second-level cache; of few rows they are read at once.
            let is_first_of_many = first == 0 && starts.len() > 12;
            let next = if is_first_of_many { others } else { &[] };
            let panel = Panel {
                weights,
                next: &next[..next.len().min(weights.len())],
                quads,
                channel,
                channels,
                requantization,
                rows,
                first,
                starts,
            };
            // SAFETY: the caller says that the rows hold the quads.
            unsafe {
                with_ending!(requantization, Needed => panel.vectors::<Needed>(vectors, out));
            }
            packed = others;
            channel += vectors * PANEL;
        }
    }
}

/// The channels of some vectors, for some rows.
struct Panel<'a> {
    /// By quad of k, then by vector.
    weights: &'a [Quad],
    /// Weights that are read after these for the first time in a pass, to be fetched meanwhile.
    next: &'a [Quad],
    /// Of a segment.
    quads: usize,
    /// The first one.
    channel: usize,
    /// Of the whole matrix.
    channels: usize,
    requantization: &'a Requantization,
    rows: &'a Rows<'a>,
    /// The first of the rows that are computed, and where they begin, one after the other.
    first: usize,
    starts: &'a [usize],
}

impl Panel<'_> {
    /// Computes its channels for its rows: so many at a time that their sums, the weights of a quad and one
    /// activation fit into 32 vectors, and the rest in blocks that fit it.
    ///
    /// # Safety
    /// All segments of the rows hold as many quads.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn vectors<E: Ending>(&self, vectors: usize, out: &mut Output<'_>) {
        // SAFETY: the caller says so.
        unsafe {
            match vectors {
                4 => {
                    let mut blocks = Blocks::<4, E>::new(self, 6, out);
                    blocks.all::<6>(9);
                    // One or two rows alone would wait for their own sums.
                    if let 7.. = blocks.rest.len() {
                        blocks.next::<4>();
                    }
                    match blocks.rest.len() {
                        0 => {}
                        1 => blocks.next::<1>(),
                        2 => blocks.next::<2>(),
                        3 => blocks.next::<3>(),
                        4 => blocks.next::<4>(),
                        5 => blocks.next::<5>(),
                        _ => blocks.next::<6>(),
                    }
                }
                3 => {
                    let mut blocks = Blocks::<3, E>::new(self, 8, out);
                    blocks.all::<8>(7);
                    match blocks.rest.len() {
                        0 => {}
                        1 => blocks.next::<1>(),
                        2 => blocks.next::<2>(),
                        3 | 4 => blocks.next::<4>(),
                        _ => blocks.next::<6>(),
                    }
                }
                2 => {
                    let mut blocks = Blocks::<2, E>::new(self, 10, out);
                    blocks.all::<10>(9);
                    match blocks.rest.len() {
                        0 => {}
                        1 | 2 => blocks.next::<2>(),
                        3 | 4 => blocks.next::<4>(),
                        5 | 6 => blocks.next::<6>(),
                        _ => blocks.next::<8>(),
                    }
                }
                _ => {
                    let mut blocks = Blocks::<1, E>::new(self, 12, out);
                    blocks.all::<12>(9);
                    match blocks.rest.len() {
                        0 => {}
                        1..=4 => blocks.next::<4>(),
                        _ => blocks.next::<8>(),
                    }
                }
            }
        }
    }
}

/// The rows of a panel, some at a time.
struct Blocks<'a, const VECTORS: usize, E> {
    panel: &'a Panel<'a>,
    finish: Finish<VECTORS, E>,
    /// Where the rows begin that are still to be computed.
    rest: &'a [usize],
    /// Where the first of them goes, of which there is room for all.
    out: *mut u8,
    stride: usize,
    /// Those of the channels that are there.
    mask: u64,
    /// Weights to be fetched with each block.
    ahead: slice::Chunks<'a, Quad>,
}

impl<'a, const VECTORS: usize, E: Ending> Blocks<'a, VECTORS, E> {
    /// For blocks of about `rows` rows.
    #[target_feature(enable = "avx512f")]
    fn new(panel: &'a Panel<'a>, rows: usize, out: &'a mut Output<'_>) -> Self {
        let width = (VECTORS * PANEL).min(panel.channels - panel.channel);
        // Once for all rows: what is checked for each costs as much as it stores.
        let (stride, out) = (
            out.stride(),
            out.rows(panel.first, panel.starts.len(), panel.channel, width),
        );
        let quads = VECTORS * panel.quads * panel.rows.segments.len();
        assert_eq!(panel.weights.len(), quads, "all quads");
        assert!(!panel.weights.is_empty(), "something to multiply");
        let blocks = panel.starts.len().div_ceil(rows);
        // At least as many as there are quads of k, which is how many a block of four vectors fetches.
        let ahead = panel.next.len().div_ceil(blocks);
        let ahead = match VECTORS {
            4 => ahead.max(panel.weights.len() / VECTORS),
            _ => ahead.max(1),
        };
        Self {
            panel,
            finish: Finish::new(panel.requantization, panel.channel),
            rest: panel.starts,
            out,
            stride,
            mask: u64::MAX >> (BYTES - width),
            ahead: panel.next.chunks(ahead),
        }
    }

    /// Computes blocks of `ROWS` rows as long as at least `least` are left.
    ///
    /// # Safety
    /// All segments of the rows hold as many quads.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn all<const ROWS: usize>(&mut self, least: usize) {
        while self.rest.len() >= least {
            // SAFETY: the caller says so.
            unsafe { self.next::<ROWS>() };
        }
    }

    /// Computes the next `ROWS` rows; where there are fewer, the last again.
    ///
    /// # Safety
    /// All segments of the rows hold as many quads.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn next<const ROWS: usize>(&mut self) {
        let ahead = self.ahead.next().unwrap_or_default();
        // One with each quad where registers are free for it: all at once they wait for each other.
        let (mut next, step) = match ahead.first() {
            Some(first) => (std::ptr::from_ref(first).cast::<u8>(), BYTES),
            None => (self.panel.weights.as_ptr().cast(), 0),
        };
        if VECTORS < 4 {
            for quad in ahead {
                _mm_prefetch::<_MM_HINT_T1>(quad.0.as_ptr().cast());
            }
        }
        let count = self.rest.len().min(ROWS);
        let (starts, rest) = self.rest.split_at(count);
        let out = self.out;
        self.rest = rest;
        self.out = out.wrapping_add(count * self.stride);
        let values = self.panel.rows.values.as_ptr();
        // SAFETY: rows begin within the values.
        let starts: [_; ROWS] =
            std::array::from_fn(|row| unsafe { values.add(starts[row.min(count - 1)]) });
        let mut sums = [self.finish.correction; ROWS];
        let mut weights = self.panel.weights.as_ptr().cast::<[Quad; VECTORS]>();
        for &segment in self.panel.rows.segments {
            // SAFETY: there are as many weights of every segment.
            let end = unsafe { weights.add(self.panel.quads) };
            let mut at = segment;
            // At least once, which the compiler is to know: otherwise it makes copies of all sums.
            loop {
                let mut vectors = [_mm512_setzero_si512(); VECTORS];
                // SAFETY: as above.
                for (vector, weights) in vectors.iter_mut().zip(unsafe { &*weights }) {
                    *vector = weights.load();
                }
                for (start, sums) in starts.iter().zip(&mut sums) {
                    // SAFETY: the caller says that the segment holds as many quads.
                    let quad = unsafe { start.add(at).cast::<i32>().read_unaligned() };
                    let activations = _mm512_set1_epi32(quad);
                    for (sums, vector) in sums.iter_mut().zip(&vectors) {
                        *sums = _mm512_dpbusd_epi32(*sums, activations, *vector);
                    }
                }
                if VECTORS == 4 {
                    _mm_prefetch::<_MM_HINT_T1>(next.cast());
                    next = next.wrapping_add(step);
                }
                at += QUAD;
                // SAFETY: as above.
                weights = unsafe { weights.add(1) };
                if weights == end {
                    break;
                }
            }
        }
        let (finish, stride, mask) = (&self.finish, self.stride, self.mask);
        let together = 4 / VECTORS;
        let has_all_channels = mask == u64::MAX >> (BYTES - VECTORS * PANEL);
        // One by one with numbers that the compiler knows, and written out here: over a loop, or in a function that it
        // takes for too long, it would keep all sums in memory, and write them there with every quad.
        macro_rules! store {
            ($($number:literal)*) => {
                $(if $number < ROWS / together {
                    let sum = |n: usize| sums[$number * together + n / VECTORS % together][n % VECTORS];
                    let bytes = finish.bytes(&[sum(0), sum(1), sum(2), sum(3)]);
                    let bytes = rows_in_order::<VECTORS>(bytes);
                    // Rows beyond `count` are the last one again.
                    let row = $number * together;
                    // SAFETY: there is room for `count` rows, of which one is there at least. The masks have as many
                    // bits as bytes may be written.
                    unsafe {
                        match VECTORS {
                            3 | 4 => {
                                let to = out.add(row.min(count - 1) * stride);
                                _mm512_mask_storeu_epi8(to.cast(), mask, bytes);
                            }
                            _ if has_all_channels && row + together <= count => {
                                let to = out.add(row * stride);
                                match VECTORS {
                                    1 => scatter::<4>(bytes, to, stride),
                                    _ => scatter::<2>(bytes, to, stride),
                                }
                            }
                            _ => {
                                for place in 0..together {
                                    let row = (row + place).min(count - 1);
                                    let before = place * VECTORS * PANEL;
                                    let to = out.add(row * stride).wrapping_sub(before);
                                    _mm512_mask_storeu_epi8(to.cast(), mask << before, bytes);
                                }
                            }
                        }
                    }
                })*
            };
        }
        store!(0 1 2 3 4 5 6 7);
    }
}

/// The bytes of as many rows as fill a vector with those of `VECTORS` vectors of sums, which have been
/// packed together, row by row.
#[inline]
#[target_feature(enable = "avx512f")]
fn rows_in_order<const VECTORS: usize>(bytes: __m512i) -> __m512i {
    match VECTORS {
        1 => {
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(order, bytes)
        }
        2 => _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), bytes),
        3 => {
            // A quarter of the vector has nothing.
            let order = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(order, bytes)
        }
        _ => bytes,
    }
}
