//! What the examples `direct-<backend>` share: all that is not the loop.

use std::{error, process::ExitCode};

use firstpass_probe::{Error, Result, Tensor, Trial, read_tensors};
use firstpass_trial::direct_program::{Answer, request};

/// What a plain loop over the engine gave.
pub struct Direct {
    /// The engine's version, as it says itself.
    pub engine: String,
    /// The wall time of each pass, in ns.
    pub passes_ns: Vec<u64>,
    /// The values of each output of the last pass, in the order of the model's outputs.
    pub outputs: Vec<Vec<f32>>,
}

/// The `main` of an example that calls an engine directly: reads the [`firstpass_probe::Request`]
/// in its only argument, the same that a probe takes, and its first input; has `run` do the passes;
/// prints what it gave as one line of JSON. Nothing here runs between two passes.
pub fn direct(
    run: impl FnOnce(&Trial, &Tensor) -> Result<Direct, Box<dyn error::Error>>,
) -> ExitCode {
    let answer = || {
        let (trial, input) = read_request()?;
        answer(run(&trial, &input).map_err(|error| Error::caused_by(&*error))?)
    };
    match answer() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn read_request() -> Result<(Trial, Tensor)> {
    let json = std::env::args().nth(1).unwrap_or_default();
    let trial = request(&json).map_err(|error| Error::input(format!("{error:#}")))?;
    let file = trial
        .inputs
        .first()
        .ok_or_else(|| Error::input("the request names no input"))?;
    let (mut tensors, _) = read_tensors(file)?;
    let [spec] = &trial.model.inputs[..] else {
        return Err(Error::input("a direct loop is of a model with one input"));
    };
    let name = &spec.name;
    let input = tensors
        .remove(name)
        .ok_or_else(|| Error::input(format!("{} holds no tensor {name:?}", file.display())))?;
    input.check_input(spec)?;
    Ok((trial, input))
}

fn answer(direct: Direct) -> Result<String> {
    let values = direct.outputs.concat();
    let answer = Answer {
        engine: direct.engine,
        passes_ns: direct.passes_ns,
        outputs_sha256: Tensor::new(&[values.len()], values)?.sha256(),
    };
    answer
        .to_line()
        .map_err(|error| Error::engine(format!("{error:#}")))
}
