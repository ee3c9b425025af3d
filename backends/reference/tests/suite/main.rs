//! The shared suite on this backend, and its own tests, in one program: it links the engine once.

mod frozen;
mod rules;

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_conformance::main::<firstpass_reference::Reference>(
        env!("CARGO_BIN_EXE_firstpass-reference"),
        env!("CARGO_MANIFEST_DIR"),
        rules::tests().into_iter().chain(frozen::tests()),
    )
}
