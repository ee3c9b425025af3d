//! The process-wide and thread-local state of libtorch.

use std::{collections::BTreeMap, marker::PhantomData};

use firstpass_probe::{DENORMALS, DENORMALS_AS_ZERO, EngineInfo, Error, Knobs, Result};
use tch::{Device, Kind, Tensor, jit};

use super::{
    settings::{self, Executor},
    shim, torch_error,
};
use crate::knobs::{
    EXECUTOR, FREEZE, FUSION, INFERENCE, INTER_THREADS, OPTIMIZE, PREPARED, PROFILED_RUNS,
    PROFILING, QUANTIZED_ENGINE, TENSOR_EXPRESSIONS,
};

/// Proof that libtorch has started in this thread.
///
/// The number of threads and whether graphs are optimized are thread-local in libtorch, so what
/// is made of this must not leave the thread: it is not `Send`.
#[derive(Clone, Copy)]
pub struct Engine {
    pub(super) load: Load,
    _thread: PhantomData<*const ()>,
}

/// What is done to a module when it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// By a copy of the file that is frozen already.
    pub prepared: bool,
    pub freeze: bool,
    pub optimize_for_inference: bool,
}

impl Engine {
    pub(super) fn start(knobs: &Knobs) -> Result<Self> {
        let chosen = knobs.get(QUANTIZED_ENGINE).unwrap_or("fbgemm");
        settings::set_quantized_engine(chosen).map_err(|error| {
            error.context(format!("libtorch cannot use {chosen} on this processor"))
        })?;
        let threads = i32::try_from(knobs.threads())
            .map_err(|_| Error::unsupported("libtorch counts threads in 32 bits"))?;
        tch::set_num_threads(threads);
        let inter_threads = knobs.get(INTER_THREADS).map_or(Ok(1), str::parse)?;
        shim::set_inter_threads(inter_threads)?;
        set_executor(knobs)?;
        // Before the pool of threads starts, which inherits it.
        settings::set_flush_denormal(knobs.get(DENORMALS) == Some(DENORMALS_AS_ZERO))?;
        touch()?;
        let on = |name| knobs.get(name) == Some("on");
        Ok(Self {
            load: Load {
                prepared: knobs.get(PREPARED) == Some("frozen"),
                freeze: on(FREEZE),
                optimize_for_inference: on(INFERENCE),
            },
            _thread: PhantomData,
        })
    }
}

/// All are set either way: an earlier start in this process may have changed them.
fn set_executor(knobs: &Knobs) -> Result<()> {
    let on = |name| knobs.get(name) != Some("off");
    jit::f_set_graph_executor_optimize(on(OPTIMIZE)).map_err(torch_error)?;
    jit::f_set_profiling_mode(on(PROFILING)).map_err(torch_error)?;
    jit::f_set_tensor_expr_fuser_enabled(on(TENSOR_EXPRESSIONS)).map_err(torch_error)?;
    settings::set_profiled_runs(knobs.get(PROFILED_RUNS).map_or(Ok(1), str::parse)?)?;
    settings::set_executor(match knobs.get(EXECUTOR) {
        Some("legacy") => Executor::Legacy,
        _ => Executor::Profiling,
    })?;
    let (static_depth, dynamic_depth) = match knobs.get(FUSION) {
        Some("none") => (0, 0),
        Some("static") => (2, 0),
        Some("dynamic") => (0, 10),
        _ => (2, 10),
    };
    settings::set_fusion_strategy(static_depth, dynamic_depth)
}

/// Runs one operator that is large enough to be divided among the threads, so that dispatcher,
/// allocator and thread pool start here and not in the first pass.
fn touch() -> Result<()> {
    let ones = Tensor::f_ones([1 << 17], (Kind::Float, Device::Cpu)).map_err(torch_error)?;
    let sum = (&ones + &ones).f_sum(Kind::Float).map_err(torch_error)?;
    match sum.f_double_value(&[]).map_err(torch_error)? {
        262_144.0 => Ok(()),
        wrong => Err(Error::engine(format!(
            "libtorch adds 131072 times 1 + 1 and gets {wrong}"
        ))),
    }
}

/// The version of the library that is loaded.
pub(super) fn version() -> Result<String> {
    find_version(shim::describe()?.get("config").map_or("", String::as_str))
}

fn find_version(config: &str) -> Result<String> {
    setting(config, "TORCH_VERSION=")
        .ok_or_else(|| Error::engine("libtorch's own description names no version"))
}

pub(super) fn describe() -> Result<EngineInfo> {
    let mut details = shim::describe()?;
    let config = details.remove("config").unwrap_or_default();
    let mut info = EngineInfo::new(find_version(&config)?, env!("BINDING"));
    info.library = details.remove("library");
    details.extend(libraries(&config));
    info.details = details;
    Ok(info)
}

/// The value that follows `key` in libtorch's build settings, up to the next comma.
fn setting(config: &str, key: &str) -> Option<String> {
    let (_, rest) = config.split_once(key)?;
    rest.split([',', '\n'])
        .next()
        .map(|value| value.trim().to_string())
}

/// The lines in which libtorch names the libraries that it was built with.
fn libraries(config: &str) -> BTreeMap<String, String> {
    let named = [
        ("onednn", "MKL-DNN"),
        ("mkl", "Math Kernel Library"),
        ("openmp", "OpenMP"),
    ];
    named
        .into_iter()
        .filter_map(|(key, words)| {
            let line = config.lines().find(|line| line.contains(words))?;
            Some((
                key.to_string(),
                line.trim_start_matches([' ', '-']).to_string(),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "PyTorch built with:\n  - GCC 13.3\n  - OpenMP 201511 (a.k.a. OpenMP 4.5)\n  \
                          - Build settings: BLAS_INFO=mkl, TORCH_VERSION=2.13.0, USE_CUDA=ON, \n";

    #[test]
    fn reads_libtorchs_description_of_itself() {
        assert_eq!(setting(CONFIG, "TORCH_VERSION=").as_deref(), Some("2.13.0"));
        assert_eq!(setting(CONFIG, "NOTHING="), None);
        let libraries = libraries(CONFIG);
        assert_eq!(libraries["openmp"], "OpenMP 201511 (a.k.a. OpenMP 4.5)");
        assert_eq!(libraries.len(), 1);
    }
}
