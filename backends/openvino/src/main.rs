//! The probe around OpenVINO.

fn main() -> std::process::ExitCode {
    firstpass_probe::run::<firstpass_openvino::OpenVino>()
}
