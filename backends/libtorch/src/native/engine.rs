//! The process-wide and thread-local state of libtorch.

use std::{collections::BTreeMap, marker::PhantomData};

use firstpass_probe::{EngineInfo, Error, Knobs, Result};
use tch::{Device, Kind, QEngine, Tensor, jit};

use super::{shim, torch_error};
use crate::knobs::{OPTIMIZE, PROFILING};

/// Proof that libtorch has started in this thread.
///
/// The number of threads and whether graphs are optimized are thread-local in libtorch, so what
/// is made of this must not leave the thread: it is not `Send`.
#[derive(Clone, Copy)]
pub struct Engine(PhantomData<*const ()>);

impl Engine {
    pub(super) fn start(knobs: &Knobs) -> Result<Self> {
        QEngine::FBGEMM.set().map_err(|error| {
            torch_error(error).context("libtorch cannot use fbgemm on this processor")
        })?;
        let threads = i32::try_from(knobs.threads())
            .map_err(|_| Error::unsupported("libtorch counts threads in 32 bits"))?;
        tch::set_num_threads(threads);
        // libtorch refuses to be told twice in one process.
        if tch::get_num_interop_threads() != 1 {
            tch::set_num_interop_threads(1);
        }
        // Both are set either way: an earlier start in this process may have changed them.
        let on = |name| knobs.get(name) != Some("off");
        jit::f_set_graph_executor_optimize(on(OPTIMIZE)).map_err(torch_error)?;
        jit::f_set_profiling_mode(on(PROFILING)).map_err(torch_error)?;
        touch()?;
        Ok(Self(PhantomData))
    }
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

pub(super) fn describe() -> Result<EngineInfo> {
    let mut details = shim::describe()?;
    let config = details.remove("config").unwrap_or_default();
    let version = setting(&config, "TORCH_VERSION=")
        .ok_or_else(|| Error::engine("libtorch's own description names no version"))?;
    let library = details.remove("library");
    details.extend(libraries(&config));
    Ok(EngineInfo {
        version,
        binding: env!("BINDING").into(),
        library,
        details,
    })
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
