//! The probe around candle as published.

fn main() -> std::process::ExitCode {
    // SAFETY: nothing has started a thread yet.
    #[cfg(feature = "native")]
    unsafe {
        firstpass_candle_onnx::divide_as_requested();
    }
    firstpass_probe::run::<firstpass_candle_onnx::CandleOnnx>()
}
