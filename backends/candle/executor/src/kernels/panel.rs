//! The weights that vector kernels multiply at once: a panel of channels by a quad of activations.

/// Channels of one vector of sums, or of two that are half as long.
pub const PANEL: usize = 16;

/// Activations that the vector kernels multiply together: they read whole ones.
pub const QUAD: usize = 4;
