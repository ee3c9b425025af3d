// What the functions of the shim share: callbacks to Rust, and the wall before it.
//
// Every function is noexcept: a C++ exception never reaches Rust. Text goes to the caller by
// callback, so that no memory changes hands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>

// `context` is the caller's own.
using PairSink = void (*)(void* context, const char* key, const char* value);
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
