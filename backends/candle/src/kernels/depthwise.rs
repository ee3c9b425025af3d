//! Convolution of every channel with weights of its own, requantized to u8.

use super::{Isa, Requantization, reference};

#[cfg(target_arch = "x86_64")]
use super::avx2;

/// For every tap of the window, the channels of the pixel that it reads.
pub type Taps<'a> = [&'a [u8]];

enum Packed {
    Reference {
        weights: Vec<i8>,
        requantization: Requantization,
    },
    #[cfg(target_arch = "x86_64")]
    Avx2 {
        weights: Vec<avx2::TapPair>,
        offsets: Vec<usize>,
        /// Of the blocks one after the other.
        requantization: Requantization,
    },
}

/// Weights packed for an instruction set.
pub struct Depthwise {
    packed: Packed,
    taps: usize,
    channels: usize,
}

impl Depthwise {
    /// Packs `weights`, which are `[channel][tap]`.
    pub fn pack(isa: Isa, weights: &[i8], taps: usize, requantization: &Requantization) -> Self {
        let channels = requantization.bias.len();
        assert_eq!(weights.len(), channels * taps, "weights are [channel][tap]");
        let packed = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512Vnni if channels >= avx2::BLOCK => {
                pack_blocks(weights, taps, requantization)
            }
            _ => Packed::Reference {
                weights: (0..taps)
                    .flat_map(|tap| weights.iter().skip(tap).step_by(taps).copied())
                    .collect(),
                requantization: requantization.clone(),
            },
        };
        Self {
            packed,
            taps,
            channels,
        }
    }

    /// Computes all channels of one pixel.
    pub fn pixel(&self, taps: &Taps<'_>, out: &mut [u8]) {
        assert_eq!(taps.len(), self.taps, "one slice a tap");
        assert_eq!(out.len(), self.channels, "all channels");
        match &self.packed {
            Packed::Reference {
                weights,
                requantization,
            } => reference::depthwise(weights, requantization, taps, out),
            #[cfg(target_arch = "x86_64")]
            Packed::Avx2 {
                weights,
                offsets,
                requantization,
            } => {
                // SAFETY: weights are packed for this instruction set only where it was detected.
                unsafe { avx2::depthwise(weights, offsets, requantization, taps, out) }
            }
        }
    }
}

/// Blocks of channels; where the channels are no multiple of a block, the last one overlaps the
/// one before and computes the same values again, so that no kernel reads beyond a pixel.
#[cfg(target_arch = "x86_64")]
fn pack_blocks(weights: &[i8], taps: usize, requantization: &Requantization) -> Packed {
    use avx2::{BLOCK, TapPair};

    let channels = requantization.bias.len();
    let offsets: Vec<usize> = (0..channels)
        .step_by(BLOCK)
        .map(|offset| offset.min(channels - BLOCK))
        .collect();
    let tap_weights = |offset: usize, tap: usize| -> [i8; BLOCK] {
        std::array::from_fn(|lane| {
            let channel = (offset + lane) * taps;
            if tap < taps {
                weights[channel + tap]
            } else {
                0
            }
        })
    };
    let pairs = offsets.iter().flat_map(|&offset| {
        (0..taps)
            .step_by(2)
            .map(move |tap| TapPair::new(&tap_weights(offset, tap), &tap_weights(offset, tap + 1)))
    });
    let weights = pairs.collect();
    let mut blocks = requantization.part(0..0, 0);
    for &offset in &offsets {
        let block = requantization.part(offset..offset + BLOCK, BLOCK);
        blocks.correction.extend(block.correction);
        blocks.bias.extend(block.bias);
        blocks.factor.extend(block.factor);
    }
    Packed::Avx2 {
        weights,
        offsets,
        requantization: blocks,
    }
}
