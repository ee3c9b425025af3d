//! The probe of the referee.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_probe::run::<firstpass_reference::Reference>()
}
