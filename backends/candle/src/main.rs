//! The probe of candle.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_probe::run::<firstpass_candle::Candle>()
}
