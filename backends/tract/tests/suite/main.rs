//! The shared suite on this backend, and its own tests, in one program: it links the engine once.

mod files;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_conformance::main::<firstpass_tract::Tract>(
        env!("CARGO_BIN_EXE_firstpass-tract"),
        env!("CARGO_MANIFEST_DIR"),
        files::tests().into_iter().chain(settings::tests()),
    )
}
