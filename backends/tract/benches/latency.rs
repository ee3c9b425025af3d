//! The shared benchmarks on this backend.

fn main() {
    firstpass_conformance::bench::<firstpass_tract::Tract>(
        env!("CARGO_BIN_EXE_firstpass-tract"),
        env!("CARGO_MANIFEST_DIR"),
    );
}
