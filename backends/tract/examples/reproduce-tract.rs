//! Runs model.onnx on its inputs in tract and prints each output below what is expected.
use std::{error::Error, fs};

use tract_onnx::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let model = tract_onnx::onnx()
        .model_for_path("model.onnx")?
        .with_input_fact(0, f32::fact([1, 1, 1, 1]).into())?
        .into_optimized()?
        .into_runnable()?;
    let bytes = fs::read("input-0.bin")?;
    let values = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let input_0 = Tensor::from_shape(&[1, 1, 1, 1], &values.collect::<Vec<f32>>())?;
    let outputs = model.spawn()?.run(tvec![input_0.into()])?;
    let bytes = fs::read("expected-0.bin")?;
    let expected = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    println!("expected {:?}", expected.collect::<Vec<f32>>());
    let got = outputs[0].try_as_plain_ram()?;
    println!("got      {:?}", got.as_slice::<f32>()?);
    Ok(())
}
