//! libtorch as a service runs it: loads a frozen copy of the module, and finds the faces in a photograph.
//!
//! `ship-libtorch MODEL.pt PHOTO` prints a line for each face: its score, and its box in pixels. The first run
//! writes `MODEL.frozen.pt`. A TorchScript file is a program: run only those that you trust.

mod freeze;

use std::{env, path::PathBuf};

use anyhow::{Context, Result, bail};
use faces::{Photo, SHAPE};
use tch::{CModule, IValue, QEngine, Tensor};

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().context("name a model and a photograph")?;
    let photo = arguments.next().context("name a photograph")?;

    // Before the module is loaded, which packs its weights for this engine.
    QEngine::FBGEMM.set()?;
    tch::set_num_threads(1);
    tch::set_num_interop_threads(1);
    // Else pass 1 is recorded and pass 2 compiles what was recorded: a warm-up is not needed then.
    tch::jit::set_profiling_mode(false);
    let frozen = model.with_extension("frozen.pt");
    if !frozen.exists() {
        freeze::file(&model, &frozen)?;
    }
    let module = CModule::load(&frozen)?;
    let _inference = tch::no_grad_guard();

    let photo = Photo::read(&photo)?;
    let input = Tensor::f_from_slice(&photo.input)?.f_view(SHAPE.map(|n| n as i64))?;
    let IValue::Tuple(outputs) = module.forward_is(&[IValue::Tensor(input)])? else {
        bail!("the module returns no tuple");
    };
    let [IValue::Tensor(loc), IValue::Tensor(conf), ..] = &outputs[..] else {
        bail!("the module does not return loc and conf");
    };
    let values = |tensor: &Tensor| Vec::<f32>::try_from(tensor.f_flatten(0, -1)?);
    for face in photo.faces(&values(loc)?, &values(conf)?)? {
        println!("{face}");
    }
    Ok(())
}
