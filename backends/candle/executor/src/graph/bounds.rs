//! What Relu and Clip leave.

/// The real numbers that an output may take: what Relu and Clip behind an operator leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub low: f32,
    pub high: f32,
}

impl Bounds {
    pub const NONE: Self = Self {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };

    /// Whether Relu leaves them, and nothing else.
    pub fn is_relu(self) -> bool {
        self.low == 0.0 && self.high == f32::INFINITY
    }

    /// The bounds after `next` is applied to values within these.
    pub fn then(self, next: Self) -> Self {
        Self {
            low: self.low.clamp(next.low, next.high),
            high: self.high.clamp(next.low, next.high),
        }
    }
}
