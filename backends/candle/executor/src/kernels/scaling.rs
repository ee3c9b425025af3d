//! What is needed to add u8 tensors, and to quantize.

use super::requantization::Range;

/// How real numbers become steps of a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// Divided by the scale, as ONNX defines it.
    Over(f32),
    /// Multiplied by one over the scale, as fbgemm does.
    By(f32),
}

impl Scaling {
    pub fn apply(self, value: f32) -> f32 {
        match self {
            Self::Over(scale) => value / scale,
            Self::By(inverse) => value * inverse,
        }
    }
}

/// How the sum of two u8 tensors becomes u8.
#[derive(Debug, Clone, Copy)]
pub struct Addition {
    /// Of the operands, as are the zero points, which are bytes.
    pub scales: [f32; 2],
    pub zeros: [f32; 2],
    /// Of the output: it also says whose arithmetic is followed.
    pub scaling: Scaling,
    pub range: Range,
    /// What vector kernels may multiply by instead of dividing.
    pub(super) inverse: Option<[f32; 2]>,
}
