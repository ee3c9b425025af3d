//! The shared suite on this backend, and its own tests, in one program: it links the engine once.

#[cfg(feature = "native")]
mod activations;
#[cfg(feature = "native")]
mod knobs;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    let own = settings::tests().into_iter();
    #[cfg(feature = "native")]
    let own = own.chain(activations::tests()).chain(knobs::tests());
    firstpass_conformance::main::<firstpass_libtorch::Libtorch>(
        env!("CARGO_BIN_EXE_firstpass-libtorch"),
        env!("CARGO_MANIFEST_DIR"),
        own,
    )
}
