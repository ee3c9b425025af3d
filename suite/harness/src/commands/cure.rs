//! `firstpass cure`: which settings make the first passes fast, and what do they cost?

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use firstpass_harness::{
    campaign, cure,
    judge::cure::{combinations, judge, one_at_a_time},
    placement::Placement,
    probe::Probe,
    record::{Record, Settings, Target},
    report,
    subject::Subject,
    workspace::{Backend, Workspace},
};
use firstpass_probe::{Format, Knobs};

use crate::commands::{
    measure::{self, reported},
    setup,
};

/// The settings of a backend are compared on these photographs; more would take long.
const PHOTOS: usize = 3;

/// The share of the time that the settings one at a time get.
const SCREENING: f64 = 0.55;

const TARGET: Target = Target {
    steady: 0.02,
    first_pass: 0.05,
};

#[derive(Args)]
pub struct Arguments {
    /// Measure nothing; show what this record of an earlier cure says
    #[arg(long, value_name = "RECORD")]
    from: Option<PathBuf>,
    /// Write the recommended settings to cures.toml, which `firstpass report` measures beside the
    /// defaults
    #[arg(long)]
    apply: bool,
    /// Keep the earlier measurements of every setting by itself, and measure only the promising ones
    /// together again
    #[arg(long, conflicts_with = "from")]
    combined_only: bool,
    /// The record beside which the measurements are kept [default: that of reports/README.md, or
    /// reports/quick for what is not the whole]
    #[arg(long, value_name = "RECORD")]
    record: Option<PathBuf>,
    #[command(flatten)]
    measure: measure::Arguments,
}

impl Arguments {
    /// Whether all engines are tried on the fixtures, so that it belongs to *the* report.
    fn is_whole(&self) -> bool {
        let of = &self.measure;
        of.backends.is_empty() && of.models.is_empty() && of.images.is_empty()
    }

    /// Where the page goes: beside the report, if it belongs to that.
    fn out(&self, workspace: &Workspace) -> PathBuf {
        let named = self.from.as_ref().or(self.record.as_ref());
        let own = |record: &PathBuf| match record.parent().and_then(Path::parent) {
            Some(folder) if record.starts_with(workspace.reports()) => folder.into(),
            _ => record.clone(),
        };
        match named {
            Some(record) => own(&std::path::absolute(record).unwrap_or_else(|_| record.clone())),
            None if self.is_whole() => workspace.reports(),
            None => workspace.reports().join("quick"),
        }
    }
}

/// Succeeds where the settings were judged, whether or not one of them is a cure.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folder = match &arguments.from {
        Some(folder) => folder.clone(),
        None => measure(workspace, arguments)?,
    };
    let cure = cure::read(workspace, &folder)?
        .with_context(|| format!("{} holds no measurements of settings", folder.display()))?;
    println!("{}", report::cure_summary(&cure));
    let out = arguments.out(workspace);
    let page = report::write_cures(workspace, &cure, &out)?;
    println!("page: {}", page.display());
    println!("measurements: {}", folder.join(cure::FOLDER).display());
    if arguments.apply {
        let path = workspace.cures();
        cure::apply(&cure, &path)?;
        println!("settings: {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures every setting by itself, then the promising ones together, beside a record; returns the
/// folder of that record.
fn measure(workspace: &Workspace, arguments: &Arguments) -> Result<PathBuf> {
    let of = &arguments.measure;
    let backends = of.chosen_backends(workspace)?;
    let subject = subject(workspace, arguments)?;
    let record = match &arguments.record {
        Some(record) => record.clone(),
        None if arguments.is_whole() => reported(workspace, "--record")?,
        None => workspace.reports().join("quick"),
    };
    if let Err(error) = setup::run(workspace) {
        eprintln!("error: {error:#}");
    }
    try_settings(
        workspace,
        &backends,
        &subject,
        of,
        &record,
        arguments.combined_only,
    )?;
    Ok(record)
}

/// Measures the settings of these backends on this subject, beside a record.
pub fn try_settings(
    workspace: &Workspace,
    backends: &[Backend],
    subject: &Subject,
    of: &measure::Arguments,
    record: &Path,
    combined_only: bool,
) -> Result<()> {
    let singles = singles(workspace, backends);
    if singles.values().all(Vec::is_empty) {
        bail!("no backend that runs here has a setting to try");
    }
    let preset = |share: f64, variants: BTreeMap<String, Vec<Knobs>>| -> Result<Settings> {
        let settings = of.settings(Settings {
            processes: 40,
            least_processes: 6,
            passes: 25,
            agreement_passes: 1,
            skip_arithmetic: true,
            threads: vec![1],
            budget_s: 1200.0,
            process_budget_ms: 900,
            target: TARGET,
            placement: Placement::default(),
            cold_files: false,
            entries: 1,
            variants,
            first_format_only: true,
        })?;
        Ok(Settings {
            budget_s: settings.budget_s * share,
            ..settings
        })
    };
    let folder = record.join(cure::FOLDER);
    let (first, share) = if combined_only {
        (folder.join(cure::ONE_AT_A_TIME), 1.0)
    } else {
        let settings = preset(SCREENING, singles)?;
        let first = folder.join(cure::ONE_AT_A_TIME);
        let first = campaign::run(workspace, backends, subject, &settings, &first)?;
        (first, 1.0 - SCREENING)
    };

    let ablations = judge(&Record::read(&first)?, &subject.models)?;
    let names = ablations.iter().map(|a| a.backend.clone());
    let variants: BTreeMap<String, Vec<Knobs>> = names
        .map(|backend| {
            let of_backend: Vec<_> = ablations.iter().filter(|a| a.backend == backend).collect();
            let combined = combinations(&of_backend);
            (backend, combined)
        })
        .collect();
    campaign::run(
        workspace,
        backends,
        subject,
        &preset(share, variants)?,
        &folder.join(cure::COMBINED),
    )?;
    Ok(())
}

/// The named models, or the first int8 model of each format that a backend reads: a setting is
/// tried on one file, and `report` measures the cure on all.
fn subject(workspace: &Workspace, arguments: &Arguments) -> Result<Subject> {
    let of = &arguments.measure;
    let mut subject = of.chosen_subject(workspace, PHOTOS)?;
    if of.models.is_empty() {
        let int8 = |m: &firstpass_harness::model::ModelDescription| {
            m.precision == firstpass_harness::model::Precision::Int8
                && m.artifacts.contains_key(&Format::TORCHSCRIPT)
                && m.artifacts.contains_key(&Format::ONNX)
        };
        let first = subject.models.iter().find(|m| int8(m)).cloned();
        subject.models = first
            .or_else(|| subject.models.first().cloned())
            .into_iter()
            .collect();
    }
    Ok(subject)
}

/// Every setting by itself of each backend whose engine runs.
fn singles(workspace: &Workspace, backends: &[Backend]) -> BTreeMap<String, Vec<Knobs>> {
    let described = backends.iter().filter_map(|backend| {
        // Why it does not run is said, and recorded, by the campaign.
        let description = Probe::build(workspace, backend).ok()?.describe().ok()?;
        Some((backend.name.clone(), one_at_a_time(&description)))
    });
    described.collect()
}
