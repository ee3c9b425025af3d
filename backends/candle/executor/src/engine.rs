//! What all models of a process share.

use std::sync::Arc;

use firstpass_onnx::{EngineResult, Result};

use crate::{pool::Pool, settings::Settings};

/// The environment variable that candle asks into how many tasks it divides a product of matrices.
const TASKS: &str = "RAYON_NUM_THREADS";

/// Has candle divide every product of matrices of this process into as many tasks. It is otherwise as many as the
/// machine has cores.
///
/// # Safety
/// To be called while the process has one thread, as is the case when `main` begins: another could read
/// the environment at that moment.
pub unsafe fn divide_products(tasks: usize) {
    // SAFETY: the caller says that no other thread runs.
    unsafe { std::env::set_var(TASKS, tasks.to_string()) };
}

/// The threads that every pass runs on, and the settings of all models that it loads.
#[derive(Clone)]
pub struct Engine {
    /// `None` where every pass runs on the calling thread.
    pub(crate) pool: Option<Arc<Pool>>,
    pub(crate) settings: Settings,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// Fails where the threads cannot be started.
    pub fn new(settings: Settings) -> Result<Self> {
        let threads = settings.threads.max(1);
        // The calling thread needs no pool where candle does not divide its work either.
        let is_undivided = std::env::var(TASKS).is_ok_and(|tasks| tasks == "1");
        // A pool of the engine's own instead of rayon's global one: several engines may live in
        // one process, one after the other or side by side.
        let pool = if threads > 1 || !is_undivided {
            Some(Arc::new(Pool::new(threads).engine()?))
        } else {
            None
        };
        Ok(Self { pool, settings })
    }

    /// What was chosen.
    pub fn settings(&self) -> Settings {
        self.settings
    }
}
