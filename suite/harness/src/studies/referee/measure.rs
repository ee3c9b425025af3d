//! Running a referee under each of its rules, and comparing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use firstpass_probe::{ErrorKind, Format, Knobs, PassPlan, THREADS, Trial};
use firstpass_trial::{
    agreement::{Agreement, compare, pairs},
    engine::Backend,
    machine::all_threads,
    model::{ModelDescription, Precision},
    observation::{Cell, Outcome, Purpose},
    outputs::{Outputs, read_outputs},
    process::{Probe, start},
    rules::rules,
    workload::{InputFiles, Workload},
    workspace::Workspace,
};

use crate::{
    page::numbers::setting as name,
    progress::progress,
    record::{
        Record,
        code::{Code, sources_sha256},
        sidecar,
    },
    studies::referee::{Comparison, Line, RefereeRun, Refusal, SIDECAR, VERSION},
};

/// Compares the engines of a record with every referee of the workspace, on the record's int8 models
/// and photographs; writes it beside the record and returns where.
///
/// # Errors
/// Fails where there is no referee, where the record or the models cannot be read, and where a referee
/// does not run under one of its rules. A model that it does not compute is a line that says so.
pub fn measure(workspace: &Workspace, record: &Path) -> Result<PathBuf> {
    let referees: Vec<Backend> = workspace
        .backends()?
        .into_iter()
        .filter(|backend| backend.is_referee)
        .collect();
    ensure!(
        !referees.is_empty(),
        "no backend of this workspace is a referee"
    );
    let kept = Record::read(record)?;
    let workload = kept.workload(workspace)?;
    let run = RefereeRun {
        version: VERSION,
        date: firstpass_trial::machine::now(),
        code: Code::observe(workspace)?,
        referees: referees
            .iter()
            .map(|referee| Ok((referee.name.clone(), sources_sha256(workspace, referee)?)))
            .collect::<Result<_>>()?,
        samples: workload
            .samples
            .iter()
            .map(|sample| sample.name.clone())
            .collect(),
    };
    let mut recorder = SIDECAR.begin(record, workspace.root(), &run)?;
    recorder.announce_interruption(sidecar::what_next);
    let mut inputs = InputFiles::new()?;
    for referee in &referees {
        let (probe, description) = start(workspace, referee)?;
        let rules = rules(&description.knobs);
        let int8 = workload
            .models
            .iter()
            .filter(|m| m.precision == Precision::Int8);
        let models = int8.filter(|m| {
            description
                .formats
                .iter()
                .any(|f| m.artifacts.contains_key(f))
        });
        let models: Vec<&ModelDescription> = models.collect();
        let bar = progress("referee", models.len() * rules.len());
        'models: for model in models {
            let engines = outputs_of_engines(&kept, model)?;
            for rules in &rules {
                bar.set_message(model.name.clone());
                let outputs = match run_referee(
                    &probe,
                    &description.formats,
                    &workload,
                    model,
                    rules,
                    &mut inputs,
                )? {
                    Ok(outputs) => outputs,
                    Err(refused) => {
                        eprintln!("{} on {}: {refused}", referee.name, model.name);
                        let refusal = Refusal {
                            model: model.name.clone(),
                            refused,
                        };
                        recorder.write(&referee.name, &Line::Refused(refusal))?;
                        // Rules say how it computes, and not what it can compute.
                        continue 'models;
                    }
                };
                for (cell, engine) in &engines {
                    for comparison in comparisons(model, rules, cell, &outputs, engine) {
                        let line = Line::Compared(Box::new(comparison));
                        recorder.write(&referee.name, &line)?;
                    }
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
    }
    recorder.finish()
}

/// What each engine gave by default, by its cell: that of the fewest threads.
fn outputs_of_engines(record: &Record, model: &ModelDescription) -> Result<Vec<(Cell, Outputs)>> {
    let names: Vec<String> = model
        .outputs
        .iter()
        .map(|output| output.name.clone())
        .collect();
    let mut cells: Vec<&Cell> = record
        .observations()
        .filter(|o| o.purpose == Purpose::Agreement && o.cell.model == model.name)
        .map(|o| &o.cell)
        .filter(|cell| cell.is_default())
        .collect();
    cells.sort_by_key(|cell| (cell.backend.clone(), cell.format, cell.threads()));
    cells.dedup_by_key(|cell| (cell.backend.clone(), cell.format));
    let mut found = Vec::new();
    for cell in cells {
        if let Some(outputs) = record.outputs(cell, &names)? {
            found.push((cell.clone(), outputs));
        }
    }
    Ok(found)
}

/// The referee's outputs, or its words where it does not compute the model.
fn run_referee(
    probe: &Probe,
    formats: &[Format],
    workload: &Workload,
    model: &ModelDescription,
    rules: &Knobs,
    inputs: &mut InputFiles,
) -> Result<Result<Outputs, String>> {
    let file = formats.iter().find_map(|format| model.artifact(*format));
    let file = file.context("the referee reads no file of the model")?;
    let file = workload.admit(model, &file)?;
    let saved = inputs.folder().join("referee.safetensors");
    let samples = workload.samples.iter();
    let knobs = rules.clone().with(THREADS, all_threads());
    let inputs = samples
        .map(|sample| inputs.file(sample, model))
        .collect::<Result<_>>()?;
    let mut trial = Trial::new(file, knobs, inputs, PassPlan::exactly(1));
    trial.outputs = Some(saved.clone());
    let process = probe.trial(&trial);
    if let Outcome::Failed(error) = &process.outcome
        && error.kind == ErrorKind::Unsupported
    {
        return Ok(Err(error.to_string()));
    }
    ensure!(
        process.completed(),
        "the referee on {} with {}: {}",
        model.name,
        name(rules),
        process.outcome
    );
    let samples: Vec<String> = workload
        .samples
        .iter()
        .map(|sample| sample.name.clone())
        .collect();
    let names: Vec<String> = model
        .outputs
        .iter()
        .map(|output| output.name.clone())
        .collect();
    read_outputs(&saved, &samples, &names).map(Ok)
}

fn comparisons(
    model: &ModelDescription,
    rules: &Knobs,
    cell: &Cell,
    referee: &Outputs,
    engine: &Outputs,
) -> Vec<Comparison> {
    let agreement = compare(model, &pairs(referee, engine)).into_iter();
    let comparison = |agreement: Agreement| {
        let steps = agreement.steps?;
        Some(Comparison {
            model: model.name.clone(),
            rules: rules.clone(),
            backend: cell.backend.clone(),
            format: cell.format,
            output: agreement.output,
            values: agreement.values,
            same: steps.histogram.first().copied().unwrap_or(0),
            most_steps: steps.max,
        })
    };
    agreement.filter_map(comparison).collect()
}
