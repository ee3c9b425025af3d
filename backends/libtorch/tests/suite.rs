//! The shared suite on this backend.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_conformance::main::<firstpass_libtorch::Libtorch>(
        env!("CARGO_BIN_EXE_firstpass-libtorch"),
        env!("CARGO_MANIFEST_DIR"),
    )
}
