//! The shared suite on this backend.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_conformance::main::<firstpass_candle::Candle>(
        env!("CARGO_BIN_EXE_firstpass-candle"),
        env!("CARGO_MANIFEST_DIR"),
    )
}
