//! tract as a service runs it: loads, warms up, and finds the faces in a photograph.
//!
//! `ship-tract MODEL.onnx PHOTO` prints a line for each face: its score, and its box in pixels.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use faces::{Photo, SHAPE};
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().context("name a model and a photograph")?;
    let photo = arguments.next().context("name a photograph")?;

    let plan = tract_onnx::onnx()
        .model_for_path(&model)?
        .with_input_fact(0, f32::fact(SHAPE).into())?
        .with_outputs_by_name(["loc", "conf"])?
        .into_optimized()?
        .into_runnable()?;
    // One state for all passes keeps the scratch memory that the first of them takes.
    let mut state = plan.spawn()?;
    state.run(tvec!(Tensor::zero::<f32>(&SHAPE)?.into()))?;

    let photo = Photo::read(&photo)?;
    let input = Tensor::from_shape(&SHAPE, &photo.input)?;
    let outputs = state.run(tvec!(input.into()))?;
    let values =
        |place: usize| -> TractResult<&[f32]> { outputs[place].try_as_plain_ram()?.as_slice() };
    for face in photo.faces(values(0)?, values(1)?)? {
        println!("{face}");
    }
    Ok(())
}
