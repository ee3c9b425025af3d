//! Rows of u8 activations times a matrix of i8 weights, requantized to u8.

use super::{Isa, Requantization, reference};

#[cfg(target_arch = "x86_64")]
use super::{avx2, vnni};

/// Channels that the vector kernels compute together.
pub(super) const PANEL: usize = 16;
/// Activations that they multiply together.
pub(super) const QUAD: usize = 4;

/// Rows of activations, each `stride` after the one before.
pub struct Rows<'a> {
    pub values: &'a [u8],
    pub stride: usize,
    pub count: usize,
}

impl Rows<'_> {
    pub(super) fn row(&self, row: usize, length: usize) -> &[u8] {
        &self.values[row * self.stride..][..length]
    }
}

/// Rows of results, each `stride` after the one before.
pub struct Output<'a> {
    pub values: &'a mut [u8],
    pub stride: usize,
}

impl Output<'_> {
    pub(super) fn row(&mut self, row: usize, length: usize) -> &mut [u8] {
        &mut self.values[row * self.stride..][..length]
    }
}

enum Packed {
    Reference(Vec<i8>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Vec<avx2::Quad>),
    #[cfg(target_arch = "x86_64")]
    Vnni(Vec<vnni::Quad>),
}

/// Weights packed for an instruction set.
pub struct Matrix {
    packed: Packed,
    k: usize,
    channels: usize,
    requantization: Requantization,
}

impl Matrix {
    /// Packs `weights`, which are `[channel][k]`.
    pub fn pack(isa: Isa, weights: &[i8], k: usize, requantization: &Requantization) -> Self {
        let channels = requantization.bias.len();
        assert_eq!(weights.len(), channels * k, "weights are [channel][k]");
        let packed = match isa {
            Isa::Reference => Packed::Reference(weights.to_vec()),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Packed::Avx2(pack_panels(weights, k, avx2::Quad::new)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => Packed::Vnni(pack_panels(weights, k, vnni::Quad::new)),
        };
        Self {
            packed,
            k,
            channels,
            requantization: requantization.part(0..channels, channels.next_multiple_of(PANEL)),
        }
    }

    /// How many values of a row are read: those after the k-th count for nothing.
    pub fn row_length(&self) -> usize {
        self.k.next_multiple_of(QUAD)
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Computes `channels` values for every row. Both strides are in values.
    pub fn multiply(&self, rows: &Rows<'_>, out: &mut Output<'_>) {
        match &self.packed {
            Packed::Reference(weights) => {
                let requantization = &self.requantization;
                reference::matrix(weights, self.k, requantization, rows, out);
            }
            #[cfg(target_arch = "x86_64")]
            Packed::Avx2(panels) => {
                let length = self.row_length();
                // SAFETY: weights are packed for this instruction set only where it was detected.
                unsafe {
                    avx2::matrix(
                        panels,
                        length,
                        self.channels,
                        &self.requantization,
                        rows,
                        out,
                    );
                }
            }
            #[cfg(target_arch = "x86_64")]
            Packed::Vnni(panels) => {
                let length = self.row_length();
                // SAFETY: weights are packed for this instruction set only where it was detected.
                unsafe {
                    vnni::matrix(
                        panels,
                        length,
                        self.channels,
                        &self.requantization,
                        rows,
                        out,
                    );
                }
            }
        }
    }
}

/// Panels of [`PANEL`] channels, one after the other; in each the quads of k in order. `quad`
/// packs the weights of one quad, `[channel][k]`; missing channels and k are zero.
#[cfg(target_arch = "x86_64")]
fn pack_panels<Q>(weights: &[i8], k: usize, quad: impl Fn(&[[i8; QUAD]; PANEL]) -> Q) -> Vec<Q> {
    let panels = weights.len().div_ceil(PANEL * k);
    let mut packed = Vec::with_capacity(panels * k.div_ceil(QUAD));
    for panel in weights.chunks(PANEL * k) {
        let mut channels = [(&[][..], &[][..]); PANEL];
        for (channel, weights) in channels.iter_mut().zip(panel.chunks(k)) {
            *channel = weights.as_chunks::<QUAD>();
        }
        let mut block = [[0; QUAD]; PANEL];
        for whole in 0..k / QUAD {
            for (to, (quads, _)) in block.iter_mut().zip(&channels) {
                *to = quads.get(whole).copied().unwrap_or_default();
            }
            packed.push(quad(&block));
        }
        if !k.is_multiple_of(QUAD) {
            for (to, (_, rest)) in block.iter_mut().zip(&channels) {
                *to = [0; QUAD];
                to[..rest.len()].copy_from_slice(rest);
            }
            packed.push(quad(&block));
        }
    }
    packed
}
