//! The knobs of rten.

use std::sync::Arc;

use firstpass_probe::{Knob, Knobs};
use rten::{ModelOptions, RunOptions, ThreadPool};

const OPTIMIZATION: &str = "graph-optimization";
const PREPACKING: &str = "prepacking";

pub(crate) fn knobs() -> Vec<Knob> {
    vec![
        Knob::threads("threads of the pool that runs the model (RunOptions::with_thread_pool)"),
        Knob::choice(
            OPTIMIZATION,
            &["on", "off"],
            "whether operators are fused and constants folded at load \
             (ModelOptions::enable_optimization)",
        ),
        Knob::choice(
            PREPACKING,
            &["off", "on"],
            "whether weights are laid out for the kernels at load, or in every pass \
             (ModelOptions::prepack_weights)",
        ),
    ]
}

/// What the knobs say.
#[derive(Debug, Clone)]
pub struct Settings {
    pool: Arc<ThreadPool>,
    optimize: bool,
    prepack: bool,
}

impl Settings {
    pub(crate) fn of(knobs: &Knobs) -> Self {
        Self {
            pool: Arc::new(ThreadPool::with_num_threads(knobs.threads())),
            optimize: knobs.get(OPTIMIZATION) != Some("off"),
            prepack: knobs.get(PREPACKING) == Some("on"),
        }
    }

    pub(crate) fn model_options(&self) -> ModelOptions {
        let mut options = ModelOptions::with_all_ops();
        options
            .enable_optimization(self.optimize)
            .prepack_weights(self.prepack);
        options
    }

    pub(crate) fn run_options(&self) -> RunOptions {
        RunOptions::default().with_thread_pool(Some(self.pool.clone()))
    }
}
