//! What the outside world may supply: each gives a clear message, and never an answer.

use std::path::{Path, PathBuf};

use anyhow::Result;
use firstpass_probe::{Backend, Error, ErrorKind, Phase, Tensor, read_tensors, write_tensors};
use firstpass_trial::observation::{Outcome, Process};
use libtest_mimic::{Failed, Trial as Test};

use crate::{
    check,
    context::{Artifact, Context},
};

type Prepare = fn(&Context, &Artifact, &Path) -> Result<firstpass_probe::Trial>;
type Expect = fn(&Error) -> bool;

pub fn tests<B: Backend>(context: &Context) -> Vec<Test> {
    let cases: [(&str, Prepare, Expect); 10] = [
        ("a missing model file", missing_model, |e| {
            e.phase == Some(Phase::Load)
        }),
        (
            "an empty model file",
            |c, a, d| damaged(c, a, d, |_| Vec::new()),
            in_preparation,
        ),
        (
            "a truncated model file",
            |c, a, d| damaged(c, a, d, |b| b[..b.len() / 2].to_vec()),
            in_preparation,
        ),
        (
            "a model file of noise",
            |c, a, d| damaged(c, a, d, |b| noise(b.len().min(4096))),
            in_preparation,
        ),
        (
            "a model whose header is damaged",
            |c, a, d| damaged(c, a, d, flip_header),
            in_preparation,
        ),
        (
            "an input of the wrong shape",
            |c, a, d| input(c, a, d, wrong_shape),
            |e| e.kind == ErrorKind::Input && e.to_string().contains("shape"),
        ),
        (
            "an input with NaN",
            |c, a, d| input(c, a, d, |t| poison(t, f32::NAN)),
            not_finite,
        ),
        (
            "an input with infinity",
            |c, a, d| input(c, a, d, |t| poison(t, f32::INFINITY)),
            not_finite,
        ),
        ("an input file that is no tensor file", garbage_input, |e| {
            e.kind == ErrorKind::Input
        }),
        ("an unknown knob", unknown_knob, |e| {
            e.kind == ErrorKind::Unsupported && e.to_string().contains("no-such-knob")
        }),
    ];
    let mut tests: Vec<Test> = cases
        .into_iter()
        .map(|(name, prepare, expect)| refusal::<B>(context, name, prepare, expect))
        .collect();
    let context = context.clone();
    tests.push(Test::test(
        "one flipped bit anywhere is survived",
        move || flipped_bits(&context, context.artifact::<B>()),
    ));
    tests
}

/// The probe must fail with an error of its own that `expect` recognises and that names what is
/// wrong; crashing, hanging or answering is a fault.
fn refusal<B: Backend>(
    context: &Context,
    name: &'static str,
    prepare: Prepare,
    expect: Expect,
) -> Test {
    let context = context.clone();
    Test::test(format!("refuses {name}"), move || {
        let run = || -> Result<Process> {
            let folder = tempfile::tempdir()?;
            let trial = prepare(&context, &context.artifact::<B>()?, folder.path())?;
            Ok(context.probe.trial(&trial))
        };
        let process = run().map_err(|e| Failed::from(format!("{e:#}")))?;
        match &process.outcome {
            Outcome::Failed(error) => {
                check(expect(error), || {
                    format!("refused for another reason: {error}")
                })?;
                check(process.passes.is_empty(), || {
                    "it gave an answer all the same".into()
                })
            }
            other => Err(format!("not refused, but {other}").into()),
        }
    })
}

fn in_preparation(error: &Error) -> bool {
    matches!(error.phase, Some(Phase::Load | Phase::Prepare))
}

fn not_finite(error: &Error) -> bool {
    error.kind == ErrorKind::Input && error.to_string().contains("finite")
}

fn missing_model(
    context: &Context,
    artifact: &Artifact,
    _: &Path,
) -> Result<firstpass_probe::Trial> {
    let mut trial = context.trial(artifact, 1, 1)?;
    trial.model.path = "no/such/model".into();
    Ok(trial)
}

fn damaged(
    context: &Context,
    artifact: &Artifact,
    folder: &Path,
    damage: fn(&[u8]) -> Vec<u8>,
) -> Result<firstpass_probe::Trial> {
    let mut trial = context.trial(artifact, 1, 1)?;
    trial.model.path = folder.join("damaged");
    std::fs::write(
        &trial.model.path,
        damage(&std::fs::read(&artifact.file.path)?),
    )?;
    Ok(trial)
}

fn flip_header(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.iter_mut().take(64).for_each(|b| *b ^= 0x55);
    bytes
}

/// Bytes without a pattern, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn input(
    context: &Context,
    artifact: &Artifact,
    folder: &Path,
    change: fn(Tensor) -> firstpass_probe::Result<Tensor>,
) -> Result<firstpass_probe::Trial> {
    let mut trial = context.trial(artifact, 1, 1)?;
    let [spec] = &artifact.file.inputs[..] else {
        anyhow::bail!("the model of the fixtures has one input");
    };
    let name = &spec.name;
    let path = folder.join("input.safetensors");
    for file in &mut trial.inputs {
        let (mut tensors, _) = read_tensors(file)?;
        if let Some(tensor) = tensors.remove(name) {
            let changed = change(tensor)?;
            write_tensors(&path, [(name.clone(), &changed)])?;
        }
        file.clone_from(&path);
    }
    Ok(trial)
}

fn wrong_shape(tensor: Tensor) -> firstpass_probe::Result<Tensor> {
    let (mut shape, data) = tensor.into_parts();
    shape.reverse();
    Tensor::new(&shape, data)
}

fn poison(mut tensor: Tensor, value: f32) -> firstpass_probe::Result<Tensor> {
    let values = tensor.f32s_mut()?;
    let middle = values.len() / 2;
    values[middle] = value;
    Ok(tensor)
}

fn garbage_input(
    context: &Context,
    artifact: &Artifact,
    folder: &Path,
) -> Result<firstpass_probe::Trial> {
    let mut trial = context.trial(artifact, 1, 1)?;
    let path: PathBuf = folder.join("input.safetensors");
    std::fs::write(&path, b"these are no tensors")?;
    trial.inputs = vec![path];
    Ok(trial)
}

fn unknown_knob(
    context: &Context,
    artifact: &Artifact,
    _: &Path,
) -> Result<firstpass_probe::Trial> {
    let mut trial = context.trial(artifact, 1, 1)?;
    trial.knobs = trial.knobs.with("no-such-knob", "on");
    Ok(trial)
}

/// A flipped bit may change a weight, which no engine can notice (the manifest does). Whatever
/// happens must be an outcome: a hang or garbage among the messages is not.
fn flipped_bits(context: &Context, artifact: Result<Artifact>) -> Result<(), Failed> {
    let run = || -> Result<Vec<Outcome>> {
        let artifact = artifact?;
        let bytes = std::fs::read(&artifact.file.path)?;
        let folder = tempfile::tempdir()?;
        let mut outcomes = Vec::new();
        for part in 1..6 {
            let mut flipped = bytes.clone();
            let at = flipped.len() * part / 6;
            flipped[at] ^= 1 << part;
            let mut trial = context.trial(&artifact, 1, 1)?;
            trial.model.path = folder.path().join("flipped");
            std::fs::write(&trial.model.path, flipped)?;
            outcomes.push(context.probe.trial(&trial).outcome);
        }
        Ok(outcomes)
    };
    for outcome in run().map_err(|e| Failed::from(format!("{e:#}")))? {
        check(
            matches!(
                outcome,
                Outcome::Completed | Outcome::Failed(_) | Outcome::Crashed { .. }
            ),
            || outcome.to_string(),
        )?;
    }
    Ok(())
}
