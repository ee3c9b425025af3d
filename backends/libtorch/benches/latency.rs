//! The shared benchmarks on this backend.

fn main() {
    firstpass_conformance::bench::<firstpass_libtorch::Libtorch>(
        env!("CARGO_BIN_EXE_firstpass-libtorch"),
        env!("CARGO_MANIFEST_DIR"),
    );
}
