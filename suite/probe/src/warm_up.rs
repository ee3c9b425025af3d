//! Passes on zeros before the first real one, which move what first passes cost to the start of a
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
    /// Zeros of the shape of the model, so many times.
    Full(usize),
    /// Zeros of a quarter of the height and width, once.
    Small,
}

/// Every value of the knob with the passes on zeros of the shape of the model that it asks for.
const FULL: [(&str, usize); 3] = [("full", 1), ("full-2", 2), ("full-3", 3)];

pub(crate) fn knob() -> Knob {
    let full = FULL.iter().map(|(word, _)| *word);
    let words: Vec<&str> = ["none"].into_iter().chain(full).chain(["small"]).collect();
    Knob::choice(
        WARM_UP,
        &words,
        "passes on zeros before the first real one: one, two or three of the shape of the model, or \
         one of a quarter of its height and width",
    )
}

/// How many passes on zeros of the model's own shape these settings ask for before the first real one;
/// `None` where they ask for a pass of a smaller shape.
pub fn warm_up_passes(knobs: &Knobs) -> Option<usize> {
    match WarmUp::of(knobs) {
        None => Some(0),
        Some(WarmUp::Full(passes)) => Some(passes),
        Some(WarmUp::Small) => None,
    }
}

impl WarmUp {
    pub fn of(knobs: &Knobs) -> Option<Self> {
        match knobs.get(WARM_UP)? {
            "small" => Some(Self::Small),
            word => {
                let full = FULL.iter().find(|(full, _)| *full == word)?;
                Some(Self::Full(full.1))
            }
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
            Self::Full(passes) => {
                let zeros = zeros(&model.inputs)?;
                (0..passes).try_for_each(|_| B::pass(prepared, &zeros).map(drop))
            }
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
    use crate::{EngineInfo, Format, Tensors};

    #[test]
    fn every_value_of_the_knob_is_honoured() {
        let passes = |word: &str| warm_up_passes(&Knobs::default().with(WARM_UP, word));
        let by_word: Vec<Option<usize>> = knob().words().iter().map(|w| passes(w)).collect();
        assert_eq!(by_word, [Some(0), Some(1), Some(2), Some(3), None]);
        assert_eq!(warm_up_passes(&Knobs::default()), Some(0));
    }

    /// An engine that counts its passes in what it prepared.
    struct Counting;

    impl Backend for Counting {
        const NAME: &'static str = "counting";
        const FORMATS: &'static [Format] = &[];
        type Engine = ();
        type Loaded = ();
        type Prepared = usize;

        fn knobs() -> Vec<Knob> {
            Vec::new()
        }

        fn start(_: &Knobs) -> Result<()> {
            Ok(())
        }

        fn describe((): &()) -> Result<EngineInfo> {
            Ok(EngineInfo::new("1", "none"))
        }

        fn load((): &(), _: &Model) -> Result<()> {
            Ok(())
        }

        fn prepare((): &(), _: &[Vec<usize>]) -> Result<usize> {
            Ok(0)
        }

        fn pass(passes: &mut usize, inputs: &[Tensor]) -> Result<Tensors> {
            *passes += 1;
            Ok(inputs.to_vec())
        }
    }

    #[test]
    fn so_many_passes_are_run_on_what_is_used_later() -> Result<()> {
        let model = Model {
            name: "none".into(),
            format: Format::ONNX,
            path: "none".into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        for (word, expected) in [("full", 1), ("full-2", 2), ("full-3", 3), ("small", 0)] {
            let mut passes = 0;
            let warm_up = WarmUp::of(&Knobs::default().with(WARM_UP, word));
            if let Some(warm_up) = warm_up {
                warm_up.run::<Counting>(&(), &mut passes, &model)?;
            }
            assert_eq!((word, passes), (word, expected));
        }
        Ok(())
    }

    #[test]
    fn small_shapes_are_smaller_and_never_empty() {
        assert_eq!(small(&[1, 3, 480, 640]), [1, 3, 128, 160]);
        assert_eq!(small(&[1, 3, 20, 20]), [1, 3, 20, 20]);
        assert_eq!(small(&[10]), [10]);
    }
}
