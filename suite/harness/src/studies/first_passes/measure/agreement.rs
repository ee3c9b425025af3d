//! What each engine runs for each model, and its outputs for every photograph.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, ensure};
use firstpass_probe::{Error, ErrorKind, PassPlan, Phase, THREADS, Trial};
use firstpass_trial::{
    model::ModelDescription,
    observation::{Cell, Outcome, Process, Purpose},
    outputs::{Outputs, read_outputs},
    workload::{InputFiles, Workload},
};

use crate::{
    page::terminal::beginning,
    progress::progress,
    record::{Line, Recorder, RunSettings, write_outputs},
    studies::first_passes::measure::{Budget, Job, label},
};

/// After this share of the budget the rest of the models are looked at on one photograph only.
pub(crate) const OUTPUTS_SHARE: f64 = 0.4;

/// A slow engine passes over a photograph once only, in ms.
const SECOND_PASS_WITHIN_MS: u64 = 1500;

/// How fast an engine runs a file: by the cell with one thread.
pub(crate) type Paces = BTreeMap<Cell, Pace>;

/// The key of [`Paces`].
pub(crate) fn paced(cell: &Cell) -> Cell {
    Cell {
        knobs: cell.knobs.clone().with(THREADS, 1),
        cold_files: false,
        entry: 0,
        ..cell.clone()
    }
}

/// What the processes of a cell are expected to take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    /// Until the model is prepared.
    start: Duration,
    /// The first two passes together.
    first_two: Duration,
    /// A later pass.
    pub pass: Duration,
}

impl Pace {
    /// `None` where the process gave no outputs. One that hung is expected to hang again.
    fn of(process: &Process) -> Option<Self> {
        if let Outcome::TimedOut { seconds, .. } = process.outcome {
            return Some(Self {
                start: Duration::from_secs(seconds),
                ..Self::default()
            });
        }
        let passes: Vec<Duration> = process
            .passes
            .iter()
            .map(|p| Duration::from_nanos(p.span.wall_ns))
            .collect();
        let first = *passes.first()?;
        Some(Self {
            start: Duration::from_nanos(process.cold_start_ns()?).saturating_sub(first),
            first_two: passes.iter().take(2).sum(),
            pass: *passes.iter().min()?,
        })
    }

    pub fn process(&self, passes: usize) -> Duration {
        let later = u32::try_from(passes.saturating_sub(2)).unwrap_or(u32::MAX);
        self.start + self.first_two + self.pass.saturating_mul(later)
    }
}

/// What is said of a process that wrote other outputs than the model has.
pub(super) fn lacking(why: &anyhow::Error) -> Outcome {
    Outcome::Failed(Error::engine(format!("{why:#}")).in_phase(Phase::Output))
}

/// These outputs, where they have the shapes that the model declares: a program of the user's own need not look.
fn of_declared_shapes(model: &ModelDescription, outputs: Outputs) -> Result<Outputs> {
    for (tensor, spec) in outputs
        .values()
        .flat_map(|of| of.iter().zip(&model.outputs))
    {
        ensure!(
            spec.shape
                .as_ref()
                .is_none_or(|shape| *shape == tensor.shape()),
            "the output {:?} has the shape {:?}, but the model declares {:?}: the engine or the file is wrong",
            spec.name,
            tensor.shape(),
            spec.shape.as_deref().unwrap_or_default()
        );
    }
    Ok(outputs)
}

/// Observes each file of each model on each backend once.
///
/// Returns how fast they were, so that the time for what follows can be shared out, and which files engines refuse.
pub(crate) fn observe(
    jobs: &[Job],
    workload: &Workload,
    settings: &RunSettings,
    budget: &Budget,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<Observed> {
    let mut observed = Observed::default();
    if settings.agreement_passes == 0 {
        return Ok(observed);
    }
    let fewest_threads = jobs.iter().map(|j| j.cell.threads()).min();
    let jobs: Vec<&Job> = jobs
        .iter()
        .filter(|j| Some(j.cell.threads()) == fewest_threads && !j.cell.cold_files)
        .collect();
    let mut seen: BTreeMap<Cell, Process> = BTreeMap::new();
    let bar = progress("outputs", jobs.len());
    for job in jobs {
        bar.set_message(label(&job.cell));
        if observed.is_refused(&job.cell) {
            bar.inc(1);
            continue;
        }
        let low_budget = budget.spent() > budget.all.mul_f64(OUTPUTS_SHARE);
        // Whether a setting changes the outputs of a photograph, its timed passes tell as well.
        if low_budget && settings.skip_arithmetic && !job.cell.is_default() {
            bar.inc(1);
            continue;
        }
        let samples = &workload.samples[..if low_budget {
            1
        } else {
            workload.samples.len()
        }];
        let files: Result<Vec<PathBuf>> = samples
            .iter()
            .map(|sample| inputs.file(sample, job.model))
            .collect();
        let files = files?;
        // What a setting changes of it shows in the outputs.
        let skip_arithmetic = settings.skip_arithmetic || !job.cell.is_default();
        if let (Some(first), false) = (files.first(), skip_arithmetic) {
            let cell = job.cell.clone();
            let line = if low_budget {
                Line::NoArithmetic {
                    cell,
                    reason: "not asked: the budget was short".into(),
                }
            } else {
                match job.probe.inspect(&job.artifact, &job.cell.knobs, first) {
                    Ok(arithmetic) => Line::Arithmetic { cell, arithmetic },
                    Err(outcome) => Line::NoArithmetic {
                        cell,
                        reason: outcome.to_string(),
                    },
                }
            };
            recorder.write(&job.cell.backend, &line)?;
        }
        let saved = inputs.folder().join("outputs.safetensors");
        let images: Vec<String> = samples.iter().map(|p| p.name.clone()).collect();
        let passes = if low_budget {
            1
        } else {
            settings.agreement_passes
        };
        let mut observation = job.observe(Purpose::Agreement, 0, &images, |probe| {
            let plan = PassPlan {
                at_least: 1,
                at_most: passes,
                budget_ms: SECOND_PASS_WITHIN_MS,
            };
            let knobs = job.cell.knobs.clone();
            let mut trial = Trial::new(job.artifact.clone(), knobs, files, plan);
            trial.outputs = Some(saved.clone());
            probe.trial(&trial)
        });
        let cell = &job.cell;
        observed
            .paces
            .extend(Pace::of(&observation.process).map(|pace| (paced(cell), pace)));
        let default = seen.get(&cell.default_of()).filter(|_| !cell.is_default());
        let is_known = default.and_then(|default| observation.process.same_bits(default));
        let is_known = is_known == Some(true);
        seen.insert(cell.clone(), observation.process.clone());
        // The same bits as those of the default need no second file.
        if observation.process.completed() && !is_known {
            let names: Vec<String> = job.model.outputs.iter().map(|o| o.name.clone()).collect();
            let outputs = read_outputs(&saved, &images, &names);
            match outputs.and_then(|outputs| of_declared_shapes(job.model, outputs)) {
                Ok(outputs) => write_outputs(recorder.folder(), cell, &names, &outputs)?,
                // Another engine is measured all the same.
                Err(why) => observation.process.outcome = lacking(&why),
            }
        }
        if !observation.process.completed() {
            let outcome = observation.process.outcome.to_string();
            bar.suspend(|| eprintln!("{}: {}", label(cell), beginning(&outcome)));
            if cell.is_default() && is_refusal(&observation.process.outcome) {
                observed.refused.insert(cell.clone());
            }
        }
        recorder.write(&cell.backend, &Line::Observation(Box::new(observation)))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(observed)
}

/// What the first look at outputs tells of what follows.
#[derive(Default)]
pub(crate) struct Observed {
    pub paces: Paces,
    /// Files that engines refuse as their users find them.
    refused: BTreeSet<Cell>,
}

impl Observed {
    /// Whether a cell is of a file that its engine refuses, with a setting that does not change the file.
    pub(crate) fn is_refused(&self, cell: &Cell) -> bool {
        !cell.is_default() && self.refused.contains(&cell.default_of())
    }
}

/// Whether an engine said that it does not have what the file needs, before any pass.
fn is_refusal(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(error) => {
            error.kind == ErrorKind::Unsupported && error.phase == Some(Phase::Load)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Format, Knobs};

    use super::*;

    fn failed(mut error: Error, phase: Phase) -> Outcome {
        error.phase = Some(phase);
        Outcome::Failed(error)
    }

    #[test]
    fn a_file_that_an_engine_refuses_is_not_tried_with_every_setting() {
        assert!(is_refusal(&failed(Error::unsupported("LSTM"), Phase::Load)));
        // With another setting it may well go.
        for other in [
            failed(Error::unsupported("odd sizes"), Phase::Pass),
            failed(Error::engine("a fusion fails"), Phase::Load),
            Outcome::Completed,
        ] {
            assert!(!is_refusal(&other), "{other:?}");
        }
        let cell = |backend: &str, knobs: Knobs| Cell {
            backend: backend.into(),
            model: "m".into(),
            format: Format::ONNX,
            knobs: knobs.with(THREADS, 1),
            cold_files: false,
            entry: 0,
        };
        let observed = Observed {
            refused: BTreeSet::from([cell("a", Knobs::default())]),
            ..Observed::default()
        };
        let set = || Knobs::default().with("kernels", "plain");
        assert!(observed.is_refused(&cell("a", set())));
        // Its own row stays, with its words.
        assert!(!observed.is_refused(&cell("a", Knobs::default())));
        assert!(!observed.is_refused(&cell("b", set())));
    }
}
