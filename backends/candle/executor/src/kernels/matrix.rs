//! Rows of u8 activations times a matrix of i8 weights, requantized to u8.

use std::ops::Range;

use crate::pool::share;

use super::{
    isa::Isa,
    panel::QUAD,
    reference,
    requantization::Requantization,
    rows::{Output, Rows},
};

#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, panel::PANEL, vnni};
#[cfg(target_arch = "x86_64")]
use crate::store::Stored;
#[cfg(target_arch = "x86_64")]
use bytemuck::Pod;

/// Channels of the largest panel of any instruction set.
const CHANNELS_OF_BLOCK: usize = 64;

enum Packed {
    Reference(Vec<i8>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Stored<avx2::Quad>),
    #[cfg(target_arch = "x86_64")]
    Vnni(Stored<vnni::Quad>),
}

/// Weights packed for an instruction set.
pub struct Matrix {
    packed: Packed,
    /// Number of segments.
    segments: usize,
    /// Activations of a segment.
    segment: usize,
    channels: usize,
    /// In the order of the packed weights.
    requantization: Requantization,
}

impl Matrix {
    /// Packs `weights`, which are `[channel][segment][k]` with `segment` of k.
    pub fn pack(
        isa: Isa,
        weights: &[i8],
        segments: usize,
        segment: usize,
        requantization: &Requantization,
    ) -> Self {
        let channels = requantization.bias.len();
        assert_eq!(
            weights.len(),
            channels * segments * segment,
            "weights are [channel][segment][k]"
        );
        let requantization = &requantization.of_weights(weights);
        let (packed, requantization) = match isa {
            Isa::Reference => (Packed::Reference(weights.to_vec()), requantization.clone()),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => {
                let panels: Vec<_> = (0..channels).step_by(PANEL).map(|_| 1).collect();
                let lanes = 0..channels.next_multiple_of(PANEL);
                let lanes: Vec<_> = lanes.map(|c| (c < channels).then_some(c)).collect();
                let packed = pack(
                    weights,
                    [segments, segment],
                    &panels,
                    &lanes,
                    avx2::Quad::new,
                );
                (Packed::Avx2(packed), requantization.select(&lanes))
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => {
                let (panels, lanes) = vnni::panels(channels);
                let packed = pack(
                    weights,
                    [segments, segment],
                    &panels,
                    &lanes,
                    vnni::Quad::new,
                );
                // SAFETY: this instruction set is chosen only where it was detected.
                let inverse = |divisor| unsafe { avx512::inverse(divisor) };
                let requantization = Requantization {
                    inverse: requantization.divisor.and_then(inverse),
                    ..requantization.select(&lanes)
                };
                (Packed::Vnni(packed), requantization)
            }
        };
        Self {
            packed,
            segments,
            segment,
            channels,
            requantization,
        }
    }

    /// How many values of a segment are read: those after its last count for nothing.
    pub fn segment_length(&self) -> usize {
        self.segment.next_multiple_of(QUAD)
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Computes `channels` values for every row. Both strides are in values.
    ///
    /// # Panics
    /// Where the values or the room for results end before the last row does, or its segments are others
    /// than those packed.
    pub fn multiply(&self, rows: &Rows<'_>, out: &mut Output<'_>) {
        self.multiply_channels(rows, out, &(0..self.channels));
    }

    /// [`Self::multiply`] on the threads of the pool that calls, each of which computes some of the channels.
    ///
    /// # Panics
    /// As above.
    pub fn multiply_by_channels(&self, rows: &Rows<'_>, out: &mut Output<'_>) {
        assert!(self.channels <= out.stride(), "rows beside each other");
        let parts = self.parts(rayon::current_num_threads());
        let out = &*out;
        share(parts.len(), &|number| {
            // SAFETY: the parts have other channels each, and rows do not overlap, as was asserted.
            let mut out = unsafe { out.again() };
            self.multiply_channels(rows, &mut out, &parts[number]);
        });
    }

    /// As many parts of the channels at most, of about equal size, each of whole panels for every instruction set.
    pub fn parts(&self, most: usize) -> Vec<Range<usize>> {
        let blocks = self.channels.div_ceil(CHANNELS_OF_BLOCK);
        let count = most.clamp(1, blocks.max(1));
        let start = |part: usize| self.channels.min(blocks * part / count * CHANNELS_OF_BLOCK);
        (0..count)
            .map(|part| start(part)..start(part + 1))
            .collect()
    }

    fn multiply_channels(&self, rows: &Rows<'_>, out: &mut Output<'_>, part: &Range<usize>) {
        assert_eq!(rows.segments.len(), self.segments, "all segments");
        assert!(rows.hold(self.segment_length()), "whole segments");
        assert!(out.holds(rows.count, self.channels), "room for all rows");
        let (channels, requantization) = ((self.channels, part), &self.requantization);
        match &self.packed {
            Packed::Reference(weights) => {
                reference::matrix(weights, self.segment, part, requantization, rows, out);
            }
            #[cfg(target_arch = "x86_64")]
            Packed::Avx2(weights) => {
                let quads = self.segment_length() / QUAD;
                // SAFETY: weights are packed for this instruction set only where it was detected, and
                // the rows hold as many quads.
                unsafe { avx2::matrix(weights, quads, channels, requantization, rows, out) }
            }
            #[cfg(target_arch = "x86_64")]
            Packed::Vnni(weights) => {
                let quads = self.segment_length() / QUAD;
                // SAFETY: as above.
                unsafe { vnni::matrix(weights, quads, channels, requantization, rows, out) }
            }
        }
    }
}

/// Weights by panel, then by quad of k, then by vector of the panel. `panels` has the number of
/// vectors of each, `lanes` the channel of every lane, and `quad` packs the weights of a vector. k that
/// fill up a segment, and lanes without channel, are zero.
#[cfg(target_arch = "x86_64")]
fn pack<Q: Pod>(
    weights: &[i8],
    [segments, segment]: [usize; 2],
    panels: &[usize],
    lanes: &[Option<usize>],
    quad: impl Fn(&[[i8; QUAD]; PANEL]) -> Q,
) -> Stored<Q> {
    let k = segments * segment;
    let count = lanes.len() / PANEL * segments * segment.div_ceil(QUAD);
    let mut lanes = lanes.as_chunks::<PANEL>().0;
    Stored::new(count, |packed| {
        let mut packed = packed.iter_mut();
        for &vectors in panels {
            let (panel, others) = lanes.split_at(vectors);
            lanes = others;
            for segment in (0..k).step_by(segment).map(|start| start..start + segment) {
                for first in segment.clone().step_by(QUAD) {
                    for lanes in panel {
                        let quad = quad(&lanes.map(|channel| {
                            let Some(channel) = channel else {
                                return [0; QUAD];
                            };
                            let rest = &weights[channel * k..][first..segment.end];
                            rest.first_chunk().copied().unwrap_or_else(|| {
                                let mut last = [0; QUAD];
                                last[..rest.len()].copy_from_slice(rest);
                                last
                            })
                        }));
                        if let Some(packed) = packed.next() {
                            *packed = quad;
                        }
                    }
                }
            }
        }
    })
}
