//! The settings of libtorch that matter to a scripted module.

use firstpass_probe::Knob;

pub(crate) const OPTIMIZE: &str = "graph-executor-optimize";
pub(crate) const PROFILING: &str = "profiling-mode";
pub(crate) const PROFILED_RUNS: &str = "profiled-runs";
pub(crate) const EXECUTOR: &str = "executor";
pub(crate) const FUSION: &str = "fusion-strategy";
pub(crate) const TENSOR_EXPRESSIONS: &str = "tensor-expression-fuser";
pub(crate) const FREEZE: &str = "freeze";
pub(crate) const INFERENCE: &str = "optimize-for-inference";
pub(crate) const QUANTIZED_ENGINE: &str = "quantized-engine";
pub(crate) const INTER_THREADS: &str = "inter-threads";
pub(crate) const WAIT_POLICY: &str = "openmp-wait-policy";
pub(crate) const PREPARED: &str = "prepared-file";

pub(crate) fn declared() -> Vec<Knob> {
    vec![
        Knob::threads("intra-op threads, at::set_num_threads"),
        Knob::choice(
            OPTIMIZE,
            &["on", "off"],
            "whether the executor of TorchScript optimizes graphs, setGraphExecutorOptimize: a \
             setting of the thread that runs the passes",
        ),
        Knob::choice(
            PROFILING,
            &["on", "off"],
            "whether the executor profiles the first pass and optimizes again, getProfilingMode",
        ),
        Knob::choice(
            PROFILED_RUNS,
            &["1", "2", "0"],
            "how many passes are profiled before the graph is optimized by what they saw, \
             getNumProfiledRuns",
        ),
        Knob::choice(
            EXECUTOR,
            &["profiling", "legacy"],
            "legacy: the executor before profiling, getExecutorMode",
        ),
        Knob::choice(
            FUSION,
            &["static-dynamic", "none", "static", "dynamic"],
            "how often fusions are compiled for a shape (2) and for any shape (10), \
             setFusionStrategy; none: no profiling either",
        ),
        Knob::choice(
            TENSOR_EXPRESSIONS,
            &["on", "off"],
            "whether operators are fused by compiling tensor expressions, setTensorExprFuserEnabled",
        ),
        Knob::choice(
            FREEZE,
            &["off", "on"],
            "whether load turns attributes into constants and inlines all calls, torch::jit::freeze",
        ),
        Knob::choice(
            INFERENCE,
            &["off", "on"],
            "whether load freezes and then rewrites float operators for oneDNN, \
             torch::jit::optimize_for_inference",
        ),
        Knob::choice(
            QUANTIZED_ENGINE,
            &["fbgemm", "x86", "onednn", "qnnpack"],
            "the library of the quantized operators, for which load packs the weights",
        ),
        Knob::count(
            INTER_THREADS,
            "threads for operators beside each other, at::set_num_interop_threads",
        ),
        Knob::environment(
            WAIT_POLICY,
            "OMP_WAIT_POLICY",
            &[("passive", "passive"), ("active", "active")],
            "whether OpenMP's threads sleep between operators or spin",
        ),
        Knob::denormals(
            "whether floats too small for a full mantissa, which many processors compute slowly, are \
             taken as 0, setFlushDenormal: a setting of the thread that runs the passes, and of the \
             threads that it starts",
        ),
        Knob::choice(
            PREPARED,
            &["off", "frozen"],
            "frozen: load reads a copy of the file that was frozen and saved by an earlier start",
        ),
    ]
}
