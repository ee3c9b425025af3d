//! The settings of ONNX Runtime's sessions.

use std::path::Path;

use firstpass_probe::{Error, Knob, Knobs, Result};
use ort::{
    environment::Environment,
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
};

const OPTIMIZATION: &str = "graph-optimization";
const MEMORY_PATTERN: &str = "memory-pattern";
const EXACT: &str = "exact-int8";

pub(crate) fn declared() -> Vec<Knob> {
    vec![
        Knob::threads("threads of the session's intra-op pool; operators run one after the other"),
        Knob::choice(
            OPTIMIZATION,
            &["all", "none", "basic", "extended"],
            "which graph optimizations the session applies when it is made",
        ),
        Knob::choice(
            MEMORY_PATTERN,
            &["on", "off"],
            "whether one block of memory is planned for all passes after the first",
        ),
        Knob::choice(
            EXACT,
            &["off", "on"],
            "session.x64quantprecision: no 8-bit products in saturating 16-bit pairs",
        ),
    ]
}

/// The knobs as a session takes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    threads: usize,
    optimization: Optimization,
    memory_pattern: bool,
    exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Optimization {
    All,
    None,
    Basic,
    Extended,
}

impl Options {
    pub(crate) fn read(knobs: &Knobs) -> Result<Self> {
        Ok(Self {
            threads: knobs.threads(),
            optimization: match knobs.get(OPTIMIZATION) {
                None | Some("all") => Optimization::All,
                Some("none") => Optimization::None,
                Some("basic") => Optimization::Basic,
                Some("extended") => Optimization::Extended,
                Some(other) => {
                    return Err(Error::unsupported(format!(
                        "knob {OPTIMIZATION} has no value {other}"
                    )));
                }
            },
            memory_pattern: knobs.get(MEMORY_PATTERN) != Some("off"),
            exact: knobs.get(EXACT) == Some("on"),
        })
    }

    /// A builder with these options, which also records every pass where `profile` says so.
    pub(crate) fn builder(
        &self,
        environment: &Environment,
        profile: Option<&Path>,
    ) -> Result<SessionBuilder> {
        let level = match self.optimization {
            Optimization::All => GraphOptimizationLevel::All,
            Optimization::None => GraphOptimizationLevel::Disable,
            Optimization::Basic => GraphOptimizationLevel::Level1,
            Optimization::Extended => GraphOptimizationLevel::Level2,
        };
        let mut builder = Session::builder(environment)?
            .with_intra_threads(self.threads)?
            .with_inter_threads(1)?
            .with_optimization_level(level)?
            .with_memory_pattern(self.memory_pattern)?;
        if self.exact {
            builder = builder.with_precise_qmm()?;
        }
        if let Some(path) = profile {
            builder = builder.with_profiling(path)?;
        }
        Ok(builder)
    }
}
