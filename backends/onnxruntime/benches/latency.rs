//! The shared benchmarks on this backend.

fn main() {
    firstpass_conformance::bench::<firstpass_onnxruntime::OnnxRuntime>(
        env!("CARGO_BIN_EXE_firstpass-onnxruntime"),
        env!("CARGO_MANIFEST_DIR"),
    );
}
