// What tch does not do with a module: freeze it, optimize it, and count its graphs.

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include "shim.h"

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::GraphOptimizerEnabledGuard;
using torch::jit::Module;

namespace {

// With those in nested blocks: the branches of an `if` and the bodies of loops.
size_t nodes(const Block* block) {
  size_t count = 0;
  for (const auto* node : block->nodes()) {
    ++count;
    for (const auto* nested : node->blocks()) {
      count += nodes(nested);
    }
  }
  return count;
}

// Only in a thread that optimizes graphs are the calls within calls inlined. Freezing goes on without
// and gives a module that cannot run.
struct Inlining : GraphOptimizerEnabledGuard {
  Inlining() : GraphOptimizerEnabledGuard(true) {}
};

} // namespace

extern "C" {

// Replaces the module: its owner keeps the pointer.
bool firstpass_torch_freeze(void* context, ErrorSink failed, Module* module) noexcept {
  return guarded(context, failed, [&] {
    const Inlining inlining;
    *module = torch::jit::freeze(*module);
  });
}

// Freezes as well what is not frozen yet.
bool firstpass_torch_optimize_for_inference(
    void* context, ErrorSink failed, Module* module) noexcept {
  return guarded(context, failed, [&] {
    const Inlining inlining;
    *module = torch::jit::optimize_for_inference(*module);
  });
}

// The nodes of `forward` with all that it calls. To be asked of a module that has not run and will
// not: functions keep the form in which they were first needed, inlined here and not where a thread
// ran them without optimizing.
bool firstpass_torch_graph_nodes(
    void* context, ErrorSink failed, const Module* module, size_t* count) noexcept {
  return guarded(context, failed, [&] {
    const Inlining inlining;
    const auto graph = module->get_method("forward").graph()->copy();
    torch::jit::Inline(*graph);
    *count = nodes(graph->block());
  });
}

// The nodes of the graph that this thread ran last, as its executor had made it; 0 for none.
bool firstpass_torch_executed_nodes(void* context, ErrorSink failed, size_t* count) noexcept {
  return guarded(context, failed, [&] {
    const std::shared_ptr<Graph> graph = torch::jit::lastExecutedOptimizedGraph();
    *count = graph ? nodes(graph->block()) : 0;
  });
}

} // extern "C"
