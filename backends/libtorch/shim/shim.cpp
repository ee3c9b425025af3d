// What tch does not bind: what libtorch says of itself, and which operators one pass runs.
//
// Every function is noexcept: a C++ exception never reaches Rust. Text goes to the caller by
// callback, so that no memory changes hands.

#include <dlfcn.h>

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/record_function.h>
#include <c10/core/QEngine.h>

namespace {

// `context` is the caller's own.
using PairSink = void (*)(void* context, const char* key, const char* value);
using CallSink = void (*)(void* context, const char* name, size_t depth);
using ErrorSink = void (*)(void* context, const char* message);

template <class Work>
bool guarded(void* context, ErrorSink failed, Work work) noexcept {
  try {
    work();
    return true;
  } catch (const std::exception& error) {
    failed(context, error.what());
  } catch (...) {
    failed(context, "an exception that is no std::exception");
  }
  return false;
}

// One operator of a trace; calls lie in the order in which they began.
struct Call {
  std::string name;
  size_t depth;
};

// The callbacks are added to one thread and called in it.
struct Trace {
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
  std::vector<Call> calls;
  size_t depth = 0;
};
thread_local Trace trace;

std::unique_ptr<at::ObserverContext> entered(const at::RecordFunction& call) {
  trace.calls.push_back({call.name(), trace.depth});
  ++trace.depth;
  return nullptr;
}

void left(const at::RecordFunction&, at::ObserverContext*) {
  --trace.depth;
}

} // namespace

extern "C" {

// Tells what the library that is loaded says of itself, in pairs.
bool firstpass_torch_describe(void* context, PairSink sink, ErrorSink failed) noexcept {
  return guarded(context, failed, [&] {
    sink(context, "config", at::show_config().c_str());
    sink(context, "quantized-engine", c10::toString(at::globalContext().qEngine()).c_str());
    sink(context, "cpu-capability", at::get_cpu_capability().c_str());
    Dl_info file;
    const auto* symbol = reinterpret_cast<const void*>(&at::show_config);
    if (dladdr(symbol, &file) != 0 && file.dli_fname != nullptr) {
      sink(context, "library", file.dli_fname);
    }
  });
}

// Begins to record the operators that this thread runs. Only one trace at a time in a thread.
bool firstpass_torch_trace_begin(void* context, ErrorSink failed) noexcept {
  return guarded(context, failed, [&] {
    TORCH_CHECK(trace.handle == at::INVALID_CALLBACK_HANDLE, "this thread is being traced");
    trace.calls.clear();
    trace.depth = 0;
    trace.handle = at::addThreadLocalCallback(
        at::RecordFunctionCallback(entered, left).scopes({at::RecordScope::FUNCTION}));
  });
}

// Ends the trace, if there is one, and tells its calls in the order in which they began.
bool firstpass_torch_trace_end(void* context, CallSink sink, ErrorSink failed) noexcept {
  return guarded(context, failed, [&] {
    if (trace.handle == at::INVALID_CALLBACK_HANDLE) {
      return;
    }
    at::removeCallback(trace.handle);
    trace.handle = at::INVALID_CALLBACK_HANDLE;
    for (const auto& call : trace.calls) {
      sink(context, call.name.c_str(), call.depth);
    }
    trace.calls.clear();
  });
}

} // extern "C"
