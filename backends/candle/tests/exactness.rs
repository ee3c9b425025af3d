//! The quantized fixtures give the same bits with every instruction set and number of threads.

use std::path::{Path, PathBuf};

use firstpass_candle::{Candle, Engine, Isa, Settings};
use firstpass_probe::{Backend, Format, Model, Result, Tensor, TensorSpec};

fn model(name: &str, outputs: &[(&str, &[usize])]) -> Model {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: name.into(),
        shape: shape.to_vec(),
    };
    Model {
        name: name.into(),
        format: Format::Onnx,
        path: root.join(name).join("model.onnx"),
        input: spec("image", &[1, 3, 480, 640]),
        outputs: outputs
            .iter()
            .map(|(name, shape)| spec(name, shape))
            .collect(),
    }
}

fn engine(threads: usize, kernels: Isa) -> Result<Engine> {
    Engine::new(Settings {
        threads,
        kernels,
        ..Settings::default()
    })
}

#[test]
fn no_machine_changes_a_bit() -> Result<()> {
    let outputs: [(&str, &[usize]); 2] = [("loc", &[1, 1200, 4]), ("conf", &[1200, 1])];
    for name in ["faceboxes-int8-per-channel", "faceboxes-int8-per-tensor"] {
        let model = model(name, &outputs);
        // Noise beyond the range of images: activations reach both ends of u8.
        let mut state = 1_u32;
        let noise = (0..3 * 480 * 640).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 * 8.0 - 4.0
        });
        let input = Tensor::new(&model.input.shape, noise.collect())?;
        let run = |threads: usize, isa: Isa| -> Result<_> {
            let loaded = Candle::load(&engine(threads, isa)?, &model)?;
            Candle::pass(&mut Candle::prepare(&loaded, &input.shape)?, &input)
        };
        let expected = run(2, Isa::Reference)?;
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                assert!(
                    run(threads, isa)? == expected,
                    "{name}: {} on {threads} threads differs",
                    isa.name()
                );
            }
        }
    }
    Ok(())
}
