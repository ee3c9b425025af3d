//! Does a new shape make an engine warm up again? Processes that run a model on inputs of one shape, then
//! of another: what the first passes on each cost.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::{Knobs, Model, PassPlan, THREADS, Trial, write_tensors};
use firstpass_trial::{
    machine::{Machine, now},
    model::ModelDescription,
    observation::{Cell, Observation, Purpose},
    process::{Probe, start},
    system_counters::SystemCounters,
    workload::Workload,
    workspace::{Backend, Workspace},
};

use crate::{
    progress::progress,
    record::{code::Code, sidecar},
    studies::{
        first_passes::judge::latency::summarise,
        shapes::{Found, SIDECAR, Shape, ShapesRun, ShapesSettings, VERSION},
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
    settings: ShapesSettings,
    folder: &Path,
) -> Result<(ShapesRun, Vec<Found>)> {
    let run = ShapesRun {
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
                        workload.admit(model, &artifact)?;
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
    for round in 0..settings.rounds {
        for one in &mut series {
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
    found.extend(series.iter().map(|one| one.found(shapes.len())));
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

    fn found(&self, shapes: usize) -> Found {
        let failed = self.observations.iter().find(|o| !o.process.completed());
        let of_shape = |number: usize| {
            let parts: Vec<Observation> = self
                .observations
                .iter()
                .filter_map(|observation| part(observation, number))
                .collect();
            summarise(&parts).into_iter().next()
        };
        Found {
            backend: self.backend.clone(),
            model: self.trial.model.name.clone(),
            latencies: (0..shapes).map(of_shape).collect(),
            failure: failed.map(|o| o.process.outcome.to_string()),
        }
    }
}

/// What a process did on one shape, as if it had done nothing else; `None` where it did not come so far.
fn part(observation: &Observation, number: usize) -> Option<Observation> {
    let mut part = observation.clone();
    let process = &mut part.process;
    let later = observation.process.passes.iter().find(|p| p.input > number);
    if let Some(next) = later {
        process.last_reference_ns = Some(next.span.reference_ns);
    }
    process.passes.retain(|pass| pass.input == number);
    for pass in &mut process.passes {
        pass.input = 0;
    }
    if let Some(again) = number.checked_sub(1) {
        process.prepared = observation.process.prepared_again.get(again).copied();
    }
    process.prepared_again.clear();
    (!process.passes.is_empty()).then_some(part)
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
    folder.join(format!("{}-{number}.safetensors", model.name))
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Format, Pass, Span};

    use super::*;
    use firstpass_trial::observation::Process;

    #[test]
    fn a_process_is_divided_by_shape() {
        let span = |start_ns| Span {
            start_ns,
            reference_ns: start_ns,
            ..Span::default()
        };
        let pass = |input, start_ns| Pass {
            input,
            digest: String::new(),
            span: span(start_ns),
        };
        let mut process = Process::new(0);
        process.prepared = Some(span(1));
        process.prepared_again = vec![span(4)];
        process.passes = vec![pass(0, 2), pass(0, 3), pass(1, 5)];
        process.last_reference_ns = Some(9);
        let whole = Observation {
            cell: Cell {
                backend: "b".into(),
                model: "m".into(),
                format: Format::ONNX,
                knobs: Knobs::default(),
                cold_files: false,
                entry: 0,
            },
            purpose: Purpose::Latency,
            round: 0,
            images: Vec::new(),
            system_counters: SystemCounters::before().after(),
            eviction: None,
            process,
        };
        let first = part(&whole, 0).map(|o| o.process);
        let second = part(&whole, 1).map(|o| o.process);
        let told = |process: &Option<Process>| {
            let process = process.as_ref()?;
            let prepared = process.prepared?.start_ns;
            Some((prepared, process.passes.len(), process.last_reference_ns?))
        };
        assert_eq!(told(&first), Some((1, 2, 5)));
        assert_eq!(told(&second), Some((4, 1, 9)));
        assert!(part(&whole, 2).is_none());
    }
}
