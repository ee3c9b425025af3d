//! How u8 stand for real numbers.

/// Scale and zero point of a u8 tensor. One of i8 is held as u8, both it and its zero point 128
/// higher: it stands for the same real numbers, and is rounded and clamped alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantization {
    /// A normal positive number.
    pub scale: f32,
    pub zero: u8,
}

impl Quantization {
    /// One over the scale, which is what values are multiplied by.
    pub fn inverse_scale(&self) -> f32 {
        1.0 / self.scale
    }
}
