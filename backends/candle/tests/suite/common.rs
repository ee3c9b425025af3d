//! The quantized fixtures and an input for them.

use std::path::{Path, PathBuf};

use firstpass_probe::{Format, Model, OutputSpec, Result, Tensor, TensorSpec};

pub fn faceboxes(name: &str) -> Model {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
    Model {
        name: name.into(),
        format: Format::ONNX,
        path: root.join(name).join("model.onnx"),
        inputs: vec![TensorSpec::f32("image", [1, 3, 480, 640])],
        outputs: vec![
            OutputSpec::new("loc", [1, 1200, 4]),
            OutputSpec::new("conf", [1200, 1]),
        ],
    }
}

/// Noise beyond the range of images: activations reach both ends of u8.
pub fn noise() -> Result<Tensor> {
    let mut state = 1_u32;
    let noise = (0..3 * 480 * 640).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 8.0 - 4.0
    });
    Tensor::new(&[1, 3, 480, 640], noise.collect::<Vec<f32>>())
}
