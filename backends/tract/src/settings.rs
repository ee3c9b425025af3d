//! The knobs of tract.

use firstpass_probe::{Error, Knob, Knobs, Result};
use tract_onnx::{
    prelude::{RunOptions, TractResult},
    tract_core::knobs::KnobScope,
};

pub(crate) const OPTIMIZATION: &str = "optimization";
pub(crate) const PREPARED_FILE: &str = "prepared-file";
pub(crate) const DIRECT_CONVOLUTION: &str = "direct-convolution";
pub(crate) const IM2COL: &str = "im2col";
pub(crate) const ORDER: &str = "order";

pub(crate) fn knobs() -> Vec<Knob> {
    vec![
        Knob::threads(
            "threads of tract's default executor, which divides large matrix products and planes",
        ),
        Knob::choice(
            OPTIMIZATION,
            &["optimized", "decluttered", "typed"],
            "how far the graph is rewritten: to kernels of this CPU (into_optimized), only \
             simplified (into_decluttered), or not at all (into_typed)",
        ),
        Knob::choice(
            PREPARED_FILE,
            &["off", "onnx", "nnef"],
            "a file made before, at the first use: the model with its weights dequantized (onnx), \
             or tract's simplified graph for one shape of input (nnef)",
        ),
        Knob::choice(
            DIRECT_CONVOLUTION,
            &["on", "off"],
            "TRACT_DISABLE_DIRECT_SPATIAL: whether a convolution may be computed from the image \
             itself, or only as a product of matrices",
        ),
        Knob::choice(
            IM2COL,
            &["auto", "lazy", "eager"],
            "TRACT_LAZY_IM2COL_MIN_KERNEL and TRACT_LAZY_IM2COL_MAX_EAGER_BYTES: whether the \
             matrix of a convolution is gathered while it is multiplied, or written out before",
        ),
        Knob::choice(
            ORDER,
            &["small-memory", "simple"],
            "the order of operators: with few intermediate tensors alive, or depth first \
             (skip_order_opt_ram)",
        ),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Typed,
    Decluttered,
    Optimized,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreparedFile {
    Off,
    Onnx,
    Nnef,
}

/// What the knobs say of one model. Threads belong to the process.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) stage: Stage,
    pub(crate) prepared_file: PreparedFile,
    simple_order: bool,
    /// tract's own knobs, which it reads while it prepares a model.
    scope: Vec<(&'static str, &'static str)>,
}

impl Settings {
    pub(crate) fn of(knobs: &Knobs) -> Result<Self> {
        let mut scope = Vec::new();
        if knobs.get(DIRECT_CONVOLUTION) == Some("off") {
            scope.push(("TRACT_DISABLE_DIRECT_SPATIAL", "true"));
        }
        // A kernel of at least this many values, or a matrix of more than this many bytes, is lazy.
        let (kernel, bytes) = (
            "TRACT_LAZY_IM2COL_MIN_KERNEL",
            "TRACT_LAZY_IM2COL_MAX_EAGER_BYTES",
        );
        match knobs.get(IM2COL) {
            Some("lazy") => scope.extend([(kernel, "0"), (bytes, "0")]),
            Some("eager") => scope.extend([(kernel, "1000000000"), (bytes, "1000000000000")]),
            _ => {}
        }
        let settings = Self {
            stage: match knobs.get(OPTIMIZATION) {
                Some("typed") => Stage::Typed,
                Some("decluttered") => Stage::Decluttered,
                _ => Stage::Optimized,
            },
            prepared_file: match knobs.get(PREPARED_FILE) {
                Some("onnx") => PreparedFile::Onnx,
                Some("nnef") => PreparedFile::Nnef,
                _ => PreparedFile::Off,
            },
            simple_order: knobs.get(ORDER) == Some("simple"),
            scope,
        };
        if settings.stage == Stage::Typed && settings.prepared_file == PreparedFile::Nnef {
            return Err(Error::unsupported(format!(
                "{OPTIMIZATION}=typed and {PREPARED_FILE}=nnef exclude each other: the graph in \
                 the file is a decluttered one"
            )));
        }
        // Choosing kernels of convolutions is the last stage; before it these say nothing.
        if settings.stage != Stage::Optimized && !settings.scope.is_empty() {
            return Err(Error::unsupported(format!(
                "{DIRECT_CONVOLUTION} and {IM2COL} need {OPTIMIZATION}=optimized"
            )));
        }
        Ok(settings)
    }

    pub(crate) fn run_options(&self) -> RunOptions {
        RunOptions {
            skip_order_opt_ram: self.simple_order,
            ..RunOptions::default()
        }
    }

    /// Does `work` under tract's own knobs.
    pub(crate) fn scoped<T>(&self, work: impl FnOnce() -> TractResult<T>) -> TractResult<T> {
        KnobScope::new(self.scope.iter().copied())?.enter(work)
    }
}
