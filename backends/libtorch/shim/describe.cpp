// What libtorch says of itself.

#include <dlfcn.h>

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <c10/core/QEngine.h>

#include "shim.h"

// Tells what the library that is loaded says of itself, in pairs.
extern "C" bool firstpass_torch_describe(void* context, PairSink sink, ErrorSink failed) noexcept {
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
