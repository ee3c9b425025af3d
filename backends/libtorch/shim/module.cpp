// What tch does not do with a module: freeze it, optimize it, count its graphs, and say what it takes.

#include <string>

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

// The names of the fields of named tuples, by their places: `1.0` is the first of the second.
void fields(const c10::TypePtr& type, const std::string& place, void* context, PairSink sink) {
  const auto tuple = type->cast<c10::TupleType>();
  if (!tuple) {
    return;
  }
  const auto schema = tuple->schema();
  for (size_t index = 0; index < tuple->elements().size(); ++index) {
    const auto below = (place.empty() ? "" : place + ".") + std::to_string(index);
    if (schema) {
      sink(context, below.c_str(), schema->arguments().at(index).name().c_str());
    }
    fields(tuple->elements()[index], below, context, sink);
  }
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

// The arguments of `forward` behind `self`, in their order: name and type.
bool firstpass_torch_arguments(
    void* context, PairSink sink, ErrorSink failed, const Module* module) noexcept {
  return guarded(context, failed, [&] {
    const auto& schema = module->get_method("forward").function().getSchema();
    const auto& arguments = schema.arguments();
    for (size_t index = 1; index < arguments.size(); ++index) {
      const auto& argument = arguments[index];
      sink(context, argument.name().c_str(), argument.type()->str().c_str());
    }
  });
}

// The names of the fields of what `forward` returns, where these are named tuples.
bool firstpass_torch_fields(
    void* context, PairSink sink, ErrorSink failed, const Module* module) noexcept {
  return guarded(context, failed, [&] {
    for (const auto& returned : module->get_method("forward").function().getSchema().returns()) {
      fields(returned.type(), "", context, sink);
    }
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
