// The quantized tensors that a thread's operators compute.

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

// `shape` has `rank` lengths, whose product is the number of `values`.
using ActivationSink = void (*)(
    void* context,
    const char* name,
    double scale,
    int64_t zero_point,
    const int64_t* shape,
    size_t rank,
    const float* values);

// The callbacks are added to one thread and called in it.
struct Recording {
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
  std::vector<Activation> activations;
  // For each call that has not ended, how many activations there were when it began.
  std::vector<size_t> open;
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

void record(const at::RecordFunction& call, const at::Tensor& tensor, size_t before) {
  auto& known = recording.activations;
  for (size_t place = known.size(); place-- > 0;) {
    if (!known[place].storage.is_alias_of(tensor.storage())) {
      continue;
    }
    if (place >= before) {
      // An operator that this one called made it: to it alone the tensor was finished then.
      known.erase(known.begin() + static_cast<std::ptrdiff_t>(place));
    } else if (!writes_to_inputs(call)) {
      // A view of what is recorded already.
      return;
    }
    break;
  }
  auto values = tensor.dequantize().contiguous();
  known.push_back({call.name(), tensor.q_scale(), tensor.q_zero_point(), values, tensor.storage()});
}

std::unique_ptr<at::ObserverContext> entered(const at::RecordFunction&) {
  recording.open.push_back(recording.activations.size());
  return nullptr;
}

void left(const at::RecordFunction& call, at::ObserverContext*) {
  // An operator that began before the recording may end in it.
  if (recording.open.empty()) {
    return;
  }
  const auto before = recording.open.back();
  recording.open.pop_back();
  // Copying runs operators as well, which are none of the model's.
  const at::DisableRecordFunctionGuard unrecorded;
  try {
    for (const auto& output : call.outputs()) {
      if (output.isTensor() && is_activation(output.toTensor())) {
        record(call, output.toTensor(), before);
      }
    }
  } catch (const std::exception& error) {
    recording.error = error.what();
  }
}

} // namespace

extern "C" {

// Begins to record the tensors that this thread's operators return and that are quantized with one
// scale. A tensor that several return is recorded once: as the result of the outermost of the
// operators that called each other, and not again for a view of it. Only one recording at a time in
// a thread.
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

// Ends the recording, if there is one, and tells its tensors in the order in which they were finished.
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
          values.const_data_ptr<float>());
    }
  });
}

} // extern "C"
