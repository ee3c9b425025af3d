//! `firstpass tune`: which settings make the first passes fast, and what do they cost?

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use firstpass_probe::Format;
use firstpass_trial::{setup, workload::Workload, workspace::Workspace};

use crate::page::{shell::Given, terminal::text as shown};
use crate::studies::{
    first_passes::arguments::{self as measure, reported},
    tune::{self as tuning, measure::try_settings, report},
};

/// The settings of a backend are compared on these photographs; more would take long.
const PHOTOS: usize = 3;

#[derive(Args)]
pub struct Arguments {
    /// Measure nothing; show what this record of an earlier tuning says
    #[arg(long, value_name = "RECORD")]
    from: Option<PathBuf>,
    /// Write the recommended settings to tuned.toml, which `firstpass report` measures beside the
    /// defaults
    #[arg(long)]
    apply: bool,
    /// Keep the earlier measurements of every setting by itself, and measure only the promising ones
    /// together again
    #[arg(long, conflicts_with = "from")]
    combined_only: bool,
    /// The record beside which the measurements are kept [default: that of reports/README.md, or
    /// reports/quick for what is not the whole; of models of your own reports/quick/models/NAME]
    #[arg(long, value_name = "RECORD")]
    record: Option<PathBuf>,
    /// The folder for page and measurements, in place of that of a record
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["record", "from"])]
    out: Option<PathBuf>,
    #[command(flatten)]
    measure: measure::Arguments,
}

impl Arguments {
    /// Whether all engines are tried on the fixtures, so that it belongs to *the* report.
    fn is_whole(&self) -> bool {
        let of = &self.measure;
        of.backends.is_empty()
            && of.models.is_empty()
            && of.images.is_empty()
            && of.samples.is_empty()
    }

    /// Where the page goes: beside the report, if it belongs to that.
    fn place(&self, workspace: &Workspace) -> Result<PathBuf> {
        if let Some(folder) = &self.out {
            return Ok(folder.clone());
        }
        let named = self.from.as_ref().or(self.record.as_ref());
        let own = |record: &PathBuf| match record.parent().and_then(Path::parent) {
            Some(folder) if record.starts_with(workspace.reports()) => folder.into(),
            _ => record.clone(),
        };
        Ok(match named {
            Some(record) => own(&std::path::absolute(record).unwrap_or_else(|_| record.clone())),
            None if self.is_whole() => workspace.reports(),
            None => self.measure.quick(workspace)?,
        })
    }
}

/// Succeeds where the settings were judged, whether or not some are recommended.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folder = match &arguments.from {
        Some(folder) => folder.clone(),
        None => measure(workspace, arguments)?,
    };
    let tuning = tuning::read(workspace, &folder)?
        .with_context(|| format!("{} holds no measurements of settings", folder.display()))?;
    println!("{}", shown(&report::tuning_summary(&tuning)));
    let out = arguments.place(workspace)?;
    let page = report::write(workspace, &tuning, &out)?;
    println!("page: {}", page.display());
    println!("measurements: {}", folder.join(tuning::FOLDER).display());
    if arguments.apply {
        let path = workspace.tuned();
        tuning::apply(&tuning, &path)?;
        println!("settings: {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures every setting by itself, then the promising ones together, beside a record; returns the
/// folder of that record.
fn measure(workspace: &Workspace, arguments: &Arguments) -> Result<PathBuf> {
    let of = &arguments.measure;
    let backends = of.chosen_backends(workspace)?;
    let workload = workload(workspace, arguments)?;
    let record = match arguments.out.as_ref().or(arguments.record.as_ref()) {
        Some(record) => record.clone(),
        None if arguments.is_whole() => reported(workspace, "--record")?,
        None => of.quick(workspace)?,
    };
    setup::attempt(workspace, &backends);
    let mut of = of.clone();
    if !arguments.is_whole() {
        // What is tried again is tried on the same model.
        let repeated = ["--budget", "--engine", "--backend"];
        of.command = Given::now().without(&[], &repeated).words();
    }
    try_settings(
        workspace,
        &backends,
        &workload,
        &of,
        &record,
        arguments.combined_only,
    )?;
    Ok(record)
}

/// The named models, or the first int8 model of each format that a backend reads: a setting is
/// tried on one file, and `report` measures the tuned settings on all.
fn workload(workspace: &Workspace, arguments: &Arguments) -> Result<Workload> {
    let of = &arguments.measure;
    let mut workload = of.chosen_workload(workspace, PHOTOS)?;
    if of.models.is_empty() {
        let int8 = |m: &firstpass_trial::model::ModelDescription| {
            m.precision == firstpass_trial::model::Precision::Int8
                && m.artifacts.contains_key(&Format::TORCHSCRIPT)
                && m.artifacts.contains_key(&Format::ONNX)
        };
        let first = workload.models.iter().find(|m| int8(m)).cloned();
        workload.models = first
            .or_else(|| workload.models.first().cloned())
            .into_iter()
            .collect();
    }
    Ok(workload)
}
