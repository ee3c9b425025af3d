//! candle in a plain loop, without the trait, its messages and its counters: `firstpass overhead`
//! compares this with the probe.
//!
//! candle-core has no executor of ONNX graphs: the engine is this backend's own, so it is set up as
//! the probe does it, and [`Prepared::run`] is what is called directly.

use std::{error, process::ExitCode, time::Instant};

use firstpass_candle::{Candle, Prepared};
use firstpass_conformance::{Direct, direct};
use firstpass_executor::Values;
use firstpass_probe::{Backend, Tensor, Trial};

fn main() -> ExitCode {
    // As the probe does. SAFETY: nothing has started a thread yet.
    unsafe { firstpass_candle::divide_as_requested() };
    direct(run)
}

fn run(trial: &Trial, input: &Tensor) -> Result<Direct, Box<dyn error::Error>> {
    let engine = Candle::start(&trial.knobs)?;
    let loaded = Candle::load(&engine, &trial.model)?;
    let mut prepared: Prepared = Candle::prepare(&loaded, &trial.model.input_shapes())?;

    let mut outputs = Vec::new();
    let mut passes_ns = Vec::new();
    for _ in 0..trial.passes.at_most {
        let began = Instant::now();
        let found = prepared.run(&[Values::F32(input.f32s()?)])?;
        // The values are copied out, as the probe does.
        let found: Vec<Vec<f32>> = found
            .iter()
            .map(|tensor| tensor.flatten_all()?.to_vec1())
            .collect::<candle_core::Result<_>>()?;
        passes_ns.push(u64::try_from(began.elapsed().as_nanos())?);
        outputs = found;
    }
    Ok(Direct {
        engine: Candle::describe(&engine)?.version,
        passes_ns,
        outputs,
    })
}
