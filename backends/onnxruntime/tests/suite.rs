//! The shared suite on this backend.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_conformance::main::<firstpass_onnxruntime::OnnxRuntime>(
        env!("CARGO_BIN_EXE_firstpass-onnxruntime"),
        env!("CARGO_MANIFEST_DIR"),
    )
}
