//! The settings of libtorch that matter to a scripted module.

use firstpass_probe::Knob;

pub(crate) const OPTIMIZE: &str = "graph-executor-optimize";
pub(crate) const PROFILING: &str = "profiling-mode";

pub(crate) fn declared() -> Vec<Knob> {
    vec![
        Knob::threads("intra-op threads, at::set_num_threads; inter-op threads are always 1"),
        Knob::choice(
            OPTIMIZE,
            &["on", "off"],
            "whether the executor of TorchScript optimizes graphs, setGraphExecutorOptimize",
        ),
        Knob::choice(
            PROFILING,
            &["on", "off"],
            "whether the executor profiles the first pass and optimizes again, getProfilingMode",
        ),
    ]
}
