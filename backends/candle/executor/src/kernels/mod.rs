//! Kernels. Those on integers have a safe reference, which is the definition, and faster forms of it; those on floats are
//! in [`float`].
//!
//! Every form on integers accumulates the products exactly in 32 bits and shares the arithmetic of the
//! requantization, so that the instruction set never changes a result.

mod bytes;
mod channel_blocks;
mod depthwise;
mod elementwise;
mod gemm;
mod isa;
mod matrix;
mod panel;
mod reals;
mod reference;
mod requantization;
mod rows;
mod scaling;
#[cfg(test)]
mod tests;
mod tile;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub mod float;
#[cfg(target_arch = "x86_64")]
mod vbmi;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use bytes::{Channels, look_up};
pub use channel_blocks::Source;
pub use depthwise::{Depthwise, Input};
pub use elementwise::{add, channels_last, quantize};
pub use gemm::{Matrices, gemm};
pub use isa::Isa;
pub use matrix::Matrix;
pub use panel::{PANEL, QUAD};
pub use reals::{
    Integers, Mixture, Reals, Windows, average, largest_of_columns, maximum, mean_of_pixels, mix,
    multiply, multiply_channels,
};
pub use requantization::{MAX_PRODUCTS, Range, Requantization};
pub use rows::{Output, Rows};
pub use scaling::{Addition, Scaling};
pub use tile::Columns;
