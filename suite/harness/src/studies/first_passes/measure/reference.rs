//! What stands in for golden outputs where a model has none: those of the referee, and those of each engine
//! without its optimizations. The outputs are kept beside those that they are compared with.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use firstpass_probe::{Description, Error, Format, Knobs, PassPlan, THREADS, Trial};
use firstpass_trial::{
    engine::base,
    machine::all_threads,
    model::{ModelDescription, Precision},
    observation::{Cell, Observation, Outcome, Process, Purpose},
    outputs::{Outputs, read_outputs},
    process::{Probe, start},
    sample::Sample,
    system_counters::SystemCounters,
    workload::{InputFiles, Workload},
    workspace::Workspace,
};

use crate::{
    progress::progress,
    record::{Line, Recorder, RunSettings, write_outputs},
    studies::first_passes::measure::{Budget, Job, agreement::lacking, label},
};

/// When this share of the budget is spent, no engine is asked any more what it gives without its
/// optimizations: the rest is for what was asked for.
const LAST_START: f64 = 0.5;

/// The referee may take this share of the budget for all inputs of a model: it is exact and not fast.
const REFEREE_SHARE: f64 = 0.25;

/// And this share more by all of its rules of rounding, where the model is quantized.
const RULES_SHARE: f64 = 0.15;

/// What all of this has in common.
pub(crate) struct Seeking<'a> {
    pub workspace: &'a Workspace,
    pub workload: &'a Workload,
    pub budget: &'a Budget,
    pub referees: &'a [Referee],
}

/// A referee that was built, or why it was not.
pub(crate) struct Referee {
    name: String,
    started: Result<(Probe, Description)>,
    /// How published engines round, as its knobs say it.
    rules: Vec<Knobs>,
}

/// The models without golden outputs, where something is to stand in for these.
fn models<'a>(workload: &'a Workload, settings: &RunSettings) -> Result<Vec<&'a ModelDescription>> {
    let mut models = Vec::new();
    if !settings.seek_reference || settings.agreement_passes == 0 {
        return Ok(models);
    }
    for model in &workload.models {
        if workload.golden(model)?.is_none() {
            models.push(model);
        }
    }
    Ok(models)
}

/// Builds every referee that is to be asked: builds are no part of the budget.
///
/// # Errors
/// Fails where a manifest or golden outputs cannot be read.
pub(crate) fn start_referees(
    workspace: &Workspace,
    workload: &Workload,
    settings: &RunSettings,
) -> Result<Vec<Referee>> {
    if models(workload, settings)?.is_empty() {
        return Ok(Vec::new());
    }
    let backends = workspace.backends()?.into_iter();
    let referees = backends.filter(|backend| backend.is_referee);
    let started = referees.map(|backend| {
        let rules = backend.known()?.rounding_rule.into_iter();
        Ok(Referee {
            started: start(workspace, &backend),
            rules: rules.map(|rule| rule.settings).collect(),
            name: backend.name,
        })
    });
    started.collect()
}

/// Asks the referee and each engine, for every model without golden outputs.
///
/// # Errors
/// Fails where an input cannot be read or the record cannot be written. An engine or a referee that does not
/// run is a row.
pub(crate) fn observe(
    seeking: &Seeking,
    jobs: &[Job],
    settings: &RunSettings,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    let models = models(seeking.workload, settings)?;
    if models.is_empty() {
        return Ok(());
    }
    without_optimizations(seeking, &models, jobs, inputs, recorder)?;
    for referee in seeking.referees {
        ask_referee(seeking, &models, referee, inputs, recorder)?;
    }
    Ok(())
}

/// Each engine once, with every operator of the file computed by itself.
fn without_optimizations(
    seeking: &Seeking,
    models: &[&ModelDescription],
    jobs: &[Job],
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    let mut plain: BTreeMap<String, Knobs> = BTreeMap::new();
    for backend in seeking.workspace.backends()? {
        if let Some(known) = backend.known()?.without_optimizations {
            plain.insert(backend.name, known.settings);
        }
    }
    let fewest_threads = jobs.iter().map(|job| job.cell.threads()).min();
    let jobs: Vec<(&Job, &Knobs)> = jobs
        .iter()
        .filter(|job| {
            let cell = &job.cell;
            cell.is_default()
                && !cell.cold_files
                && cell.entry == 0
                && Some(cell.threads()) == fewest_threads
                && models.iter().any(|model| model.name == job.model.name)
        })
        .filter_map(|job| Some((job, plain.get(base(&job.cell.backend))?)))
        .collect();
    let bar = progress("without optimizations", jobs.len());
    for (job, knobs) in jobs {
        bar.inc(1);
        if seeking.budget.spent() > seeking.budget.all.mul_f64(LAST_START) {
            continue;
        }
        let cell = Cell {
            knobs: knobs.clone().with(THREADS, job.cell.threads()),
            ..job.cell.clone()
        };
        bar.set_message(label(&cell));
        let subject = Subject {
            model: job.model,
            probe: job.probe,
            file: &job.artifact,
            cell: &cell,
        };
        let samples: Vec<&Sample> = seeking.workload.samples.iter().collect();
        let (observation, outputs) = subject.run(&samples, inputs)?;
        if let Some(outputs) = outputs {
            write_outputs(recorder.folder(), &cell, &names(job.model), &outputs)?;
        }
        recorder.write(&cell.backend, &Line::Observation(Box::new(observation)))?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// A file of a model in a program, under the settings of a cell.
#[derive(Clone, Copy)]
struct Subject<'a> {
    model: &'a ModelDescription,
    probe: &'a Probe,
    file: &'a firstpass_probe::Model,
    cell: &'a Cell,
}

impl Subject<'_> {
    /// One pass over each of these inputs in one process, with the outputs where it completed.
    fn run(
        &self,
        samples: &[&Sample],
        inputs: &mut InputFiles,
    ) -> Result<(Observation, Option<Outputs>)> {
        let saved = inputs.folder().join("reference.safetensors");
        let files = samples.iter().map(|sample| inputs.file(sample, self.model));
        let files = files.collect::<Result<_>>()?;
        let knobs = self.cell.knobs.clone();
        let mut trial = Trial::new(self.file.clone(), knobs, files, PassPlan::exactly(1));
        trial.outputs = Some(saved.clone());
        let before = SystemCounters::before();
        let mut process = self.probe.trial(&trial);
        let images: Vec<String> = samples.iter().map(|sample| sample.name.clone()).collect();
        let outputs = if process.completed() {
            match read_outputs(&saved, &images, &names(self.model)) {
                Ok(outputs) => Some(outputs),
                Err(why) => {
                    process.outcome = lacking(&why);
                    None
                }
            }
        } else {
            None
        };
        let mut observation = observation(self.cell.clone(), process);
        observation.images = images;
        observation.system_counters = before.after();
        Ok((observation, outputs))
    }
}

fn names(model: &ModelDescription) -> Vec<String> {
    model.outputs.iter().map(|o| o.name.clone()).collect()
}

fn observation(cell: Cell, process: Process) -> Observation {
    Observation {
        cell,
        purpose: Purpose::Reference,
        round: 0,
        images: Vec::new(),
        system_counters: SystemCounters::before().after(),
        eviction: None,
        process,
    }
}

/// What the file defines; and of a quantized model, what it is by each rule of rounding.
fn ask_referee(
    seeking: &Seeking,
    models: &[&ModelDescription],
    referee: &Referee,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    for model in models {
        let formats = match &referee.started {
            Ok((_, description)) => description.formats.clone(),
            Err(_) => Vec::new(),
        };
        let file = formats.iter().find_map(|format| model.artifact(*format));
        let format = file.as_ref().map(|file| file.format);
        let format = format.or_else(|| model.artifacts.keys().next().copied());
        let cell = Cell {
            backend: referee.name.clone(),
            model: model.name.clone(),
            format: format.unwrap_or(Format::ONNX),
            knobs: Knobs::default().with(THREADS, all_threads()),
            cold_files: false,
            entry: 0,
        };
        let (probe, file) = match (&referee.started, file) {
            (Ok((probe, _)), Some(file)) => (probe.clone(), file),
            (Err(error), _) => {
                let outcome = Outcome::NotStarted(format!("{error:#}"));
                refused(recorder, cell, outcome)?;
                continue;
            }
            (Ok(_), None) => {
                let keys: Vec<&str> = formats.iter().map(|format| format.key()).collect();
                let reason = format!("it reads {}", keys.join(" or "));
                refused(recorder, cell, Outcome::Failed(Error::unsupported(reason)))?;
                continue;
            }
        };
        let file = match seeking.workload.admit(model, &file) {
            Ok(admitted) => admitted,
            Err(error) => {
                let outcome = Outcome::Failed(Error::input(format!("{error:#}")));
                refused(recorder, cell, outcome)?;
                continue;
            }
        };
        let subject = Subject {
            model,
            probe: &probe,
            file: &file,
            cell: &cell,
        };
        ask(seeking, &subject, &referee.rules, inputs, recorder)?;
    }
    Ok(())
}

/// Every input as the file defines it, and where the model is quantized by each rule of rounding too, as far as the
/// time reaches.
fn ask(
    seeking: &Seeking,
    subject: &Subject,
    rules: &[Knobs],
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<()> {
    let model = subject.model;
    let samples = &seeking.workload.samples;
    let (first, others) = samples.split_at(samples.len().min(1));
    let all = seeking.budget.all;
    let end = seeking.budget.spent() + all.mul_f64(REFEREE_SHARE);
    let mut own = Interpreted::new(subject.cell.clone());
    own.interpret(seeking, subject, first, end, inputs, recorder)?;
    if model.precision != Precision::Int8 || own.outputs.is_empty() {
        own.interpret(seeking, subject, others, end, inputs, recorder)?;
        return own.write(model, recorder);
    }
    // One input by every rule says more of how engines round than further inputs by one.
    let end = end + all.mul_f64(RULES_SHARE);
    let mut by_rules: Vec<Interpreted> = Vec::new();
    for rule in rules {
        let cell = Cell {
            knobs: rule.clone().with(THREADS, all_threads()),
            ..subject.cell.clone()
        };
        let mut by_rule = Interpreted::new(cell);
        by_rule.last = own.last;
        by_rule.interpret(seeking, subject, first, end, inputs, recorder)?;
        by_rules.push(by_rule);
    }
    own.interpret(seeking, subject, others, end, inputs, recorder)?;
    own.write(model, recorder)?;
    by_rules.retain(|by_rule| !by_rule.outputs.is_empty());
    for by_rule in &mut by_rules {
        by_rule.interpret(seeking, subject, others, end, inputs, recorder)?;
        by_rule.write(model, recorder)?;
    }
    Ok(())
}

/// What the referee gave under the settings of a cell, input by input.
struct Interpreted {
    cell: Cell,
    outputs: Outputs,
    /// How long an input took; nothing where that is not known.
    last: Duration,
    has_failed: bool,
}

impl Interpreted {
    fn new(cell: Cell) -> Self {
        Self {
            cell,
            outputs: Outputs::new(),
            last: Duration::ZERO,
            has_failed: false,
        }
    }

    /// Each input in a process of its own, until one fails or the next would not come to its end in time: what was
    /// interpreted until then is kept.
    fn interpret(
        &mut self,
        seeking: &Seeking,
        subject: &Subject,
        samples: &[Sample],
        end: Duration,
        inputs: &mut InputFiles,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let bar = progress("referee", samples.len());
        for sample in samples {
            bar.set_message(label(&self.cell));
            let left = end.saturating_sub(seeking.budget.spent());
            if self.has_failed || (!self.last.is_zero() && left <= self.last) {
                break;
            }
            let began = seeking.budget.spent();
            let mut probe = subject.probe.clone();
            probe.timeout = probe.timeout.min(left.max(Duration::from_secs(1)));
            let subject = Subject {
                probe: &probe,
                cell: &self.cell,
                ..*subject
            };
            let (observation, outputs) = subject.run(&[sample], inputs)?;
            recorder.write(
                &self.cell.backend,
                &Line::Observation(Box::new(observation)),
            )?;
            match outputs {
                Some(outputs) => self.outputs.extend(outputs),
                None => self.has_failed = true,
            }
            self.last = seeking.budget.spent().saturating_sub(began);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn write(&self, model: &ModelDescription, recorder: &Recorder) -> Result<()> {
        if self.outputs.is_empty() {
            return Ok(());
        }
        write_outputs(recorder.folder(), &self.cell, &names(model), &self.outputs)
    }
}

fn refused(recorder: &mut Recorder, cell: Cell, outcome: Outcome) -> Result<()> {
    let mut process = Process::new(0);
    process.outcome = outcome;
    let backend = cell.backend.clone();
    let line = Line::Observation(Box::new(observation(cell, process)));
    recorder.write(&backend, &line)
}
