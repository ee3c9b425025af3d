//! Convolution on floats in vectors: every result is one chain of fused multiply-adds, from the bias on and in the
//! order of the weights. So neither the instruction set nor how the work is divided changes a bit.

mod blocks;
mod dense;
mod depthwise;
mod lanes;
mod lines;
mod panels;
#[cfg(test)]
mod tests;
mod tile;

pub use dense::{Dense, Finish, Shape};
pub use depthwise::Planes;
