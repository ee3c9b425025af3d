//! A pass on zeros before the first real one, which moves what first passes cost to the start of a
//! program, where it may matter less.

use crate::{Backend, Knob, Knobs, Model, Result, Tensor, TensorSpec};

/// The knob that asks for it.
pub const WARM_UP: &str = "warm-up";

/// Small inputs have this share of the height and width, rounded up to [`MULTIPLE`].
const SHARE: usize = 4;

/// Detectors divide their input by powers of two, and some only take multiples of 32.
const MULTIPLE: usize = 32;

/// On what a model is run before its first real pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarmUp {
    /// Zeros of the shape of the model.
    Full,
    /// Zeros of a quarter of the height and width.
    Small,
}

pub(crate) fn knob() -> Knob {
    Knob::choice(
        WARM_UP,
        &["none", "full", "small"],
        "a pass on zeros before the first real one, of the shape of the model or of a quarter of \
         its height and width",
    )
}

impl WarmUp {
    pub fn of(knobs: &Knobs) -> Option<Self> {
        match knobs.get(WARM_UP) {
            Some("full") => Some(Self::Full),
            Some("small") => Some(Self::Small),
            _ => None,
        }
    }

    /// Runs it. A small pass needs a model of its own, prepared for those shapes.
    pub fn run<B: Backend>(
        self,
        loaded: &B::Loaded,
        prepared: &mut B::Prepared,
        model: &Model,
    ) -> Result<()> {
        match self {
            Self::Full => B::pass(prepared, &zeros(&model.inputs)?).map(drop),
            Self::Small => {
                let mut inputs = model.inputs.clone();
                for input in &mut inputs {
                    input.shape = small(&input.shape);
                }
                let shapes: Vec<_> = inputs.iter().map(|input| input.shape.clone()).collect();
                B::pass(&mut B::prepare(loaded, &shapes)?, &zeros(&inputs)?).map(drop)
            }
        }
    }
}

fn zeros(inputs: &[TensorSpec]) -> Result<Vec<Tensor>> {
    inputs.iter().map(Tensor::zeros).collect()
}

/// The shape with its last two axes made smaller; never larger than it was.
fn small(shape: &[usize]) -> Vec<usize> {
    let spatial = shape.len().saturating_sub(2);
    let axes = shape.iter().enumerate();
    axes.map(|(axis, &length)| {
        if axis < spatial {
            length
        } else {
            (length / SHARE)
                .next_multiple_of(MULTIPLE)
                .clamp(1, length.max(1))
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_shapes_are_smaller_and_never_empty() {
        assert_eq!(small(&[1, 3, 480, 640]), [1, 3, 128, 160]);
        assert_eq!(small(&[1, 3, 20, 20]), [1, 3, 20, 20]);
        assert_eq!(small(&[10]), [10]);
    }
}
