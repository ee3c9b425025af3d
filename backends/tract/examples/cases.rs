//! The cases of `cases/README.md`: what tract gets wrong or does slowly, with tract alone.
//!
//! usage: cases

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tract_nnef::internal::Framework;
use tract_onnx::{prelude::*, tract_core::internal::bail};

/// Passes of which the fastest counts.
const PASSES: usize = 5;

/// Fails where a case is not as the README says any more.
fn main() -> TractResult<()> {
    constant_dequantization()?;
    quantized_softmax()?;
    channels_last_in_nnef()?;
    slow_convolution()
}

fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    folder.join(name)
}

fn typed(name: &str) -> TractResult<TypedModel> {
    let model = tract_onnx::onnx().model_for_path(path(name))?;
    model.into_typed()
}

fn constant_dequantization() -> TractResult<()> {
    let name = "dequantizelinear-i16.onnx";
    match typed(name) {
        Ok(_) => bail!("{name} is typed: tract is mended"),
        Err(error) => println!("{name}: {error:#}"),
    }
    Ok(())
}

fn quantized_softmax() -> TractResult<()> {
    let name = "softmax-quantized.onnx";
    let input = tensor3(&[[[1.0_f32, -1.0], [0.0, 0.5], [2.0, -2.0], [-1.0, 3.0]]]);
    let run = |graph: TypedModel| -> TractResult<Vec<f32>> {
        let outputs = graph.into_runnable()?.run(tvec!(input.clone().into()))?;
        Ok(outputs[0]
            .to_plain_array_view::<f32>()?
            .iter()
            .copied()
            .collect())
    };
    let (plain, decluttered) = (run(typed(name)?)?, run(typed(name)?.into_decluttered()?)?);
    println!("{name}: decluttered it gives {decluttered:?} instead of {plain:?}");
    if decluttered.iter().any(|&probability| probability < 0.99) {
        bail!("{name} has other probabilities than 1: tract is mended");
    }
    Ok(())
}

/// The model as it is after being written as NNEF and read again.
fn through_nnef(name: &str) -> TractResult<TypedModel> {
    let nnef = tract_nnef::nnef();
    let written = nnef.write_to_tar(&typed(name)?.into_decluttered()?, Vec::new())?;
    nnef.model_for_read(&mut &written[..])
}

fn channels_last_in_nnef() -> TractResult<()> {
    let name = "qlinearconv-channels-last.onnx";
    match through_nnef(name) {
        Ok(_) => bail!("{name} is read as NNEF: tract is mended"),
        Err(error) => println!("{name}: {error:#}"),
    }
    let name = "qlinearconv-channels-last-silent.onnx";
    let shape = |graph: TypedModel| graph.output_fact(0).map(|fact| fact.shape.clone());
    let (plain, read) = (shape(typed(name)?)?, shape(through_nnef(name)?)?);
    if plain == read {
        bail!("{name} is the same through NNEF: tract is mended");
    }
    println!("{name}: through NNEF it gives {read:?} instead of {plain:?}");
    Ok(())
}

fn slow_convolution() -> TractResult<()> {
    let shape = [1, 64, 60, 80];
    let integers = fastest("qlinearconv-depthwise.onnx", Tensor::zero::<u8>(&shape)?)?;
    let floats = fastest("conv-depthwise.onnx", Tensor::zero::<f32>(&shape)?)?;
    let ratio = integers.as_secs_f64() / floats.as_secs_f64();
    println!(
        "depthwise: {integers:?} by QLinearConv, {floats:?} by Conv: {ratio:.1} times as long"
    );
    if ratio < 2.0 {
        bail!("integers are not much slower than floats: tract is mended");
    }
    Ok(())
}

fn fastest(name: &str, input: Tensor) -> TractResult<Duration> {
    let plan = typed(name)?.into_optimized()?.into_runnable()?;
    let mut state = plan.spawn()?;
    let mut fastest = Duration::MAX;
    for _ in 0..PASSES {
        let input = input.clone();
        let began = Instant::now();
        state.run(tvec!(input.into()))?;
        fastest = fastest.min(began.elapsed());
    }
    Ok(fastest)
}
