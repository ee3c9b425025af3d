//! Every setting of this backend in a program of one's own.
//!
//! `cargo run --release -p firstpass-candle --example settings-candle -- MODEL.onnx INPUT OUTPUT`, with names of
//! the graph, and then settings such as `buffers=touched`.
//!
//! The executor is a crate of its own, `firstpass-executor`; its settings are fields of [`Settings`].

use std::env;

use firstpass_executor::{Buffers, Engine, Error, Isa, Packing, Result, Settings, Values};

/// Height and width are those of the models of this workspace.
const SHAPE: [usize; 4] = [1, 3, 480, 640];

fn set(settings: &mut Settings, setting: &str) -> Result<()> {
    match setting.split_once('=').unwrap_or((setting, "")) {
        ("threads", n) => {
            let n = n.parse()?;
            // knob threads=N
            settings.threads = n;
            // end
        }
        ("kernels", "reference") => {
            // knob kernels=reference
            settings.kernels = Isa::Reference;
            // end
        }
        ("kernels", "avx2") => {
            // knob kernels=avx2
            settings.kernels = Isa::named("avx2").ok_or_else(lacking)?;
            // end
        }
        ("kernels", "avx512-vnni") => {
            // knob kernels=avx512-vnni
            settings.kernels = Isa::named("avx512-vnni").ok_or_else(lacking)?;
            // end
        }
        ("buffers", "touched") => {
            // knob buffers=touched
            settings.buffers = Buffers::Touched;
            // end
        }
        ("buffers", "lazy") => {
            // knob buffers=lazy
            settings.buffers = Buffers::Lazy;
            // end
        }
        ("packing", "first-pass") => {
            // knob packing=first-pass
            settings.packing = Packing::FirstPass;
            // end
        }
        _ => return Err(Error::input(format!("there is no setting {setting}"))),
    }
    Ok(())
}

fn lacking() -> Error {
    Error::unsupported("this machine does not have the instruction set")
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [path, input, output, chosen @ ..] = &arguments[..] else {
        return Err(Error::input(
            "usage: settings-candle MODEL.onnx INPUT OUTPUT [SETTING=VALUE ...]",
        ));
    };
    let mut settings = Settings::default();
    for setting in chosen {
        set(&mut settings, setting)?;
    }
    let engine = Engine::new(settings)?;
    let model = engine.load_as(path.as_ref(), &[input], &[output])?;
    let mut prepared = model.prepare(&[SHAPE.to_vec()])?;
    let image = vec![0.5_f32; SHAPE.iter().product()];
    for output in prepared.run(&[Values::F32(&image)])? {
        println!("{:?}", output.shape());
    }
    Ok(())
}
