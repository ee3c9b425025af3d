//! The probe around candle.

fn main() -> std::process::ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { firstpass_candle::divide_as_requested() };
    firstpass_probe::run::<firstpass_candle::Candle>()
}
