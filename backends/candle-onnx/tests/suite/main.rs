//! The shared suite on this backend.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_conformance::main::<firstpass_candle_onnx::CandleOnnx>(
        env!("CARGO_BIN_EXE_firstpass-candle-onnx"),
        env!("CARGO_MANIFEST_DIR"),
        [],
    )
}
