//! The probe around ONNX Runtime.

fn main() -> std::process::ExitCode {
    firstpass_probe::run::<firstpass_onnxruntime::OnnxRuntime>()
}
