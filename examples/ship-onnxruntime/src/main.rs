//! ONNX Runtime as a service runs it: loads, warms up, and finds the faces in a photograph.
//!
//! `ship-onnxruntime MODEL.onnx PHOTO` prints a line for each face: its score, and its box in pixels. The library
//! is the one that `ORT_DYLIB_PATH` names.

use std::{env, error::Error, path::PathBuf};

use faces::{Photo, SHAPE};
use ort::{session::Session, value::TensorRef};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().ok_or("name a model and a photograph")?;
    let photo = arguments.next().ok_or("name a photograph")?;

    let environment = ort::init().with_telemetry(false).build()?;
    let mut session = Session::builder(&environment)?
        .with_intra_threads(1)?
        .commit_from_file(&model)?;
    // The arena grows in the first two passes: here, before anybody waits.
    for _ in 0..2 {
        pass(&mut session, &vec![0.0; SHAPE.iter().product()])?;
    }

    let photo = Photo::read(&photo)?;
    let [loc, conf] = pass(&mut session, &photo.input)?;
    for face in photo.faces(&loc, &conf)? {
        println!("{face}");
    }
    Ok(())
}

fn pass(session: &mut Session, input: &[f32]) -> Result<[Vec<f32>; 2], Box<dyn Error>> {
    let input = TensorRef::from_array_view((SHAPE, input))?;
    let outputs = session.run(ort::inputs!["image" => input])?;
    let values = |name: &str| -> Result<Vec<f32>, Box<dyn Error>> {
        let output = outputs.get(name).ok_or("the model lacks an output")?;
        Ok(output.try_extract_tensor::<f32>()?.1.to_vec())
    };
    Ok([values("loc")?, values("conf")?])
}
