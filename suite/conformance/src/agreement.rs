//! Agreement with the golden outputs, repeatability and arithmetic, for every model file.

use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, anyhow};
use firstpass_probe::{Backend, ErrorKind};
use firstpass_trial::{
    agreement::{DetectionAgreement, compare, compare_detections},
    expectation::{self, Standard},
    known::Refusal,
    machine::{Machine, all_threads},
    observation::{Cell, Observation, Outcome, Purpose},
    outputs::{Outputs, read_outputs},
    repeatability,
    system_counters::SystemCounters,
};
use libtest_mimic::{Failed, Trial};

use crate::{
    check,
    context::{Artifact, Context},
};

/// What one process gave for all photographs.
struct Observed {
    outputs: Outputs,
    observation: Observation,
}

pub fn tests<B: Backend>(context: &Context) -> Vec<Trial> {
    context
        .artifacts::<B>()
        .into_iter()
        .flat_map(|a| of_artifact(context, a))
        .collect()
}

fn of_artifact(context: &Context, artifact: Artifact) -> Vec<Trial> {
    let name = format!(
        "{} ({})",
        artifact.description.name,
        artifact.file.format.key()
    );
    let (model, format) = (&artifact.description.name, artifact.file.format);
    if let Some(refusal) = context.known.refusal(model, format).cloned() {
        let context = context.clone();
        let refused = move || is_refused(&context, &artifact, &refusal);
        return vec![Trial::test(
            format!("{name}: is refused as declared"),
            refused,
        )];
    }
    // The tests of one file judge the same observation, made by the first that runs.
    let shared: Arc<OnceLock<Result<Observed, String>>> = Arc::default();
    let test = |what: &str, judge: fn(&Context, &Artifact, &Observed) -> Result<(), Failed>| {
        let (context, artifact, shared) = (context.clone(), artifact.clone(), shared.clone());
        Trial::test(format!("{name}: {what}"), move || {
            let observed = shared
                .get_or_init(|| observe(&context, &artifact).map_err(|e| format!("{e:#}")))
                .as_ref()
                .map_err(Failed::from)?;
            judge(&context, &artifact, observed)
        })
    };
    vec![
        test("outputs and faces are as expected", outputs_are_expected),
        test("the same input gives the same bits", repeats_itself),
        test("arithmetic is as declared", arithmetic_is_declared),
    ]
}

/// The engine fails, and says what is declared.
fn is_refused(context: &Context, artifact: &Artifact, refusal: &Refusal) -> Result<(), Failed> {
    let trial = context.trial(artifact, 1, 1);
    let process = context
        .probe
        .trial(&trial.map_err(|e| Failed::from(format!("{e:#}")))?);
    match &process.outcome {
        Outcome::Failed(error) if error.to_string().contains(&refusal.words) => Ok(()),
        Outcome::Completed => Err("it runs (healed: remove the declaration)".into()),
        other => Err(format!("{other}, declared is {:?}", refusal.words).into()),
    }
}

fn observe(context: &Context, artifact: &Artifact) -> Result<Observed> {
    context
        .workload
        .admit(&artifact.description, &artifact.file)?;
    let folder = tempfile::tempdir()?;
    let saved = folder.path().join("outputs.safetensors");
    // Where a pass depends on the one before, only the second shows it; but where that takes long, the passes that
    // are asked for below have to do.
    let once = is_slow(context, artifact);
    let mut trial = context.trial(artifact, 1, if once { 1 } else { 2 })?;
    trial.inputs = context.inputs(&artifact.description)?;
    trial.outputs = Some(saved.clone());
    let process = context.probe.trial(&trial);
    if !process.completed() {
        return Err(anyhow!(
            "the probe {}; standard error: {}",
            process.outcome,
            process.stderr
        ));
    }
    let images: Vec<String> = context
        .workload
        .samples
        .iter()
        .map(|p| p.name.clone())
        .collect();
    let names: Vec<String> = artifact
        .file
        .outputs
        .iter()
        .map(|o| o.name.clone())
        .collect();
    Ok(Observed {
        outputs: read_outputs(&saved, &images, &names)?,
        observation: observation(context, artifact, 1, images, process),
    })
}

/// Whether a pass takes seconds on some engines.
fn is_slow(context: &Context, artifact: &Artifact) -> bool {
    context.backend.is_referee || !artifact.is_usual
}

fn observation(
    context: &Context,
    artifact: &Artifact,
    threads: usize,
    images: Vec<String>,
    process: firstpass_trial::observation::Process,
) -> Observation {
    Observation {
        cell: Cell {
            backend: context.backend.name.clone(),
            model: artifact.file.name.clone(),
            format: artifact.file.format,
            knobs: firstpass_probe::Knobs::default().with(firstpass_probe::THREADS, threads),
            cold_files: false,
            entry: 0,
        },
        purpose: Purpose::Agreement,
        round: 0,
        images,
        system_counters: SystemCounters::before().after(),
        eviction: None,
        process,
    }
}

fn golden(context: &Context, artifact: &Artifact) -> Result<Outputs, Failed> {
    context
        .workload
        .golden(&artifact.description)
        .and_then(|golden| golden.context("the model has no golden outputs"))
        .map_err(|e| Failed::from(format!("{e:#}")))
}

fn outputs_are_expected(
    context: &Context,
    artifact: &Artifact,
    observed: &Observed,
) -> Result<(), Failed> {
    let golden = golden(context, artifact)?;
    check(golden.len() == observed.outputs.len(), || {
        "photographs without golden outputs".into()
    })?;
    let pairs = firstpass_trial::agreement::pairs(&golden, &observed.outputs);
    let agreement = compare(&artifact.description, &pairs);
    let model = &artifact.description;
    let faces = model.detection.as_ref().map(|spec| {
        pairs
            .iter()
            .map(|(a, b)| compare_detections(&spec.detect(model, a), &spec.detect(model, b)))
            .fold(DetectionAgreement::default(), |all, one| all.and(&one))
    });
    let format = artifact.file.format;
    let flags = Machine::observe().cpu_flags;
    let verdict = expectation::judge(
        model,
        format,
        &agreement,
        faces.as_ref(),
        Standard {
            known: &context.known,
            cpu_flags: &flags,
            is_complete: true,
        },
    );
    check(verdict.is_expected(), || verdict.to_string())
}

fn repeats_itself(
    context: &Context,
    artifact: &Artifact,
    observed: &Observed,
) -> Result<(), Failed> {
    let mut observations = vec![observed.observation.clone()];
    let passes = if is_slow(context, artifact) { 2 } else { 3 };
    // Another process, and another number of threads.
    for threads in [1, all_threads().max(2)] {
        let trial = context
            .trial(artifact, threads, passes)
            .map_err(|e| Failed::from(format!("{e:#}")))?;
        let process = context.probe.trial(&trial);
        check(process.completed(), || process.outcome.to_string())?;
        check(process.passes.len() == passes, || {
            format!("{} passes of {passes}", process.passes.len())
        })?;
        let image = context
            .workload
            .samples
            .iter()
            .take(1)
            .map(|p| p.name.clone())
            .collect();
        observations.push(observation(context, artifact, threads, image, process));
    }
    for judged in repeatability::judge(&observations) {
        let fault = judged.fault(&context.known);
        check(fault.is_none(), || format!("{fault:?}: {judged:?}"))?;
    }
    Ok(())
}

fn arithmetic_is_declared(
    context: &Context,
    artifact: &Artifact,
    _: &Observed,
) -> Result<(), Failed> {
    let trial = context
        .trial(artifact, 1, 1)
        .map_err(|e| Failed::from(format!("{e:#}")))?;
    let input = trial
        .inputs
        .first()
        .ok_or_else(|| Failed::from("no photographs"))?;
    let arithmetic = match context.probe.inspect(&artifact.file, &trial.knobs, input) {
        // An engine need not be able to tell, unless something is declared of what it would tell.
        Err(Outcome::Failed(error)) if error.kind == ErrorKind::Unsupported => {
            let (model, format) = (&artifact.description.name, artifact.file.format);
            let declared = context.known.float_arithmetic(model, format);
            eprintln!("{model}: the engine does not state its arithmetic: {error}");
            return check(declared.is_none(), || {
                "float arithmetic is declared, and the engine does not say what it ran".into()
            });
        }
        answer => answer.map_err(|outcome| Failed::from(outcome.to_string()))?,
    };
    expectation::judge_arithmetic(
        &artifact.description,
        artifact.file.format,
        &arithmetic,
        &context.known,
    )
    .map_err(Failed::from)
}
