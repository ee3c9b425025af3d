// The settings that tch does not bind, and all of them as libtorch tells them.

#include <algorithm>
#include <string>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/QEngine.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include "shim.h"

using torch::jit::FusionBehavior;
using torch::jit::FusionStrategy;

namespace {

std::string lower_case(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return word;
}

std::string describe(const FusionStrategy& strategy) {
  std::string text;
  for (const auto& [behavior, depth] : strategy) {
    text += text.empty() ? "" : " ";
    text += behavior == FusionBehavior::STATIC ? "static-" : "dynamic-";
    text += std::to_string(depth);
  }
  return text;
}

} // namespace

extern "C" {

bool firstpass_torch_set_profiled_runs(void* context, ErrorSink failed, size_t runs) noexcept {
  return guarded(context, failed, [&] { torch::jit::getNumProfiledRuns() = runs; });
}

// An executor is made at the first pass of a module, and remains what it was made as.
bool firstpass_torch_set_executor(void* context, ErrorSink failed, bool profiling) noexcept {
  return guarded(context, failed, [&] { torch::jit::getExecutorMode() = profiling; });
}

// How often fusions may be specialised to shapes, and how often generalised after that.
bool firstpass_torch_set_fusion_strategy(
    void* context, ErrorSink failed, size_t static_depth, size_t dynamic_depth) noexcept {
  return guarded(context, failed, [&] {
    FusionStrategy strategy;
    if (static_depth > 0) {
      strategy.emplace_back(FusionBehavior::STATIC, static_depth);
    }
    if (dynamic_depth > 0) {
      strategy.emplace_back(FusionBehavior::DYNAMIC, dynamic_depth);
    }
    torch::jit::setFusionStrategy(strategy);
  });
}

bool firstpass_torch_set_quantized_engine(
    void* context, ErrorSink failed, const char* name) noexcept {
  return guarded(context, failed, [&] {
    // Not only those that are supported: setQEngine says itself what it does not support.
    for (const auto engine : {at::kFBGEMM, at::kX86, at::kONEDNN, at::kQNNPACK}) {
      if (lower_case(c10::toString(engine)) == name) {
        at::globalContext().setQEngine(engine);
        return;
      }
    }
    TORCH_CHECK(false, "libtorch knows no quantized engine ", name);
  });
}

// For the calling thread, and for those that it starts from now on.
bool firstpass_torch_set_flush_denormal(void* context, ErrorSink failed, bool flush) noexcept {
  return guarded(context, failed, [&] {
    TORCH_CHECK(
        at::globalContext().setFlushDenormal(flush) || !flush,
        "this processor cannot take denormal floats as 0");
  });
}

bool firstpass_torch_set_inter_threads(void* context, ErrorSink failed, int threads) noexcept {
  return guarded(context, failed, [&] {
    // It may be set once in a process, and not to what it already is.
    if (at::get_num_interop_threads() != threads) {
      at::set_num_interop_threads(threads);
    }
    TORCH_CHECK(
        at::get_num_interop_threads() == threads,
        "libtorch keeps its number of interop threads, ", at::get_num_interop_threads());
  });
}

// Tells what holds in the calling thread, by libtorch's own getters.
bool firstpass_torch_settings(void* context, PairSink sink, ErrorSink failed) noexcept {
  return guarded(context, failed, [&] {
    const auto tell = [&](const char* key, const std::string& value) {
      sink(context, key, value.c_str());
    };
    const auto on = [](bool value) { return value ? "on" : "off"; };
    tell("threads", std::to_string(at::get_num_threads()));
    tell("inter-threads", std::to_string(at::get_num_interop_threads()));
    tell("graph-executor-optimize", on(torch::jit::getGraphExecutorOptimize()));
    tell("profiling-mode", on(torch::jit::getProfilingMode()));
    tell("profiled-runs", std::to_string(torch::jit::getNumProfiledRuns()));
    tell("executor", torch::jit::IsNewExecutorEnabled() ? "profiling" : "legacy");
    tell("fusion-strategy", describe(torch::jit::getFusionStrategy()));
    tell("tensor-expression-fuser", on(torch::jit::tensorExprFuserEnabled()));
    tell("quantized-engine", lower_case(c10::toString(at::globalContext().qEngine())));
  });
}

} // extern "C"
