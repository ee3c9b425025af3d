//! The probe around libtorch.

fn main() -> std::process::ExitCode {
    firstpass_probe::run::<firstpass_libtorch::Libtorch>()
}
