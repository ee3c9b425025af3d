//! What each knob of this backend is in a program that uses the crate `openvino` itself. The lines between
//! `knob` and `end` are those to copy.
//!
//! usage: settings-openvino MODEL.onnx [KNOB=VALUE …]

use std::error::Error;

use openvino::{Core, DeviceType, RwPropertyKey};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which model file?")?;
    let mut core = Core::new()?;
    for setting in arguments {
        match setting.split_once('=').unwrap_or_default() {
            ("threads", n) => {
                // knob threads=N
                core.set_property(&DeviceType::CPU, &RwPropertyKey::InferenceNumThreads, n)?;
                // end
            }
            ("inference-precision", "f32") => {
                // knob inference-precision=f32
                let precision = RwPropertyKey::HintInferencePrecision;
                core.set_property(&DeviceType::CPU, &precision, "f32")?;
                // end
            }
            ("inference-precision", "bf16") => {
                // knob inference-precision=bf16
                let precision = RwPropertyKey::HintInferencePrecision;
                core.set_property(&DeviceType::CPU, &precision, "bf16")?;
                // end
            }
            ("inference-precision", "f16") => {
                // knob inference-precision=f16
                let precision = RwPropertyKey::HintInferencePrecision;
                core.set_property(&DeviceType::CPU, &precision, "f16")?;
                // end
            }
            ("execution-mode", "accuracy") => {
                // knob execution-mode=accuracy
                let mode = RwPropertyKey::HintExecutionMode;
                core.set_property(&DeviceType::CPU, &mode, "ACCURACY")?;
                // end
            }
            ("performance-hint", "throughput") => {
                // knob performance-hint=throughput
                let hint = RwPropertyKey::HintPerformanceMode;
                core.set_property(&DeviceType::CPU, &hint, "THROUGHPUT")?;
                // end
            }
            ("prepared-file", "blob") => {
                // knob prepared-file=blob
                core.set_property(&DeviceType::CPU, &RwPropertyKey::CacheDir, "cache")?;
                // end
            }
            ("prepared-file", "small-blob") => {
                // knob prepared-file=small-blob
                core.set_property(&DeviceType::CPU, &RwPropertyKey::CacheDir, "cache")?;
                let mode = RwPropertyKey::CacheMode;
                core.set_property(&DeviceType::CPU, &mode, "OPTIMIZE_SIZE")?;
                // end
            }
            ("cpu-pinning", "off") => {
                // knob cpu-pinning=off
                let pinning = RwPropertyKey::HintEnableCpuPinning;
                core.set_property(&DeviceType::CPU, &pinning, "NO")?;
                // end
            }
            ("low-precision", "off") => {
                // knob low-precision=off
                let mode = RwPropertyKey::Other("LP_TRANSFORMS_MODE".into());
                core.set_property(&DeviceType::CPU, &mode, "NO")?;
                // end
            }
            _ => return Err(format!("{setting:?} is not a setting other than a default").into()),
        }
    }
    let model = core.read_model_from_file(&path, "")?;
    let mut compiled = core.compile_model(&model, DeviceType::CPU)?;
    let mut request = compiled.create_infer_request()?;
    request.infer()?;
    for at in 0..compiled.get_output_size()? {
        let output = request.get_output_tensor_by_index(at)?;
        println!("{:?}", output.get_shape()?.get_dimensions());
    }
    Ok(())
}
