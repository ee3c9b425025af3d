// Which operators a thread runs, and what each takes.

#include <sys/resource.h>
#include <time.h>

#include <memory>
#include <string>
#include <vector>

#include <ATen/record_function.h>

#include "shim.h"

namespace {

// Calls lie in the order in which they began.
struct Call {
  std::string name;
  size_t depth;
  // With the operators that it called.
  uint64_t wall_ns;
  uint64_t minor_faults;
};

using CallSink = void (*)(
    void* context, const char* name, size_t depth, uint64_t wall_ns, uint64_t minor_faults);

// The callbacks are added to one thread and called in it.
struct Trace {
  at::CallbackHandle handle = at::INVALID_CALLBACK_HANDLE;
  std::vector<Call> calls;
  // Indices of the calls that have not ended.
  std::vector<size_t> open;
};
thread_local Trace trace;

// The clock of every trial.
uint64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// Of the whole process: an operator's other threads work only while it runs.
uint64_t minor_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_minflt);
}

// Until an operator ends, its entry holds what clock and counter showed when it began. The clock is
// read last here and first in `left`, so that the counter's own time is no operator's.
std::unique_ptr<at::ObserverContext> entered(const at::RecordFunction& call) {
  trace.calls.push_back({call.name(), trace.open.size(), 0, 0});
  trace.open.push_back(trace.calls.size() - 1);
  auto& entry = trace.calls.back();
  entry.minor_faults = minor_faults();
  entry.wall_ns = now_ns();
  return nullptr;
}

void left(const at::RecordFunction&, at::ObserverContext*) {
  const auto now = now_ns();
  // An operator that began before the trace may end in it.
  if (trace.open.empty()) {
    return;
  }
  auto& entry = trace.calls[trace.open.back()];
  trace.open.pop_back();
  entry.wall_ns = now - entry.wall_ns;
  entry.minor_faults = minor_faults() - entry.minor_faults;
}

} // namespace

extern "C" {

// Begins to record the operators that this thread runs. Only one trace at a time in a thread.
bool firstpass_torch_trace_begin(void* context, ErrorSink failed) noexcept {
  return guarded(context, failed, [&] {
    TORCH_CHECK(trace.handle == at::INVALID_CALLBACK_HANDLE, "this thread is being traced");
    // Touched as well: to grow among the calls of a pass would be counted as theirs.
    trace.calls.resize(1 << 14);
    trace.calls.clear();
    trace.open.clear();
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
      sink(context, call.name.c_str(), call.depth, call.wall_ns, call.minor_faults);
    }
    trace.calls.clear();
  });
}

} // extern "C"
