//! candle as published, through `candle-onnx`, as a Firstpass backend: what a user of candle has for an ONNX file.
//!
//! Links candle only with the feature `native`, because the build script of `candle-onnx` needs protoc. Without it the
//! package builds everywhere, and the engine is reported as unavailable.

#[cfg(not(feature = "native"))]
mod absent;
#[cfg(feature = "native")]
mod native;

use firstpass_probe::Knob;

#[cfg(feature = "native")]
pub use native::divide_as_requested;

/// candle with `candle_onnx::simple_eval`.
pub struct CandleOnnx;

fn knobs() -> Vec<Knob> {
    vec![Knob::threads(
        "threads of the pool that the pass runs in, and RAYON_NUM_THREADS, which candle asks into how many tasks it \
         divides products of matrices",
    )]
}
