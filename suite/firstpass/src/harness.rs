//! The only place that knows how Firstpass measures and judges. Nothing here is public, so that no
//! type of the crates below can be part of this crate's interface.

mod folder;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use firstpass_harness::{
    record::{Record, RunSettings, Target},
    studies::first_passes::{
        analysis::{Analysis, Row},
        judge::latency::Latency,
        measure as campaign,
        reference::Kind,
    },
    user_model::{
        Inputs, OpenShape, Signature, UserModel,
        golden::{self, Mismatch, Origin},
        lay_out,
    },
};
use firstpass_statistics::bootstrap;
use firstpass_trial::{
    affinity::Affinity, engine::Backend, engine_spec::chosen_backends,
    expectation::ExpectationVerdict, machine, observation::Observation,
    repeatability::Repeatability, shape::NamedShape, shell_word, trust::is_listed,
    workload::Workload, workspace::Workspace,
};

pub(crate) use folder::target;

use folder::Folder;

use crate::{
    agreement::{Agreement, Difference, Outcome, Reference},
    check::{Check, Golden},
    error::{Error, Result},
    figure::Estimate,
    input::{Dtype, InputSpec},
    summary::{Engine, Summary},
};

/// The fewest and most processes of an engine where no number is given.
const PROCESSES: (usize, usize) = (5, 20);

/// Most passes of a process.
const PASSES: usize = 40;

/// Passes over each sample whose outputs are compared.
const AGREEMENT_PASSES: usize = 2;

/// No further pass of a process is begun after this, in ms.
const PROCESS_BUDGET_MS: u64 = 1000;

/// Half widths of intervals at which an engine is known well enough.
const TARGET: Target = Target {
    steady: 0.03,
    first_pass: 0.10,
};

pub(crate) fn engines() -> Result<Vec<String>> {
    let engines = workspace()?.engines().map_err(failed)?;
    Ok(engines.into_iter().map(|engine| engine.name).collect())
}

/// One that runs wherever it can be built.
#[cfg(test)]
pub(crate) fn engine_without_library() -> Result<String> {
    let engines = workspace()?.engines().map_err(failed)?;
    let mut engines = engines.into_iter().filter(|engine| engine.native.is_none());
    let engine = engines.next();
    let engine = engine.ok_or_else(|| Error::not_measured("every engine needs a library"))?;
    Ok(engine.name)
}

pub(crate) fn threads_of_machine() -> usize {
    machine::all_threads()
}

pub(crate) fn quoted(word: &Path) -> String {
    shell_word::path(word)
}

pub(crate) fn is_tensors(file: &Path) -> bool {
    firstpass_trial::tensor_files::is_tensors(file)
}

/// Whether golden outputs in this file are Firstpass's to write: those of somebody else would be lost.
pub(crate) fn keeps_golden(file: &Path) -> bool {
    let is_ours = || matches!(Origin::read(file), Ok(Some(_)));
    golden::can_hold_origin(file).is_ok() && (!file.exists() || is_ours())
}

pub(crate) fn read_input(text: &str) -> Result<InputSpec> {
    let read: NamedShape = text.parse().map_err(invalid)?;
    let dtype = |key: &str| Dtype::ALL.into_iter().find(|d| d.to_string() == key);
    let dtype = read.dtype.and_then(|found| dtype(found.key()));
    InputSpec::checked(read.name, read.shape, dtype)
}

/// Reads a record and judges it.
pub(crate) fn read(folder: &Path) -> Result<Summary> {
    summary(&analysis(&workspace()?, folder)?)
}

fn analysis(workspace: &Workspace, folder: &Path) -> Result<Analysis> {
    let record = Record::read(folder).map_err(invalid)?;
    Analysis::new(workspace, record).map_err(invalid)
}

/// Measures what a check says, and writes its golden outputs where it is to.
pub(crate) fn measure(check: &Check, golden: Golden) -> Result<Summary> {
    let workspace = workspace()?;
    let own = own(check)?;
    let (written, compared) = match &check.golden {
        Some(file) if golden == Golden::Write && keeps_golden(file) => (Some(file.as_path()), None),
        file => (None, file.as_deref()),
    };
    if let Some(file) = compared
        && check.samples.is_empty()
        && Origin::read(file).map_err(invalid)?.is_none()
    {
        return Err(Error::invalid(format!(
            "{} does not say which inputs its outputs are of, and none are given: name them with \
             `.sample(…)`",
            file.display()
        )));
    }
    let folder = Folder::of(check, target())?;
    let model = own.describe(&workspace).map_err(invalid)?;
    let workload = |golden: Option<&Path>| {
        let inputs = Inputs {
            files: check.samples.clone(),
            golden: golden.map(Into::into),
        };
        let laid_out = lay_out(&workspace, model.clone(), &inputs, &folder.path, own.trust);
        laid_out.map_err(|error| match error.downcast_ref::<Mismatch>() {
            Some(mismatch) => {
                let renewal = check
                    .renewal()
                    .map(|how| format!("; if that is meant, {how}"));
                Error::invalid(format!("{mismatch}{}", renewal.unwrap_or_default()))
            }
            None => invalid(error),
        })
    };
    let engines = chosen_backends(&workspace, &check.engines).map_err(invalid)?;
    let record = run(&workspace, check, &engines, &workload(compared)?, &folder)?;
    let measured = analysis(&workspace, &record)?;
    let mut summary = summary(&measured)?;
    all_ran(check, &engines, &summary, &measured)?;
    if let Some(file) = written {
        let kept = golden::keep(&measured, file).map_err(failed)?;
        // Judged again, against what was written.
        let again = Record::read(&record).map_err(invalid)?;
        let again = Analysis::with(&workspace, again, workload(Some(file))?).map_err(invalid)?;
        summary = self::summary(&again)?;
        summary.notes = vec![format!("wrote {}: {kept}", file.display())];
    }
    for file in &mut summary.changed {
        // As it was given.
        let is_file = |model: &&PathBuf| std::path::absolute(model).is_ok_and(|m| m == *file);
        if let Some(model) = check.models.iter().find(is_file) {
            file.clone_from(model);
        }
    }
    summary.renewal = check.renewal();
    summary.shown_record = folder.shown(&record);
    if let (Some(file), Reference::Golden(name)) = (&check.golden, &mut summary.reference) {
        *name = file.display().to_string();
    }
    Ok(summary)
}

fn own(check: &Check) -> Result<UserModel> {
    for file in &check.models {
        let format = Signature::read(file).map_err(invalid)?.format;
        // The only format that is a program.
        if format.key() == "torchscript" && !check.trust && !is_listed(file).map_err(invalid)? {
            return Err(Error::invalid(format!(
                "{} is a program that would be run with your rights; say `.trust()` if you know where \
                 it comes from, or run `firstpass trust {}` once",
                file.display(),
                shell_word::path(file)
            )));
        }
    }
    let inputs = check.inputs.iter();
    Ok(UserModel {
        files: check.models.clone(),
        inputs: inputs
            .map(|input| input.to_string().parse().map_err(invalid))
            .collect::<Result<_>>()?,
        samples: check.samples.clone(),
        trust: check.trust,
        ..UserModel::default()
    })
}

fn run(
    workspace: &Workspace,
    check: &Check,
    engines: &[Backend],
    workload: &Workload,
    folder: &Folder,
) -> Result<PathBuf> {
    let (least, most) = check.processes.map_or(PROCESSES, |number| (number, number));
    let settings = RunSettings {
        processes: most,
        least_processes: least,
        passes: PASSES,
        agreement_passes: AGREEMENT_PASSES,
        skip_arithmetic: true,
        threads: vec![check.threads],
        budget_s: check.budget.as_secs_f64(),
        process_budget_ms: PROCESS_BUDGET_MS,
        target: TARGET,
        affinity: Affinity::default(),
        cold_files: false,
        entries: 1,
        variants: BTreeMap::new(),
        first_format_only: true,
        agreement_only: BTreeSet::new(),
        seek_reference: true,
        asked_budget_s: None,
        command: Vec::new(),
    };
    let record = folder.path.join("record");
    campaign::run(workspace, engines, workload, &settings, &record).map_err(failed)
}

/// Every engine that was named has to run the model, and one at least where none was.
fn all_ran(
    check: &Check,
    engines: &[Backend],
    summary: &Summary,
    measured: &Analysis,
) -> Result<()> {
    for engine in engines.iter().filter(|_| !check.engines.is_empty()) {
        ran(summary, measured, &engine.name)?;
    }
    if !summary.engines.is_empty() {
        return Ok(());
    }
    let failures = summary.failures();
    let failures: Vec<String> = failures
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    Err(Error::not_measured(format!(
        "no engine runs this model\n{}",
        failures.join("\n")
    )))
}

fn ran(summary: &Summary, measured: &Analysis, name: &str) -> Result<()> {
    let known = |(engine, _): (&str, &str)| engine == name;
    if summary.failures().any(known) || summary.engines().iter().any(|e| e.name() == name) {
        return summary.engine(name).map(drop);
    }
    let description = measured.record.backends.get(name);
    let formats = description.and_then(|b| b.description.as_ref());
    let formats = formats.iter().flat_map(|d| &d.formats);
    let formats: Vec<String> = formats.map(|format| format.key().to_owned()).collect();
    Err(Error::not_measured(format!(
        "{name} did not run the model: it reads {}; give such a file as well, with `.also(…)`",
        formats.join(", ")
    )))
}

fn summary(measured: &Analysis) -> Result<Summary> {
    let [model] = measured.models() else {
        return Err(Error::invalid(format!(
            "the record {} is of {} models, and a summary is of one",
            measured.record.folder.display(),
            measured.models().len()
        )));
    };
    let rows = measured.rows(model);
    let kind = measured.references.get(&model.name);
    let reference = match kind.map(|reference| reference.kind.clone()) {
        Some(Kind::Golden(from)) => Reference::Golden(from),
        Some(Kind::Referee(_)) => Reference::Referee,
        Some(Kind::Agreed { engines, .. }) => Reference::Engines(engines),
        Some(Kind::Undecided { .. }) => Reference::EachOther,
        Some(Kind::Nothing) | None => Reference::Nothing,
    };
    let mut engines = Vec::new();
    let unavailable = measured.unavailable();
    let mut failures: Vec<(String, String)> = unavailable
        .map(|(name, why)| (name.to_owned(), why.to_owned()))
        .collect();
    for row in rows {
        let fault = fault(measured, row);
        match &fault {
            Some(fault) if row.outputs.is_none() && row.latency.is_empty() => {
                failures.push((row.name(), fault.clone()));
            }
            _ if row.latency.is_empty() => {
                engines.push(engine(measured, row, row.cell.threads(), None, fault));
            }
            _ => engines.extend(row.latency.iter().map(|(threads, latency)| {
                engine(measured, row, *threads, Some(latency), fault.clone())
            })),
        }
    }
    let golden = match &reference {
        Reference::Golden(_) => model.golden.as_deref(),
        _ => None,
    };
    let origin = golden.map(|golden| Origin::read(&model.path(golden)));
    let origin = origin.transpose().map_err(invalid)?.flatten();
    let changed = origin.map(|origin| origin.changed_files(model));
    Ok(Summary {
        model: model.name.clone(),
        engines,
        failures,
        reference,
        changed: changed.transpose().map_err(invalid)?.unwrap_or_default(),
        renewal: None,
        notes: Vec::new(),
        record: measured.record.folder.clone(),
        shown_record: measured.record.folder.display().to_string(),
    })
}

fn engine(
    measured: &Analysis,
    row: &Row,
    threads: usize,
    latency: Option<&Latency>,
    fault: Option<String>,
) -> Engine {
    let of = |figure: fn(&Latency) -> Option<bootstrap::Estimate>| {
        latency.and_then(figure).map(|estimate| Estimate {
            median: estimate.median,
            interval: estimate.interval,
            processes: estimate.processes,
        })
    };
    Engine {
        name: row.name(),
        threads,
        first_pass: of(|l| l.pass.get(&1).copied()),
        second_pass: of(|l| l.pass.get(&2).copied()),
        // Of passes that never became steady a limit would say nothing.
        steady: of(|l| l.steady.filter(|_| l.has_steady_times())),
        first_pass_over_steady: of(|l| {
            let first = l.first_over_steady.filter(|_| l.has_steady_times());
            Some(first?.estimate())
        }),
        cold_start: of(|l| l.cold_start),
        agreement: agreement(measured, row),
        fault,
    }
}

/// How a process of the engine ended that did not complete.
fn fault(measured: &Analysis, row: &Row) -> Option<String> {
    let of_row = |observation: &&Observation| {
        let cell = &observation.cell;
        cell.is_default()
            && cell.backend == row.cell.backend
            && cell.model == row.cell.model
            && cell.format == row.cell.format
    };
    let mut incidents = measured.incidents().filter(of_row);
    incidents.next().map(|o| o.process.outcome.to_string())
}

fn agreement(measured: &Analysis, row: &Row) -> Agreement {
    let of_row = |repeated: &&Repeatability| {
        repeated.backend == row.cell.backend
            && repeated.model == row.cell.model
            && repeated.format == row.cell.format
    };
    let known = measured.known.get(&row.cell.backend);
    let changing = measured.repeatability.iter().find(of_row);
    let changing = changing.and_then(|r| r.fault(&known.cloned().unwrap_or_default()));
    let all = row.agreement.iter().flatten();
    let outputs: Vec<Difference> = all
        .clone()
        .map(|agreement| Difference {
            output: agreement.output.clone(),
            values: agreement.values,
            same_bits: agreement.same_bits,
            max_difference: agreement.max_abs,
            max_relative_difference: agreement.max_relative,
            max_steps: agreement.steps.as_ref().map(|steps| steps.max),
        })
        .collect();
    let is_nothing = outputs.iter().all(|output| output.values == 0);
    let seen = row.outputs.as_ref().map_or(0, BTreeMap::len);
    let samples = measured.samples().len();
    let outcome = match &row.verdict {
        _ if !row.not_finite.is_empty() => Outcome::Other(row.not_finite.join("; ")),
        Some(ExpectationVerdict::Unexpected(how) | ExpectationVerdict::Differs(how)) => {
            Outcome::Other(how.join("; "))
        }
        Some(ExpectationVerdict::Undecided(how)) if !how.is_empty() => {
            Outcome::Other(how.join("; "))
        }
        _ if changing.is_some() => Outcome::Other(changing.unwrap_or_default()),
        _ if seen < samples => Outcome::NotCompared(format!(
            "it gave outputs for {seen} of {samples} samples; give it more time with `.budget(…)`"
        )),
        None => Outcome::NotCompared("there is nothing to compare with".into()),
        // Engines that are compared with each other have no differences from a reference.
        Some(ExpectationVerdict::Undecided(_)) => {
            Outcome::Same(ExpectationVerdict::Undecided(Vec::new()).to_string())
        }
        Some(_) if is_nothing => Outcome::NotCompared("its outputs hold no values".into()),
        Some(verdict) => Outcome::Same(verdict.to_string()),
    };
    Agreement { outcome, outputs }
}

fn workspace() -> Result<Workspace> {
    Workspace::find().map_err(failed)
}

/// What was given is wrong.
fn invalid(error: anyhow::Error) -> Error {
    match error.downcast_ref::<OpenShape>() {
        Some(OpenShape { what, examples }) => {
            let inputs: Vec<String> = examples
                .iter()
                .map(|example| format!(".input({example:?})"))
                .collect();
            let inputs = inputs.join("");
            Error::invalid(format!("{what}; give it, for example with `{inputs}`"))
        }
        None => Error::invalid(format!("{error:#}")),
    }
}

/// It could not be measured.
fn failed(error: anyhow::Error) -> Error {
    Error::not_measured(format!("{error:#}"))
}
