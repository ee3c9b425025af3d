//! Runs model.onnx on its inputs in ONNX Runtime, the library that `ORT_DYLIB_PATH` names, and prints each output below what is expected.
use std::{error::Error, fs};

use ort::{session::Session, value::Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let environment = ort::init().build()?;
    let mut session = Session::builder(&environment)?
        .with_intra_threads(1)?
        .commit_from_file("model.onnx")?;
    let bytes = fs::read("input-0.bin")?;
    let values = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let input_0 = Tensor::from_array((vec![1, 1, 1, 1], values.collect::<Vec<f32>>()))?;
    let outputs = session.run(ort::inputs![
        "x" => input_0,
    ])?;
    let bytes = fs::read("expected-0.bin")?;
    let expected = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    println!("expected {:?}", expected.collect::<Vec<f32>>());
    let (_, got) = outputs["y"].try_extract_tensor::<f32>()?;
    println!("got      {got:?}");
    Ok(())
}
