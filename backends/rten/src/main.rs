//! The probe around rten.

fn main() -> std::process::ExitCode {
    firstpass_probe::run::<firstpass_rten::Rten>()
}
