//! The probe around tract.

fn main() -> std::process::ExitCode {
    firstpass_probe::run::<firstpass_tract::Tract>()
}
