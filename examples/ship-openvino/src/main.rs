//! OpenVINO as a service runs it: loads, warms up, and finds the faces in a photograph.
//!
//! `ship-openvino MODEL.onnx PHOTO` prints a line for each face: its score, and its box in pixels. The library is that
//! in the folder which `OPENVINO_INSTALL_DIR` names.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use faces::{Photo, SHAPE};
use openvino::{Core, DeviceType, InferRequest, RwPropertyKey};

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().context("name a model and a photograph")?;
    let photo = arguments.next().context("name a photograph")?;

    let mut core = Core::new().context("OPENVINO_INSTALL_DIR names no OpenVINO")?;
    core.set_property(&DeviceType::CPU, &RwPropertyKey::InferenceNumThreads, "1")?;
    let model = model.to_str().context("the path is not UTF-8")?;
    let model = core.read_model_from_file(model, "")?;
    let mut compiled = core.compile_model(&model, DeviceType::CPU)?;
    // One request for all passes keeps the memory that the first of them takes.
    let mut request = compiled.create_infer_request()?;
    pass(&mut request, &vec![0.0; SHAPE.iter().product()])?;

    let photo = Photo::read(&photo)?;
    let [loc, conf] = pass(&mut request, &photo.input)?;
    for face in photo.faces(&loc, &conf)? {
        println!("{face}");
    }
    Ok(())
}

fn pass(request: &mut InferRequest, input: &[f32]) -> Result<[Vec<f32>; 2]> {
    let mut image = request.get_tensor("image")?;
    image.get_data_mut()?.copy_from_slice(input);
    request.infer()?;
    let values =
        |name: &str| -> Result<Vec<f32>> { Ok(request.get_tensor(name)?.get_data()?.to_vec()) };
    Ok([values("loc")?, values("conf")?])
}
