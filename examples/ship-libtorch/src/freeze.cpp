// Freezes a TorchScript module from file to file.

#include <cstddef>
#include <cstdio>
#include <exception>

#include <c10/util/Exception.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

extern "C" bool freeze(
    const char* from, const char* to, char* message, std::size_t size) noexcept {
  try {
    auto module = torch::jit::load(from);
    module.eval();
    torch::jit::freeze(module).save(to);
    return true;
  } catch (const c10::Error& error) {
    std::snprintf(message, size, "%s", error.what_without_backtrace());
    return false;
  } catch (const std::exception& error) {
    std::snprintf(message, size, "%s", error.what());
    return false;
  }
}
