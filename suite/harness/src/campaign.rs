//! A whole run: every backend on every model, in fresh processes, interleaved.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use firstpass_probe::{Error, Format, Knobs, Model, PassPlan, THREADS, Trial, read_tensors};
use indicatif::{ProgressBar, ProgressStyle};
use rand::seq::SliceRandom;

use crate::{
    machine::{Code, Machine, load_average},
    model::ModelDescription,
    observation::{Cell, Observation, Outcome, Process, Purpose},
    probe::Probe,
    record::{Line, Outputs, Recorder, Run, Settings, VERSION},
    subject::{InputFiles, Subject, relative},
    workspace::{Backend, Workspace},
};

/// No process does fewer passes.
pub const LEAST_PASSES: usize = 10;

/// One measured combination, ready to run.
struct Job<'a> {
    cell: Cell,
    model: &'a ModelDescription,
    artifact: Model,
    probe: &'a Probe,
}

/// Measures and records; returns the folder of the record.
///
/// A backend that cannot be built or started, and a model file that is not the committed one, are
/// rows of the record; the others are measured all the same.
///
/// # Errors
/// Fails where a photograph cannot be read or the record cannot be written.
pub fn run(
    workspace: &Workspace,
    backends: &[Backend],
    subject: &Subject,
    settings: &Settings,
    records: &Path,
) -> Result<PathBuf> {
    let began = Instant::now();
    let machine = Machine::observe();
    let now = jiff::Timestamp::now();
    let folder = records.join(format!("{}-{}", now.strftime("%Y-%m-%d"), machine.slug()));
    let mut recorder = Recorder::begin(
        &folder,
        workspace.root(),
        Run {
            version: VERSION,
            date: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            machine,
            code: Code::observe(workspace)?,
            settings: settings.clone(),
            models: subject
                .models
                .iter()
                .map(|m| relative(workspace, &m.file))
                .collect(),
            photos: subject
                .photos
                .iter()
                .map(|p| relative(workspace, &p.file))
                .collect(),
            files: subject.checksums(workspace)?,
            duration_s: None,
        },
    )?;
    announce_interruption(recorder.folder());

    let probes = start_backends(workspace, backends, &mut recorder)?;
    let jobs = jobs(&probes, subject, settings, &mut recorder)?;
    let mut inputs = InputFiles::new()?;
    observe_agreement(&jobs, subject, settings, &mut inputs, &mut recorder)?;
    observe_latency(&jobs, subject, settings, &mut inputs, &mut recorder)?;
    recorder.finish(began.elapsed().as_secs_f64())
}

/// Builds each probe and asks its engine what it is.
fn start_backends(
    workspace: &Workspace,
    backends: &[Backend],
    recorder: &mut Recorder,
) -> Result<Vec<(String, Probe, Vec<Format>)>> {
    let mut probes = Vec::new();
    for backend in backends {
        eprintln!("{}: building the probe", backend.name);
        let described = Probe::build(workspace, backend)
            .map_err(|error| format!("{error:#}"))
            .and_then(|probe| match probe.describe() {
                Ok(description) => Ok((probe, description)),
                Err(outcome) => Err(outcome.to_string()),
            });
        match described {
            Ok((probe, description)) => {
                eprintln!("{}: version {}", backend.name, description.engine.version);
                probes.push((backend.name.clone(), probe, description.formats.clone()));
                recorder.write(&backend.name, &Line::Description(description))?;
            }
            Err(reason) => {
                eprintln!("{}: {reason}", backend.name);
                recorder.write(&backend.name, &Line::Unavailable { reason })?;
            }
        }
    }
    Ok(probes)
}

/// Every combination of a started backend, a model, a format that both have, and a number of
/// threads, whose model file is the committed one.
fn jobs<'a>(
    probes: &'a [(String, Probe, Vec<Format>)],
    subject: &'a Subject,
    settings: &Settings,
    recorder: &mut Recorder,
) -> Result<Vec<Job<'a>>> {
    let mut jobs = Vec::new();
    for (backend, probe, formats) in probes {
        for model in &subject.models {
            for artifact in formats.iter().filter_map(|f| model.artifact(*f)) {
                let cell = |threads: usize| Cell {
                    backend: backend.clone(),
                    model: model.name.clone(),
                    format: artifact.format,
                    knobs: Knobs::default().with(THREADS, threads),
                };
                if let Err(error) = subject.verify(&artifact.path) {
                    let mut process = Process::new(0);
                    process.outcome = Outcome::Failed(Error::input(format!("{error:#}")));
                    eprintln!("{backend}: {error:#}");
                    let observation = observed(cell(1), Purpose::Agreement, 0, &[], process);
                    recorder.write(backend, &Line::Observation(Box::new(observation)))?;
                    continue;
                }
                for &threads in &settings.threads {
                    jobs.push(Job {
                        cell: cell(threads),
                        model,
                        artifact: artifact.clone(),
                        probe,
                    });
                }
            }
        }
    }
    Ok(jobs)
}

/// The arithmetic of each model, and its outputs for every photograph.
fn observe_agreement(
    jobs: &[Job],
    subject: &Subject,
    settings: &Settings,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    let least_threads = jobs.iter().map(|j| j.cell.threads()).min();
    let jobs: Vec<&Job> = jobs
        .iter()
        .filter(|j| Some(j.cell.threads()) == least_threads)
        .collect();
    let bar = progress("agreement", jobs.len());
    for job in jobs {
        bar.set_message(label(&job.cell));
        let files: Result<Vec<PathBuf>> = subject
            .photos
            .iter()
            .map(|photo| inputs.file(photo, job.model))
            .collect();
        let files = files?;
        if let (Some(first), false) = (files.first(), settings.skip_arithmetic) {
            let line = match job.probe.inspect(&job.artifact, &job.cell.knobs, first) {
                Ok(arithmetic) => Line::Arithmetic {
                    cell: job.cell.clone(),
                    arithmetic,
                },
                Err(outcome) => Line::NoArithmetic {
                    cell: job.cell.clone(),
                    reason: outcome.to_string(),
                },
            };
            recorder.write(&job.cell.backend, &line)?;
        }
        let saved = inputs.folder().join("outputs.safetensors");
        let process = job.probe.trial(&Trial {
            model: job.artifact.clone(),
            knobs: job.cell.knobs.clone(),
            inputs: files,
            passes: PassPlan::exactly(settings.agreement_passes),
            outputs: Some(saved.clone()),
        });
        let images: Vec<String> = subject.photos.iter().map(|p| p.name.clone()).collect();
        if process.completed() {
            let names: Vec<String> = job.model.outputs.iter().map(|o| o.name.clone()).collect();
            let outputs = read_outputs(&saved, &images, &names)?;
            recorder.write_outputs(&job.cell, &names, &outputs)?;
        } else {
            bar.suspend(|| eprintln!("{}: {}", label(&job.cell), process.outcome));
        }
        let observation = observed(job.cell.clone(), Purpose::Agreement, 0, &images, process);
        recorder.write(&job.cell.backend, &Line::Observation(Box::new(observation)))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Rounds over all jobs, shuffled anew in each, until there are enough or time is up.
fn observe_latency(
    jobs: &[Job],
    subject: &Subject,
    settings: &Settings,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    let Some(photo) = subject.photos.first() else {
        return Ok(());
    };
    let began = Instant::now();
    let budget = Duration::from_secs(settings.budget_s);
    let bar = progress("latency", jobs.len() * settings.processes);
    // A cell that failed once is a row already; failing again would only take time.
    let mut failed: BTreeSet<&Cell> = BTreeSet::new();
    let mut spent: BTreeMap<&Cell, Duration> = BTreeMap::new();
    let mut last: BTreeMap<&Cell, Duration> = BTreeMap::new();
    let cell_budget = Duration::from_secs(settings.cell_budget_s);
    for round in 0..settings.processes {
        let due: Vec<&Job> = jobs
            .iter()
            .filter(|job| {
                let slow = spent
                    .get(&job.cell)
                    .is_some_and(|spent| *spent > cell_budget);
                !failed.contains(&job.cell) && (!slow || round < settings.least_processes)
            })
            .collect();
        let expected: Duration = due.iter().filter_map(|job| last.get(&job.cell)).sum();
        if round > 0 && began.elapsed() + expected > budget {
            bar.suspend(|| {
                eprintln!(
                    "latency: {round} of {} rounds fit into {} s",
                    settings.processes, settings.budget_s
                );
            });
            break;
        }
        let mut order = due;
        order.shuffle(&mut rand::rng());
        for job in order {
            bar.set_message(format!("round {}: {}", round + 1, label(&job.cell)));
            bar.inc(1);
            let process_began = Instant::now();
            let process = job.probe.trial(&Trial {
                model: job.artifact.clone(),
                knobs: job.cell.knobs.clone(),
                inputs: vec![inputs.file(photo, job.model)?],
                passes: PassPlan {
                    at_least: LEAST_PASSES.min(settings.passes),
                    at_most: settings.passes,
                    budget_ms: settings.process_budget_ms,
                },
                outputs: None,
            });
            let took = process_began.elapsed();
            *spent.entry(&job.cell).or_default() += took;
            last.insert(&job.cell, took);
            if !process.completed() {
                failed.insert(&job.cell);
                bar.suspend(|| eprintln!("{}: {}", label(&job.cell), process.outcome));
            }
            let images = [photo.name.clone()];
            let observation = observed(job.cell.clone(), Purpose::Latency, round, &images, process);
            recorder.write(&job.cell.backend, &Line::Observation(Box::new(observation)))?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Renames the outputs of a trial from the numbers to the names of its photographs.
///
/// # Errors
/// Fails where the file lacks an output.
pub fn read_outputs(file: &Path, images: &[String], names: &[String]) -> Result<Outputs> {
    let (mut tensors, _) = read_tensors(file).map_err(|e| anyhow!("{e}"))?;
    let mut outputs = Outputs::new();
    for (number, image) in images.iter().enumerate() {
        let of_image: Option<Vec<_>> = names
            .iter()
            .map(|name| tensors.remove(&format!("{number}/{name}")))
            .collect();
        let of_image = of_image.ok_or_else(|| anyhow!("the probe gave no outputs for {image}"))?;
        outputs.insert(image.clone(), of_image);
    }
    Ok(outputs)
}

fn observed(
    cell: Cell,
    purpose: Purpose,
    round: usize,
    images: &[String],
    process: Process,
) -> Observation {
    Observation {
        cell,
        purpose,
        round,
        images: images.to_vec(),
        load_average: load_average(),
        process,
    }
}

fn label(cell: &Cell) -> String {
    let threads = cell.threads();
    format!(
        "{} {} ({}), {threads} thread{}",
        cell.backend,
        cell.model,
        cell.format.key(),
        if threads == 1 { "" } else { "s" }
    )
}

/// A bar of so many processes.
pub(crate) fn progress(title: &'static str, length: usize) -> ProgressBar {
    // Steps, elapsed and expected time; drawn on standard error, and only on a terminal.
    let template = "{prefix} {bar:30} {pos}/{len} {elapsed_precise} (left: {eta}) {msg}";
    let bar = ProgressBar::new(length as u64).with_prefix(title);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if bar.is_hidden() {
        eprintln!("{title}: {length} processes");
    }
    bar
}

/// Says where the measurements are when the user interrupts the run.
fn announce_interruption(folder: &Path) {
    let folder = folder.display().to_string();
    // A second handler in one process is refused, which only loses this hint.
    let _ = ctrlc::set_handler(move || {
        eprintln!(
            "\ninterrupted; what was measured is in {folder}: \
             `cargo firstpass report --from {folder}` shows it"
        );
        std::process::exit(130);
    });
}
