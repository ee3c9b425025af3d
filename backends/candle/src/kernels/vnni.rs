//! AVX-512 VNNI: `vpdpbusd` adds four products of u8 and i8 to an i32, without saturation.

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};

use super::{
    Requantization,
    matrix::{Output, PANEL, QUAD, Rows},
};

/// Rows that are computed together: with two panels, 16 accumulators and 3 operands of the 32
/// registers.
const ROWS: usize = 8;

/// The weights of four k for the channels of a panel, `[channel][k]`.
#[repr(C, align(64))]
pub struct Quad([[i8; QUAD]; PANEL]);

impl Quad {
    pub fn new(weights: &[[i8; QUAD]; PANEL]) -> Self {
        Self(*weights)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(&self) -> __m512i {
        // SAFETY: the array has 64 bytes and, by its type, their alignment.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }
}

/// See [`super::Matrix::multiply`]; `length` is the padded length of a row.
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn matrix(
    packed: &[Quad],
    length: usize,
    channels: usize,
    requantization: &Requantization,
    rows: &Rows<'_>,
    out: &mut Output<'_>,
) {
    let quads = length / QUAD;
    for first in (0..rows.count).step_by(ROWS) {
        let count = ROWS.min(rows.count - first);
        // A block that is not full computes its last row several times and writes it once.
        let block: [&[[u8; QUAD]]; ROWS] =
            std::array::from_fn(|i| rows.row(first + i.min(count - 1), length).as_chunks().0);
        let mut panels = packed.chunks_exact(quads);
        let mut channel = 0;
        while let Some(left) = panels.next() {
            let width = PANEL.min(channels - channel);
            if let Some(right) = panels.next() {
                let sums = products([left, right], &block);
                let right_channel = channel + PANEL;
                let right_width = PANEL.min(channels - right_channel);
                for (row, [left, right]) in sums[..count].iter().enumerate() {
                    let out = out.row(first + row, channels);
                    finish(requantization, channel, left, &mut out[channel..][..width]);
                    let out = &mut out[right_channel..][..right_width];
                    finish(requantization, right_channel, right, out);
                }
                channel = right_channel + PANEL;
            } else {
                let sums = products([left], &block);
                for (row, [left]) in sums[..count].iter().enumerate() {
                    let out = &mut out.row(first + row, channels)[channel..][..width];
                    finish(requantization, channel, left, out);
                }
                channel += PANEL;
            }
        }
    }
}

/// The sums of products of a block of rows with some panels: `[row][panel][channel]`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn products<const PANELS: usize>(
    panels: [&[Quad]; PANELS],
    block: &[&[[u8; QUAD]]; ROWS],
) -> [[[i32; PANEL]; PANELS]; ROWS] {
    let quads = block[0].len();
    let panels = panels.map(|panel| &panel[..quads]);
    let block = block.map(|row| &row[..quads]);
    let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
    for quad in 0..quads {
        let weights: [__m512i; PANELS] = std::array::from_fn(|panel| panels[panel][quad].load());
        for row in 0..ROWS {
            let activations = _mm512_set1_epi32(i32::from_le_bytes(block[row][quad]));
            for panel in 0..PANELS {
                sums[row][panel] =
                    _mm512_dpbusd_epi32(sums[row][panel], activations, weights[panel]);
            }
        }
    }
    sums.map(|row| {
        row.map(|sum| {
            let mut lanes = [0; PANEL];
            // SAFETY: the array has the 64 bytes of the register.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), sum) };
            lanes
        })
    })
}

/// Requantizes a panel; a full one in straight vector code.
#[inline]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl")]
fn finish(requantization: &Requantization, channel: usize, sums: &[i32; PANEL], out: &mut [u8]) {
    if let Ok(out) = <&mut [u8; PANEL]>::try_from(&mut *out) {
        requantization.apply(channel, sums, out);
    } else {
        requantization.apply(channel, sums, out);
    }
}
