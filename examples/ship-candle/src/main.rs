//! candle with `firstpass-executor` as a service runs it: loads, warms up, and finds the faces in a photograph.
//!
//! `ship-candle MODEL.onnx PHOTO` prints a line for each face: its score, and its box in pixels.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, ensure};
use faces::{Photo, SHAPE};
use firstpass_executor::{Engine, Prepared, Settings, Values, divide_products};

fn main() -> Result<()> {
    // One task for one thread. SAFETY: nothing has started a thread yet.
    unsafe { divide_products(1) };
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().context("name a model and a photograph")?;
    let photo = arguments.next().context("name a photograph")?;

    let engine = Engine::new(Settings::default())?;
    let model = engine.load_as(&model, &["image"], &["loc", "conf"])?;
    let mut prepared = model.prepare(&[SHAPE.to_vec()])?;
    // The caches fill in the first pass: here, before anybody waits.
    pass(&mut prepared, &vec![0.0; SHAPE.iter().product()])?;

    let photo = Photo::read(&photo)?;
    let [loc, conf] = pass(&mut prepared, &photo.input)?;
    for face in photo.faces(&loc, &conf)? {
        println!("{face}");
    }
    Ok(())
}

fn pass(prepared: &mut Prepared, input: &[f32]) -> Result<[Vec<f32>; 2]> {
    let outputs = prepared.run(&[Values::F32(input)])?;
    ensure!(
        outputs.len() == 2,
        "the model gives {} outputs",
        outputs.len()
    );
    let values = |place: usize| outputs[place].flatten_all()?.to_vec1();
    Ok([values(0)?, values(1)?])
}
