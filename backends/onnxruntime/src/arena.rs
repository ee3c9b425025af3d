//! Arenas that belong to the environment, which ort does not bind: only these can be told how to grow.

use std::{
    ffi::{CStr, c_char},
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use firstpass_probe::{EngineResult, Result};
use ort::{
    AsPointer,
    environment::Environment,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    sys::{OrtArenaCfg, OrtStatusPtr},
};

/// How an arena of the environment grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arena {
    /// By what is asked for (`kSameAsRequested`).
    AsRequested,
    /// By powers of two (`kNextPowerOfTwo`), of which the first is large enough for most detectors.
    OneChunk,
}

const ONE_CHUNK: usize = 64 << 20;

impl Arena {
    fn settings(self) -> Vec<(&'static CStr, usize)> {
        match self {
            Self::AsRequested => vec![(c"arena_extend_strategy", 1)],
            Self::OneChunk => vec![
                (c"arena_extend_strategy", 0),
                (c"initial_chunk_size_bytes", ONE_CHUNK),
            ],
        }
    }
}

/// The arena that the environment has now; sessions that were made with another keep theirs.
pub(crate) struct Registered {
    _current: MutexGuard<'static, Option<Arena>>,
}

impl Registered {
    /// Gives the environment this arena. No other can take its place while the result lives.
    pub(crate) fn new(environment: &Environment, arena: Arena) -> Result<Self> {
        static CURRENT: Mutex<Option<Arena>> = Mutex::new(None);
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != Some(arena) {
            if current.take().is_some() {
                unregister(environment)?;
            }
            register(environment, arena)?;
            *current = Some(arena);
        }
        Ok(Self { _current: current })
    }
}

fn memory() -> Result<MemoryInfo<'static>> {
    MemoryInfo::new(
        AllocationDevice::CPU,
        0,
        AllocatorType::Arena,
        MemoryType::Default,
    )
    .engine()
}

fn register(environment: &Environment, arena: Arena) -> Result<()> {
    let (keys, values): (Vec<*const c_char>, Vec<usize>) = arena
        .settings()
        .into_iter()
        .map(|(key, value)| (key.as_ptr(), value))
        .unzip();
    let memory = memory()?;
    let api = ort::api();
    let mut config: *mut OrtArenaCfg = ptr::null_mut();
    // SAFETY: both arrays have as many elements as is said, and the keys are constants. The
    // configuration is read before it is released. The environment locks itself. Each status comes
    // straight from the library.
    let registered = unsafe {
        let (keys, values, count) = (keys.as_ptr(), values.as_ptr(), values.len());
        check((api.CreateArenaCfgV2)(keys, values, count, &mut config))?;
        let environment = environment.ptr().cast_mut();
        let status = (api.CreateAndRegisterAllocator)(environment, memory.ptr(), config);
        (api.ReleaseArenaCfg)(config);
        check(status)
    };
    registered.map_err(|e| e.context("ONNX Runtime does not register an arena"))
}

fn unregister(environment: &Environment) -> Result<()> {
    let memory = memory()?;
    // SAFETY: the environment locks itself, and sessions that use the arena share its ownership. The
    // status comes straight from the library.
    let unregistered = unsafe {
        let environment = environment.ptr().cast_mut();
        check((ort::api().UnregisterAllocator)(environment, memory.ptr()))
    };
    unregistered.map_err(|e| e.context("ONNX Runtime does not give its arena up"))
}

/// # Safety
/// A function of the library has returned `status`, and nothing else takes it.
unsafe fn check(status: OrtStatusPtr) -> Result<()> {
    // SAFETY: the caller says so.
    unsafe { ort::Error::result_from_status(status) }.engine()
}
