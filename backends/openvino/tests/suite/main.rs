//! The shared suite on this backend, and its own tests, in one program: it links the engine once.

mod files;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    let own = settings::tests().into_iter().chain(files::tests());
    firstpass_conformance::main::<firstpass_openvino::OpenVino>(
        env!("CARGO_BIN_EXE_firstpass-openvino"),
        env!("CARGO_MANIFEST_DIR"),
        own,
    )
}
