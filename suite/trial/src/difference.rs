//! How far two quantized tensors are apart, in quantization steps.

use firstpass_probe::Tensor;
use serde::{Deserialize, Serialize};

/// How far two quantized tensors are apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub values: usize,
    /// The same quantization step.
    pub same: usize,
    pub most_steps: u64,
}

impl Difference {
    /// Of tensors of f32, dequantized with `scale`; one of another type differs in every value.
    pub fn between(reference: &Tensor, other: &Tensor, scale: f32) -> Self {
        match (reference.f32s(), other.f32s()) {
            (Ok(reference), Ok(other)) => Self::of(reference, other, scale),
            _ => Self {
                values: reference.data().len(),
                same: 0,
                most_steps: u64::MAX,
            },
        }
    }

    /// Of values that are dequantized with `scale`.
    pub fn of(reference: &[f32], other: &[f32], scale: f32) -> Self {
        let mut difference = Self {
            values: reference.len(),
            same: 0,
            most_steps: 0,
        };
        for (reference, other) in reference.iter().zip(other) {
            let steps = ((reference - other) / scale).abs().round();
            // What is no number is as far away as can be.
            let steps = if steps.is_finite() {
                steps as u64
            } else {
                u64::MAX
            };
            difference.same += usize::from(steps == 0);
            difference.most_steps = difference.most_steps.max(steps);
        }
        difference
    }

    pub fn is_none(&self) -> bool {
        self.same == self.values
    }

    /// The share of values that differ.
    pub fn share(&self) -> f64 {
        (self.values - self.same) as f64 / self.values.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_whole_steps() {
        let found = Difference::of(&[0.5, 1.0, -2.0], &[0.5, 1.5, -3.0], 0.5);
        assert_eq!((found.values, found.same, found.most_steps), (3, 1, 2));
        assert!(!found.is_none());
        assert!(Difference::of(&[1.0], &[1.0], 0.1).is_none());
        for other in [f32::NAN, f32::INFINITY] {
            let found = Difference::of(&[1.0], &[other], 0.1);
            assert_eq!((found.same, found.most_steps), (0, u64::MAX));
        }
    }
}
