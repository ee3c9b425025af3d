//! What the one knob of this backend is in a program that uses candle itself. The lines between `knob` and
//! `end` are those to copy.
//!
//! usage: settings-candle-onnx MODEL.onnx INPUT threads=N

use std::{collections::HashMap, error::Error};

use candle_core::{DType, Device, Tensor};

/// Height and width are those of the models of this workspace.
const SHAPE: [usize; 4] = [1, 3, 480, 640];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which model file?")?;
    let input = arguments.next().ok_or("which input?")?;
    if let Some(n) = arguments
        .next()
        .as_deref()
        .and_then(|s| s.strip_prefix("threads="))
    {
        // SAFETY: `main` has begun, and nothing has started a thread yet.
        // knob threads=N
        unsafe { std::env::set_var("RAYON_NUM_THREADS", n) };
        // end
    }
    let model = candle_onnx::read_file(path)?;
    let zeros = Tensor::zeros(&SHAPE, DType::F32, &Device::Cpu)?;
    for (name, output) in candle_onnx::simple_eval(&model, HashMap::from([(input, zeros)]))? {
        println!("{name}: {:?}", output.dims());
    }
    Ok(())
}
