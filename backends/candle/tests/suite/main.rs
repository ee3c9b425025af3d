//! The shared suite on this backend, and its own tests, in one program: it links the engine once.

mod common;
mod exactness;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    let own = exactness::tests().into_iter().chain(settings::tests());
    firstpass_conformance::main::<firstpass_candle::Candle>(
        env!("CARGO_BIN_EXE_firstpass-candle"),
        env!("CARGO_MANIFEST_DIR"),
        own,
    )
}
