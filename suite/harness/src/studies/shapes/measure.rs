//! Does a new shape make an engine warm up again? Processes that run a model on inputs of one shape, then
//! of another: what the first passes on each cost.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::{Knobs, Model, PassPlan, THREADS, Trial, file_name, write_tensors};
use firstpass_trial::{
    engine::Backend,
    machine::{Machine, now},
    model::ModelDescription,
    observation::{Cell, Observation, Purpose},
    process::{Probe, start},
    system_counters::SystemCounters,
    workload::Workload,
    workspace::Workspace,
};

use crate::{
    progress::progress,
    record::{code::Code, sidecar},
    studies::shapes::{
        Found, SIDECAR, Shape, ShapesRun, ShapesSettings, VERSION,
        judge::{Measured, judge},
    },
};
use firstpass_trial::made_up_input::random_input;

/// Measures every model on every backend that has a file for it, interleaved, and keeps every process
/// beside the record `folder`.
///
/// # Errors
/// Fails where the inputs cannot be made or the folder cannot be written. An engine that fails is told
/// in what is found.
pub fn measure(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    shapes: &[Shape],
    (settings, budget): (ShapesSettings, Duration),
    folder: &Path,
) -> Result<(ShapesRun, Vec<Found>)> {
    let mut run = ShapesRun {
        version: VERSION,
        date: now(),
        machine: Machine::observe(),
        code: Code::observe(workspace)?,
        settings,
        shapes: shapes.iter().map(|shape| shape.text.clone()).collect(),
    };
    let mut recorder = SIDECAR.begin(folder, workspace.root(), &run)?;
    recorder.announce_interruption(sidecar::what_next);
    let inputs = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut series = Vec::new();
    let mut found = Vec::new();
    for backend in backends {
        match start(workspace, backend) {
            Ok((probe, description)) => {
                for model in &workload.models {
                    let mut formats = description.formats.iter();
                    if let Some(artifact) = formats.find_map(|f| model.artifact(*f)) {
                        let artifact = match workload.admit(model, &artifact) {
                            Ok(admitted) => admitted,
                            Err(error) => {
                                found.push(Found {
                                    backend: backend.name.clone(),
                                    model: model.name.clone(),
                                    latencies: Vec::new(),
                                    failure: Some(format!("{error:#}")),
                                });
                                continue;
                            }
                        };
                        let trial = trial(model, artifact, shapes, settings, inputs.path())?;
                        series.push(Series {
                            backend: backend.name.clone(),
                            probe: probe.clone(),
                            trial,
                            observations: Vec::new(),
                        });
                    }
                }
            }
            Err(error) => found.push(Found {
                backend: backend.name.clone(),
                model: String::new(),
                latencies: Vec::new(),
                failure: Some(format!("{error:#}")),
            }),
        }
    }
    ensure!(
        !series.is_empty() || !found.is_empty(),
        "no engine reads a file of these models"
    );
    let bar = progress("shapes", series.len() * settings.rounds);
    let began = Instant::now();
    'rounds: for round in 0..settings.rounds {
        for one in &mut series {
            if round > 0 && began.elapsed() >= budget {
                bar.suspend(|| {
                    eprintln!(
                        "the budget is used up after {round} of {} rounds",
                        settings.rounds
                    )
                });
                run.settings.rounds = round;
                recorder.write_run(&run)?;
                break 'rounds;
            }
            bar.set_message(format!("{} {}", one.backend, one.trial.model.name));
            // What failed once fails again.
            if one.observations.iter().all(|o| o.process.completed()) {
                let observation = one.observe(round, shapes);
                recorder.write(&one.backend, &observation)?;
                one.observations.push(observation);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    recorder.finish()?;
    let measured = series.into_iter().map(|one| Measured {
        backend: one.backend,
        model: one.trial.model.name,
        observations: one.observations,
    });
    found.extend(judge(measured.collect(), shapes.len()));
    Ok((run, found))
}

struct Series {
    backend: String,
    probe: Probe,
    trial: Trial,
    observations: Vec<Observation>,
}

impl Series {
    fn observe(&self, round: usize, shapes: &[Shape]) -> Observation {
        let before = SystemCounters::before();
        let process = self.probe.trial(&self.trial);
        Observation {
            cell: Cell {
                backend: self.backend.clone(),
                model: self.trial.model.name.clone(),
                format: self.trial.model.format,
                knobs: self.trial.knobs.clone(),
                cold_files: false,
                entry: 0,
            },
            purpose: Purpose::Latency,
            round,
            images: shapes.iter().map(|shape| shape.text.clone()).collect(),
            system_counters: before.after(),
            eviction: None,
            process,
        }
    }
}

/// A trial over all shapes, with inputs that are made up.
fn trial(
    model: &ModelDescription,
    artifact: Model,
    shapes: &[Shape],
    settings: ShapesSettings,
    folder: &Path,
) -> Result<Trial> {
    let mut inputs = Vec::new();
    let mut of_files = Vec::new();
    for (number, shape) in shapes.iter().enumerate() {
        let specs = shape.of(&artifact)?;
        let path = input_file(folder, model, number);
        if !path.exists() {
            let mut tensors = Vec::new();
            for (seed, spec) in specs.iter().enumerate() {
                tensors.push((spec.name.clone(), random_input(spec, seed as u64)?));
            }
            let named = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
            write_tensors(&path, named)?;
        }
        inputs.push(path);
        of_files.push(specs.into_iter().map(|spec| spec.shape).collect());
    }
    if of_files.windows(2).any(|pair| pair[0] == pair[1]) {
        bail!("two shapes in a row are the same");
    }
    let knobs = Knobs::default().with(THREADS, settings.threads);
    let passes = PassPlan::exactly(settings.passes);
    let mut trial = Trial::new(artifact, knobs, inputs, passes);
    trial.shapes = of_files;
    Ok(trial)
}

fn input_file(folder: &Path, model: &ModelDescription, number: usize) -> PathBuf {
    folder.join(format!("{}-{number}.safetensors", file_name(&model.name)))
}
