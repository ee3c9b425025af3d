//! Any bytes as a model: loaded, prepared, and run twice, with the same bits both times.

#![no_main]

use firstpass_candle::{Candle, Engine};
use firstpass_fuzz::{Folder, inputs};
use firstpass_harness::user_model::Signature;
use firstpass_probe::{Backend, Format, Knobs, Model, Result};
use firstpass_trial::made_up_input::random_input;
use libfuzzer_sys::fuzz_target;

/// Inputs of more elements make slow passes and find nothing that smaller ones do not.
const MOST_ELEMENTS: usize = 1 << 14;

thread_local! {
    static FOLDER: Folder = Folder::new();
    static ENGINE: Engine = engine();
}

fn engine() -> Engine {
    Candle::start(&Knobs::default()).expect("the engine starts")
}

/// # Errors
/// In the executor's own words, which is as good as a pass.
fn run(engine: &Engine, model: &Model) -> Result<()> {
    let loaded = Candle::load(engine, model)?;
    let shapes = model.input_shapes();
    let mut prepared = Candle::prepare(&loaded, &shapes)?;
    let tensors = model.inputs.iter().map(|spec| random_input(spec, 0).ok());
    let Some(tensors) = tensors.collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    let first = Candle::pass(&mut prepared, &tensors)?;
    let second = Candle::pass(&mut prepared, &tensors)?;
    assert!(
        first
            .iter()
            .zip(&second)
            .all(|(a, b)| a.data().bytes() == b.data().bytes()),
        "two passes over the same input differ"
    );
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.with(|folder| folder.write("model.onnx", bytes));
    let Ok(signature) = Signature::read(&path) else {
        return;
    };
    let inputs = inputs(&signature);
    let elements = inputs.iter().map(|spec| {
        let mut lengths = spec.shape.iter();
        lengths.try_fold(1_usize, |product, &length| product.checked_mul(length))
    });
    if !elements
        .into_iter()
        .all(|count| count.is_some_and(|n| n <= MOST_ELEMENTS))
    {
        return;
    }
    let model = Model {
        name: "model".into(),
        format: Format::ONNX,
        path,
        inputs,
        outputs: Vec::new(),
    };
    let _ = ENGINE.with(|engine| run(engine, &model));
});
