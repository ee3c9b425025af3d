//! A whole run: every backend on every model, in fresh processes, interleaved.

mod agreement;
mod latency;
mod reference;

pub(crate) use agreement::OUTPUTS_SHARE;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Result;
use firstpass_native::Status;
use firstpass_probe::{Description, Error, Knobs, Model, THREADS};
use firstpass_trial::{
    engine::Backend,
    machine::{Machine, now},
    model::ModelDescription,
    observation::{Cell, Observation, Outcome, Process, Purpose},
    page_cache::{Eviction, Files},
    patience::{Patience, patience},
    process::Probe,
    shell_word,
    system_counters::SystemCounters,
    workload::{InputFiles, Workload},
    workspace::Workspace,
};

use crate::{
    page::{
        numbers::brief,
        terminal::{self, beginning, text as shown},
    },
    record::{
        Line, Record, Recorder, Run, RunSettings, VERSION, code::Code, places::Places, typed,
    },
    studies::first_passes::{
        analysis::Analysis,
        judge::{
            headlines::{Asked, ask},
            latency::Latency,
            no_choice::NoChoice,
        },
        measure::{latency::TimePlan, reference::Seeking},
        unfit,
    },
};

/// What a run is to answer, of what it has measured so far and whose outputs cannot be used.
pub type Asks<'a> = &'a dyn Fn(&[Latency], &NoChoice) -> Asked;

/// A backend whose engine has said what it is.
struct Started {
    name: String,
    probe: Probe,
    description: Description,
    /// What is known of its native library.
    library: Option<Status>,
}

/// One measured combination, ready to run.
struct Job<'a> {
    cell: Cell,
    model: &'a ModelDescription,
    artifact: Model,
    probe: &'a Probe,
    /// What its processes read from the disk.
    files: Files,
}

/// The time for all measuring. Builds are not part of it: they are made once.
struct Budget {
    began: Instant,
    all: Duration,
}

impl Budget {
    fn spent(&self) -> Duration {
        self.began.elapsed()
    }

    fn left(&self) -> Duration {
        self.all.saturating_sub(self.spent())
    }
}

/// The usual place of a record that is made now, named by the time in UTC and what is said of it:
/// `2026-11-24-093015-amd-epyc-2-cores`. Nothing lies there: clocks are set back, and two commands may begin in
/// one second.
pub fn new_record(folder: &Path, suffix: &str) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d-%H%M%S");
    let name = format!("{now}-{}{suffix}", Machine::observe().slug());
    Recorder::unused(&folder.join(name))
}

/// Measures and records in `folder`; returns it.
///
/// A backend that cannot be built or started, and a model file that is not the committed one, are
/// rows of the record; the others are measured all the same.
///
/// # Errors
/// Fails where a photograph cannot be read or the record cannot be written.
pub fn run(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    settings: &RunSettings,
    folder: &Path,
) -> Result<PathBuf> {
    run_asking(workspace, backends, workload, settings, folder, &ask)
}

/// The same until these questions are answered, in place of those that a report answers first.
///
/// # Errors
/// As [`run`].
pub fn run_asking(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    settings: &RunSettings,
    folder: &Path,
    asks: Asks,
) -> Result<PathBuf> {
    let began = Instant::now();
    let mut places = Places::default();
    let mut run = Run {
        version: VERSION,
        date: now(),
        machine: Machine::observe(),
        code: Code::observe(workspace)?,
        settings: settings.clone(),
        models: workload
            .models
            .iter()
            .map(|m| places.name(workspace, &m.file))
            .collect(),
        samples: workload
            .samples
            .iter()
            .map(|p| places.name(workspace, &p.file))
            .collect(),
        files: workload
            .checksums()?
            .into_iter()
            .map(|(path, sum)| (places.name(workspace, &path), sum))
            .collect(),
        engines: sources(backends)?,
        processors: processors(backends),
        duration_s: None,
    };
    let mut recorder = Recorder::begin(folder, workspace.root(), &run)?;
    places.write(recorder.folder())?;
    typed::write(recorder.folder(), &settings.command)?;
    recorder.announce_interruption(|folder| {
        let folder = shell_word::quoted(folder);
        format!("`cargo firstpass report --from {folder}` shows it")
    });

    let mut started = start_backends(workspace, backends, settings, &mut recorder)?;
    for backend in &mut started {
        let asked = settings.asked_budget_s.unwrap_or(settings.budget_s);
        backend.probe.patience = Some(Patience::within(asked));
    }
    let jobs = jobs(&started, workload, settings, &mut recorder)?;
    let referees = reference::start_referees(workspace, workload, settings)?;
    let budget = Budget {
        began: Instant::now(),
        all: Duration::from_secs_f64(settings.budget_s),
    };
    let mut inputs = InputFiles::new()?;
    let observed = agreement::observe(
        &jobs,
        workload,
        settings,
        &budget,
        &mut inputs,
        &mut recorder,
    )?;
    let seeking = Seeking {
        workspace,
        workload,
        budget: &budget,
        referees: &referees,
    };
    reference::observe(&seeking, &jobs, settings, &mut inputs, &mut recorder)?;
    let no_choice = no_choice(workspace, workload, recorder.folder());
    // What an emulator takes says nothing about the engine.
    let timed: Vec<&Job> = jobs
        .iter()
        .filter(|job| !settings.agreement_only.contains(&job.model.name))
        .filter(|job| job.probe.launcher.is_empty())
        .filter(|job| !observed.is_refused(&job.cell))
        .collect();
    latency::observe(
        &timed,
        workload,
        settings,
        &TimePlan {
            budget: &budget,
            paces: &observed.paces,
            asks,
            no_choice: &no_choice,
        },
        &mut inputs,
        &mut recorder,
    )?;
    workload.check_copies()?;
    run.duration_s = Some(began.elapsed().as_secs_f64());
    recorder.write_run(&run)?;
    recorder.finish()
}

/// Whose outputs cannot be used. A record that cannot be judged yet is measured all the same.
fn no_choice(workspace: &Workspace, workload: &Workload, folder: &Path) -> NoChoice {
    let analysis =
        Record::read(folder).and_then(|r| Analysis::with(workspace, r, workload.clone()));
    match analysis {
        Ok(analysis) => unfit::no_choice(&analysis),
        Err(error) => {
            eprintln!(
                "Outputs are not judged yet, so all engines count as fit to use: {}",
                shown(&format!("{error:#}"))
            );
            NoChoice::default()
        }
    }
}

/// Where those engines come from that are not simply here.
fn sources(backends: &[Backend]) -> Result<BTreeMap<String, String>> {
    let mut sources = BTreeMap::new();
    for backend in backends {
        if let Some(source) = backend.source()? {
            sources.insert(backend.name.clone(), source);
        }
    }
    Ok(sources)
}

fn processors(backends: &[Backend]) -> BTreeMap<String, String> {
    let emulated = backends.iter().filter_map(|backend| {
        let processor = backend.processor.as_ref()?;
        Some((backend.name.clone(), processor.name().to_owned()))
    });
    emulated.collect()
}

/// Builds each probe and asks its engine what it is.
fn start_backends(
    workspace: &Workspace,
    backends: &[Backend],
    settings: &RunSettings,
    recorder: &mut Recorder,
) -> Result<Vec<Started>> {
    let mut started = Vec::new();
    for backend in backends {
        if backend.binary().is_none() {
            eprintln!("{}: building the probe", backend.name);
        }
        let described = Probe::build(workspace, backend)
            .map_err(|error| format!("{error:#}"))
            .and_then(|mut probe| {
                // One that hangs may not take many times what was asked for.
                let asked = settings.asked_budget_s.unwrap_or(settings.budget_s);
                probe.timeout = patience(asked);
                match probe.describe() {
                    Ok(description) => Ok((probe, description)),
                    Err(outcome) => Err(outcome.to_string()),
                }
            });
        match described {
            Ok((mut probe, description)) => {
                let version = brief(&description.engine.version);
                eprintln!("{}: version {}", backend.name, terminal::line(&version));
                recorder.write(&backend.name, &Line::Description(description.clone()))?;
                probe.affinity = settings.affinity.clone();
                probe.knobs.clone_from(&description.knobs);
                let library = backend.native.as_ref();
                started.push(Started {
                    name: backend.name.clone(),
                    probe,
                    description,
                    library: library.map(|n| n.status(&workspace.native())),
                });
            }
            Err(reason) => {
                eprintln!("{}: {}", backend.name, beginning(&reason));
                recorder.write(&backend.name, &Line::Unavailable { reason })?;
            }
        }
    }
    Ok(started)
}

/// Every combination of a started backend, a model, a format that both have, and a number of
/// threads, whose model file is the committed one.
fn jobs<'a>(
    started: &'a [Started],
    workload: &'a Workload,
    settings: &RunSettings,
    recorder: &mut Recorder,
) -> Result<Vec<Job<'a>>> {
    let mut jobs = Vec::new();
    for backend in started {
        for model in &workload.models {
            let mut artifacts: Vec<Model> = backend
                .description
                .formats
                .iter()
                .filter_map(|format| model.artifact(*format))
                .collect();
            if settings.first_format_only {
                artifacts.truncate(1);
            }
            for (place, artifact) in artifacts.into_iter().enumerate() {
                let cell = Cell {
                    backend: backend.name.clone(),
                    model: model.name.clone(),
                    format: artifact.format,
                    knobs: Knobs::default(),
                    cold_files: false,
                    entry: 0,
                };
                let artifact = match workload.admit(model, &artifact) {
                    Ok(admitted) => admitted,
                    Err(error) => {
                        eprintln!("{}: {}", backend.name, shown(&format!("{error:#}")));
                        let refused = Box::new(refused(cell, &error));
                        recorder.write(&backend.name, &Line::Observation(refused))?;
                        continue;
                    }
                };
                let library = backend.library.as_ref();
                let files = Files::of(&backend.probe.binary, library, &artifact.path);
                for cell in cells(&cell, settings, place == 0) {
                    jobs.push(Job {
                        cell,
                        model,
                        artifact: artifact.clone(),
                        probe: &backend.probe,
                        files: files.clone(),
                    });
                }
            }
        }
    }
    Ok(jobs)
}

/// What is kept of a file that no engine is given.
fn refused(cell: Cell, error: &anyhow::Error) -> Observation {
    let mut process = Process::new(0);
    process.outcome = Outcome::Failed(Error::input(format!("{error:#}")));
    Observation {
        cell,
        purpose: Purpose::Agreement,
        round: 0,
        images: Vec::new(),
        system_counters: SystemCounters::before().after(),
        eviction: None,
        process,
    }
}

/// The cells of one file on one backend, with settings beside the default where it is the file that the
/// engine's users would choose. With cold files a cold start is a matter of the disk, so
/// that one number of threads says enough.
fn cells(cell: &Cell, settings: &RunSettings, is_usual: bool) -> Vec<Cell> {
    let of = |knobs: &Knobs, threads: usize, cold_files: bool, entry: usize| Cell {
        knobs: knobs.clone().with(THREADS, threads),
        cold_files,
        entry,
        ..cell.clone()
    };
    let mut variants = vec![Knobs::default()];
    variants.extend(
        settings
            .variants
            .get(&cell.backend)
            .filter(|_| is_usual)
            .into_iter()
            .flatten()
            .cloned(),
    );
    let mut cells = Vec::new();
    for &threads in &settings.threads {
        for knobs in &variants {
            let entries = 0..settings.entries;
            cells.extend(entries.map(|entry| of(knobs, threads, false, entry)));
        }
    }
    if let (Some(&fewest), true) = (settings.threads.iter().min(), settings.cold_files) {
        cells.push(of(&variants[0], fewest, true, 0));
    }
    cells
}

impl Job<'_> {
    /// Runs one process and observes what went on around it.
    fn observe(
        &self,
        purpose: Purpose,
        round: usize,
        images: &[String],
        work: impl FnOnce(&Probe) -> Process,
    ) -> Observation {
        let eviction: Option<Eviction> = self.cell.cold_files.then(|| self.files.evict());
        let before = SystemCounters::before();
        let process = work(self.probe);
        Observation {
            cell: self.cell.clone(),
            purpose,
            round,
            images: images.to_vec(),
            system_counters: before.after(),
            eviction,
            process,
        }
    }
}

fn label(cell: &Cell) -> String {
    let threads = cell.threads();
    let knobs = cell.knobs.settings();
    let setting: String = knobs
        .map(|(name, value)| format!(", {name}={value}"))
        .collect();
    format!(
        "{} {} ({}), {threads} thread{}{}{setting}",
        cell.backend,
        cell.model,
        cell.format.key(),
        if threads == 1 { "" } else { "s" },
        if cell.cold_files { ", cold files" } else { "" }
    )
}
