//! The shared suite on this backend, and its own tests, in one program: it links the engine once.

mod files;
mod knobs;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    let own = knobs::tests().into_iter().chain(settings::tests());
    let own = own.chain(files::tests());
    firstpass_conformance::main::<firstpass_onnxruntime::OnnxRuntime>(
        env!("CARGO_BIN_EXE_firstpass-onnxruntime"),
        env!("CARGO_MANIFEST_DIR"),
        own,
    )
}
