//! rten as a service runs it: loads, warms up, and finds the faces in a photograph.
//!
//! `ship-rten MODEL.onnx PHOTO` prints a line for each face: its score, and its box in pixels.

use std::{env, error::Error, path::PathBuf, sync::Arc};

use faces::{Photo, SHAPE};
use rten::{Model, RunOptions, ThreadPool, ValueView};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().ok_or("name a model and a photograph")?;
    let photo = arguments.next().ok_or("name a photograph")?;

    let model = Model::load_file(&model)?;
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    let options = RunOptions::default().with_thread_pool(Some(pool));
    // Memory is touched for the first time here, before anybody waits.
    pass(&model, &options, &vec![0.0; SHAPE.iter().product()])?;

    let photo = Photo::read(&photo)?;
    let [loc, conf] = pass(&model, &options, &photo.input)?;
    for face in photo.faces(&loc, &conf)? {
        println!("{face}");
    }
    Ok(())
}

fn pass(
    model: &Model,
    options: &RunOptions,
    input: &[f32],
) -> Result<[Vec<f32>; 2], Box<dyn Error>> {
    let image = ValueView::from_shape(&SHAPE, input)?;
    let outputs = [model.node_id("loc")?, model.node_id("conf")?];
    let inputs = vec![(model.node_id("image")?, image.into())];
    let mut found = model
        .run(inputs, &outputs, Some(options.clone()))?
        .into_iter();
    let mut next = || -> Result<Vec<f32>, Box<dyn Error>> {
        let value = found.next().ok_or("the model lacks an output")?;
        let tensor = value
            .into_tensor::<f32>()
            .ok_or("an output is not of f32")?;
        Ok(tensor.into_data())
    };
    Ok([next()?, next()?])
}
