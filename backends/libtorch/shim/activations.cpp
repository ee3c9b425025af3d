// The quantized tensors that a thread's operators compute.

#include <algorithm>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/function_schema.h>
#include <ATen/record_function.h>

#include "shim.h"

namespace {

struct Activation {
  std::string name;
  double scale;
  int64_t zero_point;
  // Dequantized, in row-major order: the engine's own may have the channels last.
  at::Tensor values;
  // Held, so that no later tensor takes its address: equal storage is the same memory.
  c10::Storage storage;
};

// `shape` has `rank` lengths, and there are `count` values.
using ActivationSink = void (*)(
    void* context,
    const char* name,
    double scale,
    int64_t zero_point,
    const int64_t* shape,
    size_t rank,
    const float* values,
    size_t count);

// The callbacks are added to one thread and called in it.
struct Recording {
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
  std::vector<Activation> activations;
  // How many calls have not ended.
  size_t open = 0;
  // What went wrong in a callback, from which libtorch swallows exceptions.
  std::string error;
};
thread_local Recording recording;

bool is_activation(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_quantized() && tensor.qscheme() == at::kPerTensorAffine;
}

// Whether the operator writes to what it was given.
bool writes_to_inputs(const at::RecordFunction& call) {
  const auto schema = call.operator_schema();
  return schema.has_value() && schema->is_mutable();
}

void record(const at::RecordFunction& call, const at::Tensor& tensor) {
  auto& known = recording.activations;
  const auto shares_memory = [&](const Activation& earlier) {
    return earlier.storage.is_alias_of(tensor.storage());
  };
  const bool is_known = std::any_of(known.begin(), known.end(), shares_memory);
  if (is_known && !writes_to_inputs(call)) {
    // A view of what is recorded already.
    return;
  }
  auto values = tensor.dequantize().contiguous();
  known.push_back({call.name(), tensor.q_scale(), tensor.q_zero_point(), values, tensor.storage()});
}

std::unique_ptr<at::ObserverContext> entered(const at::RecordFunction&) {
  ++recording.open;
  return nullptr;
}

void left(const at::RecordFunction& call, at::ObserverContext*) {
  // An operator that began before the recording may end in it, and what an operator calls is its own
  // affair: it allocates its result by an operator, and may copy its argument by another.
  if (recording.open == 0 || --recording.open > 0) {
    return;
  }
  // Copying runs operators as well, which are none of the model's.
  const at::DisableRecordFunctionGuard unrecorded;
  try {
    for (const auto& output : call.outputs()) {
      if (output.isTensor() && is_activation(output.toTensor())) {
        record(call, output.toTensor());
      }
    }
  } catch (const std::exception& error) {
    recording.error = error.what();
  }
}

} // namespace

extern "C" {

// Begins to record the tensors that are quantized with one scale and returned by this thread's
// operators, but not by those that another operator called. A view of a recorded one is none. Only
// one recording at a time in a thread.
bool firstpass_torch_activations_begin(void* context, ErrorSink failed) noexcept {
  return guarded(context, failed, [&] {
    TORCH_CHECK(
        recording.handle == at::INVALID_CALLBACK_HANDLE, "this thread is being recorded");
    recording = {};
    recording.handle = at::addThreadLocalCallback(
        at::RecordFunctionCallback(entered, left)
            .needsOutputs(true)
            .scopes({at::RecordScope::FUNCTION}));
  });
}

// Ends the recording, if there is one, and tells its tensors in the order in which they were computed.
bool firstpass_torch_activations_end(
    void* context, ActivationSink sink, ErrorSink failed) noexcept {
  return guarded(context, failed, [&] {
    if (recording.handle == at::INVALID_CALLBACK_HANDLE) {
      return;
    }
    at::removeCallback(recording.handle);
    const auto recorded = std::move(recording);
    recording = {};
    TORCH_CHECK(recorded.error.empty(), recorded.error);
    for (const auto& [name, scale, zero_point, values, storage] : recorded.activations) {
      const auto shape = values.sizes();
      sink(
          context,
          name.c_str(),
          scale,
          zero_point,
          shape.data(),
          shape.size(),
          values.const_data_ptr<float>(),
          static_cast<size_t>(values.numel()));
    }
  });
}

} // extern "C"
