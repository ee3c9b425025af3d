//! The settings of ONNX Runtime's sessions.

use std::path::Path;

use firstpass_probe::{DENORMALS, DENORMALS_AS_ZERO, Error, Knob, Knobs, Result};
use ort::{
    environment::Environment,
    ep,
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
};

use crate::{arena::Arena, optimizers::OPTIMIZERS, prepared::Form};

const OPTIMIZATION: &str = "graph-optimization";
const PREPARED_FILE: &str = "prepared-file";
const PREPACKING: &str = "prepacking";
const MEMORY_PATTERN: &str = "memory-pattern";
const ARENA: &str = "arena";
const INITIALIZERS: &str = "initializers";
const EXECUTION_MODE: &str = "execution-mode";
const SPINNING: &str = "spinning";
const EXACT: &str = "exact-int8";
const DISABLED: &str = "disabled-optimizers";

pub(crate) fn declared() -> Vec<Knob> {
    vec![
        Knob::threads("threads of the session's pool"),
        Knob::choice(
            OPTIMIZATION,
            &["all", "none", "basic", "extended"],
            "which graph optimizations the session applies when it is made",
        ),
        Knob::choice(
            PREPARED_FILE,
            &["off", "onnx", "ort", "ort-mapped", "prepacked"],
            "the optimized graph, saved once and loaded without optimization: as ONNX, in ORT's \
             format, the same mapped into memory, or as ONNX beside a mapped file of packed weights",
        ),
        Knob::choice(
            PREPACKING,
            &["on", "off"],
            "whether weights are laid out for the kernels at load, or in every pass",
        ),
        Knob::choice(
            MEMORY_PATTERN,
            &["on", "off"],
            "whether one block of memory is planned for all passes after the first",
        ),
        Knob::choice(
            ARENA,
            &["on", "off", "as-requested", "one-chunk"],
            "the arena of tensors: grows by powers of two, is absent (malloc), grows by what is \
             asked for, or starts with one chunk of 64 MiB",
        ),
        Knob::choice(
            INITIALIZERS,
            &["arena", "malloc"],
            "where weights are kept (session.use_device_allocator_for_initializers)",
        ),
        Knob::choice(
            EXECUTION_MODE,
            &["sequential", "parallel"],
            "whether the threads share each operator, or branches of the graph run side by side",
        ),
        Knob::choice(
            SPINNING,
            &["on", "off"],
            "whether threads without work spin before they sleep",
        ),
        Knob::choice(
            EXACT,
            &["off", "on"],
            "session.x64quantprecision: no 8-bit products in saturating 16-bit pairs",
        ),
        Knob::any(
            DISABLED,
            OPTIMIZERS,
            "optimization.disable_specified_optimizers: passes over the graph that are left out",
        ),
        Knob::denormals(
            "session.set_denormal_as_zero: whether floats too small for a full mantissa, which many \
             processors compute slowly, are taken as 0",
        ),
    ]
}

/// What a session is made for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Use<'a> {
    /// The file is optimized already.
    pub optimized: bool,
    /// Every pass is recorded, in a file whose name starts so.
    pub profile: Option<&'a Path>,
}

/// The knobs as a session takes them.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    knobs: Knobs,
}

impl Options {
    /// # Errors
    /// Fails on settings that cannot both be honoured.
    pub(crate) fn read(knobs: &Knobs) -> Result<Self> {
        let options = Self {
            knobs: knobs.clone(),
        };
        if options.form() == Some(Form::Prepacked) && options.is(PREPACKING, "off") {
            return Err(Error::unsupported(format!(
                "{PREPARED_FILE}=prepacked keeps packed weights, which {PREPACKING}=off forbids: \
                 set one of the two"
            )));
        }
        if options.is(EXECUTION_MODE, "parallel") && options.knobs.threads() < 2 {
            return Err(Error::unsupported(format!(
                "{EXECUTION_MODE}=parallel: with one thread ONNX Runtime runs sequentially all the \
                 same; set threads=2 or more"
            )));
        }
        Ok(options)
    }

    fn is(&self, knob: &str, value: &str) -> bool {
        self.knobs.get(knob) == Some(value)
    }

    /// The form in which the model is prepared ahead.
    pub(crate) fn form(&self) -> Option<Form> {
        match self.knobs.get(PREPARED_FILE) {
            Some("onnx") => Some(Form::Onnx),
            Some("ort") => Some(Form::Ort),
            Some("ort-mapped") => Some(Form::OrtMapped),
            Some("prepacked") => Some(Form::Prepacked),
            _ => None,
        }
    }

    /// What shapes a prepared file, besides its form.
    pub(crate) fn shaping(&self) -> [Option<&str>; 3] {
        [OPTIMIZATION, EXACT, DISABLED].map(|knob| self.knobs.get(knob))
    }

    /// An arena that belongs to the environment, where the session does not make its own.
    pub(crate) fn shared_arena(&self) -> Option<Arena> {
        match self.knobs.get(ARENA) {
            Some("as-requested") => Some(Arena::AsRequested),
            Some("one-chunk") => Some(Arena::OneChunk),
            _ => None,
        }
    }

    /// A builder with these options. What is not set is left alone, as in a program that does not
    /// know of it.
    pub(crate) fn builder(
        &self,
        environment: &Environment,
        wanted: Use<'_>,
    ) -> ort::Result<SessionBuilder> {
        let parallel = self.is(EXECUTION_MODE, "parallel");
        let threads = self.knobs.threads();
        // Operators side by side and threads within each would be more threads than were allowed.
        let (within, between) = if parallel { (1, threads) } else { (threads, 1) };
        let level = match self.knobs.get(OPTIMIZATION) {
            _ if wanted.optimized => GraphOptimizationLevel::Disable,
            Some("none") => GraphOptimizationLevel::Disable,
            Some("basic") => GraphOptimizationLevel::Level1,
            Some("extended") => GraphOptimizationLevel::Level2,
            _ => GraphOptimizationLevel::All,
        };
        let mut builder = Session::builder(environment)?
            .with_intra_threads(within)?
            .with_inter_threads(between)?
            .with_parallel_execution(parallel)?
            .with_optimization_level(level)?
            .with_memory_pattern(!self.is(MEMORY_PATTERN, "off"))?;
        if self.is(PREPACKING, "off") {
            builder = builder.with_prepacking(false)?;
        }
        if self.is(ARENA, "off") {
            let cpu = ep::CPU::default().with_arena_allocator(false).build();
            builder = builder.with_execution_providers([cpu])?;
        }
        if self.shared_arena().is_some() {
            builder = builder.with_env_allocators()?;
        }
        if self.is(INITIALIZERS, "malloc") {
            builder = builder.with_device_allocated_initializers()?;
        }
        if self.is(SPINNING, "off") {
            builder = builder
                .with_intra_op_spinning(false)?
                .with_inter_op_spinning(false)?;
        }
        if self.is(EXACT, "on") {
            builder = builder.with_precise_qmm()?;
        }
        if let Some(disabled) = self.knobs.get(DISABLED).filter(|words| *words != "none") {
            builder = builder.with_disabled_optimizers(disabled.replace(',', ";"))?;
        }
        if self.is(DENORMALS, DENORMALS_AS_ZERO) {
            builder = builder.with_config_entry("session.set_denormal_as_zero", "1")?;
        }
        if let Some(path) = wanted.profile {
            builder = builder.with_profiling(path)?;
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_exclude_each_other_are_refused() {
        for knobs in [
            Knobs::default()
                .with(PREPARED_FILE, "prepacked")
                .with(PREPACKING, "off"),
            Knobs::default().with(EXECUTION_MODE, "parallel"),
        ] {
            assert!(Options::read(&knobs).is_err(), "{knobs:?}");
        }
    }
}
