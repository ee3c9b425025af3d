//! What each engine runs for each model, and its outputs for every photograph.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Result;
use firstpass_probe::{Format, PassPlan, Trial};

use super::{Budget, Job, label, progress, read_outputs};
use crate::{
    observation::Purpose,
    record::{Line, Recorder, Settings},
    subject::{InputFiles, Subject},
};

/// After this share of the budget the rest of the models are looked at on one photograph only.
const SHARE: f64 = 0.4;

/// How long a process took, by backend, model and format.
pub(super) type Took = BTreeMap<(String, String, Format), Duration>;

/// Observes each file of each model on each backend once.
pub(super) fn observe(
    jobs: &[Job],
    subject: &Subject,
    settings: &Settings,
    budget: &Budget,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<Took> {
    let mut took = Took::new();
    if settings.agreement_passes == 0 {
        return Ok(took);
    }
    let fewest_threads = jobs.iter().map(|j| j.cell.threads()).min();
    let jobs: Vec<&Job> = jobs
        .iter()
        .filter(|j| Some(j.cell.threads()) == fewest_threads && !j.cell.cold_files)
        .collect();
    let bar = progress("agreement", jobs.len());
    for job in jobs {
        bar.set_message(label(&job.cell));
        let thrifty = budget.spent() > budget.all.mul_f64(SHARE);
        let photos = &subject.photos[..if thrifty { 1 } else { subject.photos.len() }];
        let files: Result<Vec<PathBuf>> = photos
            .iter()
            .map(|photo| inputs.file(photo, job.model))
            .collect();
        let files = files?;
        if let (Some(first), false) = (files.first(), settings.skip_arithmetic) {
            let cell = job.cell.clone();
            let line = if thrifty {
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
        let images: Vec<String> = photos.iter().map(|p| p.name.clone()).collect();
        let passes = if thrifty {
            1
        } else {
            settings.agreement_passes
        };
        let began = budget.spent();
        let observation = job.observe(Purpose::Agreement, 0, &images, |probe| {
            probe.trial(&Trial {
                model: job.artifact.clone(),
                knobs: job.cell.knobs.clone(),
                inputs: files,
                passes: PassPlan::exactly(passes),
                outputs: Some(saved.clone()),
            })
        });
        let cell = &job.cell;
        let key = (cell.backend.clone(), cell.model.clone(), cell.format);
        took.insert(key, budget.spent() - began);
        if observation.process.completed() {
            let names: Vec<String> = job.model.outputs.iter().map(|o| o.name.clone()).collect();
            let outputs = read_outputs(&saved, &images, &names)?;
            recorder.write_outputs(cell, &names, &outputs)?;
        } else {
            bar.suspend(|| eprintln!("{}: {}", label(cell), observation.process.outcome));
        }
        recorder.write(&cell.backend, &Line::Observation(Box::new(observation)))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(took)
}
