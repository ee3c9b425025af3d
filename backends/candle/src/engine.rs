//! What all models of a process share.

use std::sync::Arc;

use firstpass_probe::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{kernels::Isa, settings::Settings};

/// The threads that every pass runs on, and the settings of all models that it loads.
#[derive(Clone)]
pub struct Engine {
    /// `None` for one thread, which is the calling one.
    pub(crate) pool: Option<Arc<ThreadPool>>,
    pub(crate) settings: Settings,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// Fails where the instruction set is not available or the threads cannot be started.
    pub fn new(settings: Settings) -> Result<Self> {
        let Settings {
            threads, kernels, ..
        } = settings;
        if !Isa::available().contains(&kernels) {
            return Err(Error::unsupported(format!(
                "this machine has no {}",
                kernels.name()
            )));
        }
        // candle asks the environment into how many tasks it divides a product of matrices.
        // SAFETY: the standard library locks the environment, and no code in this process reads
        // it in another way: candle, gemm and rayon are Rust.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
        // A pool of the engine's own instead of rayon's global one: several engines may live in
        // one process, one after the other or side by side.
        let pool = if threads > 1 {
            let pool = ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|number| format!("candle-{number}"))
                .build()?;
            Some(Arc::new(pool))
        } else {
            None
        };
        Ok(Self { pool, settings })
    }
}
