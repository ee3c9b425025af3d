//! The shared benchmarks on this backend.

fn main() {
    firstpass_conformance::bench::<firstpass_candle::Candle>(
        env!("CARGO_BIN_EXE_firstpass-candle"),
        env!("CARGO_MANIFEST_DIR"),
    );
}
