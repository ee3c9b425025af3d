//! What tch does not bind, for programs that use tch.

use std::collections::BTreeMap;

use firstpass_probe::Result;
use tch::CModule;

use super::shim;

/// What runs the graphs of TorchScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// The default: profiles some passes and optimizes by what it saw.
    Profiling,
    /// The one before profiling, which optimizes for each kind of argument.
    Legacy,
}

/// The settings that hold in the calling thread, by libtorch's own getters.
///
/// # Errors
/// Where libtorch fails.
pub fn in_this_thread() -> Result<BTreeMap<String, String>> {
    shim::settings()
}

/// The nodes of the graph that the calling thread ran last, as its executor had made it.
///
/// # Errors
/// Where libtorch fails.
pub fn executed_graph_nodes() -> Result<usize> {
    shim::executed_nodes()
}

/// How many passes are profiled before a graph is optimized; by default 1. For the whole process.
///
/// # Errors
/// Where libtorch fails.
pub fn set_profiled_runs(runs: usize) -> Result<()> {
    shim::set_profiled_runs(runs)
}

/// Chooses the executor of all modules that have not run yet. For the whole process.
///
/// # Errors
/// Where libtorch fails.
pub fn set_executor(executor: Executor) -> Result<()> {
    shim::set_executor(executor == Executor::Profiling)
}

/// How often fusions are compiled for one shape, and then for any shape; by default 2 and 10. With
/// 0 and 0 nothing is profiled. For all modules of the process that have not run yet.
///
/// # Errors
/// Where libtorch fails.
pub fn set_fusion_strategy(static_depth: usize, dynamic_depth: usize) -> Result<()> {
    shim::set_fusion_strategy(static_depth, dynamic_depth)
}

/// Chooses among `fbgemm`, `x86`, `onednn` and `qnnpack`. To be called before modules are loaded,
/// which packs their weights for it.
///
/// # Errors
/// Where this build of libtorch, or this processor, does not support it.
pub fn set_quantized_engine(name: &str) -> Result<()> {
    shim::set_quantized_engine(name)
}

/// Whether denormal floats, which many processors compute slowly, are taken as 0; by default they are
/// not. For the calling thread and for those that it starts from then on, so that it is to be called
/// before the first operator.
///
/// # Errors
/// Where the processor cannot do it.
pub fn set_flush_denormal(flush: bool) -> Result<()> {
    shim::set_flush_denormal(flush)
}

/// Turns the attributes of a module in evaluation mode into constants and inlines all calls.
///
/// # Errors
/// Where libtorch cannot freeze the module.
pub fn freeze(module: &mut CModule) -> Result<()> {
    shim::freeze(module)
}

/// Freezes a module in evaluation mode, and rewrites its float operators for speed.
///
/// # Errors
/// Where libtorch cannot freeze the module.
pub fn optimize_for_inference(module: &mut CModule) -> Result<()> {
    shim::optimize_for_inference(module)
}
