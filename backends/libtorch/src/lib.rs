//! libtorch, through `tch`, as a Firstpass backend: the engine of PyTorch's own C++ programs.
//!
//! Links libtorch only with the feature `native`. Without it the package builds everywhere, and
//! the engine is reported as unavailable.

mod knobs;

#[cfg(not(feature = "native"))]
mod absent;
#[cfg(feature = "native")]
mod native;

#[cfg(feature = "native")]
pub use native::settings;

/// libtorch with TorchScript, its quantized engine being fbgemm.
pub struct Libtorch;
