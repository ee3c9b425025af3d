//! `firstpass zoo`: do other models do it?

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use firstpass_probe::Format;
use firstpass_trial::{
    affinity::Affinity,
    model::{ModelDescription, Precision},
    setup,
    workload::Workload,
    workspace::Workspace,
};

use crate::{
    page::terminal::text as shown,
    record::{RunSettings, Target},
    studies::{
        first_passes::{
            arguments::{self as measure, reported},
            chosen, measure as campaign,
        },
        zoo::{self, report},
    },
};

/// Outputs are compared on these photographs; more would take long.
const PHOTOS: usize = 3;

const TARGET: Target = Target {
    steady: 0.03,
    first_pass: 0.10,
};

#[derive(Args)]
pub struct Arguments {
    /// Measure nothing; show what this record holds of other models
    #[arg(long, value_name = "RECORD")]
    from: Option<PathBuf>,
    /// The record beside which the measurements are kept [default: that of reports/README.md, or
    /// reports/quick for what is not the whole]
    #[arg(long, value_name = "RECORD")]
    record: Option<PathBuf>,
    #[command(flatten)]
    measure: measure::Arguments,
}

impl Arguments {
    /// Whether all engines are measured on all models, so that it belongs to *the* report.
    fn is_whole(&self) -> bool {
        let of = &self.measure;
        of.backends.is_empty() && of.models.is_empty() && of.images.is_empty()
    }

    /// Where the page goes: beside the report, if it belongs to that.
    fn out(&self, workspace: &Workspace, record: &Path) -> PathBuf {
        if !record.starts_with(workspace.reports().join("records")) {
            return record.into();
        }
        workspace.reports()
    }

    fn preset(&self) -> RunSettings {
        RunSettings {
            processes: 30,
            least_processes: 5,
            passes: 40,
            agreement_passes: 1,
            skip_arithmetic: true,
            threads: vec![1],
            budget_s: 600.0,
            process_budget_ms: 1500,
            target: TARGET,
            affinity: Affinity::default(),
            cold_files: false,
            entries: 1,
            variants: BTreeMap::new(),
            first_format_only: true,
            agreement_only: BTreeSet::new(),
            seek_reference: false,
            asked_budget_s: None,
            command: Vec::new(),
        }
    }
}

/// Succeeds where the models were measured, whatever came of it.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let record = match &arguments.from {
        Some(record) => record.clone(),
        None => measure(workspace, arguments)?,
    };
    let record = std::path::absolute(&record)?;
    let zoo = zoo::read(&record)?
        .with_context(|| format!("{} holds no measurements of other models", record.display()))?;
    println!("{}", shown(&report::zoo_summary(&zoo)?));
    let page = report::write(&zoo, &arguments.out(workspace, &record))?;
    println!("page: {}", page.display());
    println!("measurements: {}", zoo.record.folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes the models that are not there yet and measures them beside a record; returns the folder of
/// that.
fn measure(workspace: &Workspace, arguments: &Arguments) -> Result<PathBuf> {
    // What the user named is checked before anything that takes time.
    let of = &arguments.measure;
    let backends = of.chosen_backends(workspace)?;
    let mut settings = of.settings(arguments.preset())?;
    settings.variants = chosen::tuned(workspace, &backends)?;
    let record = match &arguments.record {
        Some(record) => record.clone(),
        None if arguments.is_whole() => reported(workspace, "--record")?,
        None => workspace.reports().join("quick"),
    };
    std::fs::create_dir_all(&record)
        .with_context(|| format!("cannot write to {}", record.display()))?;
    setup::attempt(workspace, &backends);
    let (made, what) = zoo::make(workspace)?;
    for missing in &what.missing {
        eprintln!("{}: {}", missing.model, missing.reason);
    }
    let mut all = fixtures(workspace)?;
    all.extend(made);
    let models = chosen(workspace, all, &of.models)?;
    let samples = of.chosen_samples(workspace, &models, PHOTOS)?;
    let mut workload = Workload::new(workspace, models, samples)?;
    // Programs that this checkout has made are trusted as it is itself; those of others need more.
    let made_here = workspace.native();
    let mut models = workload.models.iter();
    workload.trust = of.trust
        || models.all(|model| {
            model.file.starts_with(&made_here) || workload.is_of_fixtures(model).unwrap_or(false)
        });
    let folder = record.join(zoo::FOLDER);
    let folder = campaign::run(workspace, &backends, &workload, &settings, &folder)?;
    zoo::keep(&folder, &workload, &what)?;
    Ok(record)
}

/// Of the fixtures' detector the first float and the first int8 model that every format is there of.
fn fixtures(workspace: &Workspace) -> Result<Vec<ModelDescription>> {
    let models = Workload::fixture_models(workspace)?;
    let first = |precision: Precision| {
        let mut models = models.iter();
        models.find(|model| {
            model.precision == precision
                && [Format::TORCHSCRIPT, Format::ONNX]
                    .iter()
                    .all(|format| model.artifacts.contains_key(format))
        })
    };
    let found = [first(Precision::Fp32), first(Precision::Int8)];
    Ok(found.into_iter().flatten().cloned().collect())
}

/// The models of these names, or all; a name may be that of any fixture or the path of a model.toml.
fn chosen(
    workspace: &Workspace,
    all: Vec<ModelDescription>,
    names: &[String],
) -> Result<Vec<ModelDescription>> {
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        if let Some(model) = all.iter().find(|model| &model.name == name) {
            return Ok(model.clone());
        }
        Workload::find_model(workspace, name).or_else(|_| {
            let known: Vec<&str> = all.iter().map(|m| m.name.as_str()).collect();
            bail!(
                "no model {name:?}: give the path of a model.toml, or one of {}",
                known.join(", ")
            )
        })
    };
    names.iter().map(find).collect()
}
