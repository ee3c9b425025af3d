//! The quantized tensors that libtorch computes.

use firstpass_probe::{Recording, Result, Tensor};

use super::{module::Runnable, shim, trace::PASSES_BEFORE};

/// Of the pass that runs the graph of all later ones.
pub(super) fn record(runnable: &mut Runnable, inputs: &[Tensor]) -> Result<Recording> {
    for _ in 0..PASSES_BEFORE {
        runnable.pass(inputs)?;
    }
    let recorder = shim::Recorder::begin()?;
    let outputs = runnable.pass(inputs)?;
    Ok(Recording {
        outputs,
        activations: recorder.end()?,
    })
}
