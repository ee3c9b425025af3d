//! `firstpass report`: the main job.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser};
use firstpass_trial::{
    affinity::Affinity,
    machine::{Machine, all_threads},
    model::ModelDescription,
    workspace::Workspace,
};

use crate::{
    compare::hosts::hosts,
    page::{Block, shell::Given},
    record::{Record, RunSettings, Target},
    report::{self, staleness, terminal},
    studies::{
        carry_over,
        first_passes::{arguments, chosen, measure as campaign},
    },
};

/// Photographs of the fixtures that a quick report looks at.
const QUICK_PHOTOS: usize = 3;

/// A cell is known well enough when the 95 % intervals of its figures are this narrow.
const TARGET: Target = Target {
    steady: 0.03,
    first_pass: 0.10,
};

#[derive(Args)]
pub struct Arguments {
    /// A look within two minutes: fewer processes, passes and photographs, one thread; written to reports/quick
    #[arg(long)]
    quick: bool,
    /// Measure nothing; fail if a page is not what its record gives, and warn of what is measured by
    /// older code
    #[arg(long, conflicts_with_all = ["quick", "from"])]
    check: bool,
    /// With --check: fail if anything was measured by older code, too
    #[arg(long, requires = "check")]
    strict: bool,
    /// Measure nothing; render this record. Given several times, for records of several hosts, it
    /// sets them side by side in hosts.md
    #[arg(long, value_name = "RECORD", conflicts_with = "quick")]
    from: Vec<PathBuf>,
    /// Measure each cold start with cold files as well: model, library and probe are taken out of
    /// the page cache before each process
    #[arg(long)]
    cold_files: bool,
    /// Where the report goes [default: reports, or reports/quick for what is not the whole; of models
    /// of your own reports/quick/models/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write the report as one file of HTML as well, report.html
    #[arg(long, conflicts_with = "check")]
    html: bool,
    /// Open that file in a browser
    #[arg(long, requires = "html")]
    open: bool,
    #[command(flatten)]
    measure: arguments::Arguments,
}

impl Arguments {
    /// Whether all engines are measured on all fixtures, so that the report is *the* report.
    fn is_whole(&self) -> bool {
        let measure = &self.measure;
        !self.quick
            && measure.backends.is_empty()
            && measure.models.is_empty()
            && measure.images.is_empty()
            && measure.samples.is_empty()
    }

    fn folder(&self, workspace: &Workspace) -> Result<PathBuf> {
        Ok(match &self.out {
            Some(folder) => folder.clone(),
            None if self.is_whole() => workspace.reports(),
            None => self.measure.quick(workspace)?,
        })
    }

    fn preset(&self) -> RunSettings {
        let whole = RunSettings {
            processes: 30,
            // A look is taken after four rounds: what is answered then needs no fifth.
            least_processes: 4,
            passes: 60,
            agreement_passes: 2,
            skip_arithmetic: false,
            threads: vec![1, all_threads()],
            budget_s: 600.0,
            process_budget_ms: 2000,
            target: TARGET,
            affinity: Affinity::default(),
            cold_files: self.cold_files,
            entries: 1,
            variants: BTreeMap::new(),
            first_format_only: false,
            agreement_only: BTreeSet::new(),
            seek_reference: true,
            asked_budget_s: None,
            // The report of all fixtures is asked for as it is.
            command: if self.is_whole() {
                Vec::new()
            } else {
                Given::now().without(&["--open"], &["--budget"]).words()
            },
        };
        if self.quick {
            return RunSettings {
                processes: 5,
                least_processes: 3,
                passes: 20,
                // Two show a pass that depends on the one before, but take twice the time.
                agreement_passes: 1,
                threads: vec![1],
                budget_s: 90.0,
                process_budget_ms: 500,
                ..whole
            };
        }
        whole
    }
}

/// Succeeds where the report was written, whatever it says; `--check` where it is what its record gives.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folder = arguments.folder(workspace)?;
    let folder = std::path::absolute(&folder)?;
    if arguments.check {
        let stale = report::check(workspace, &folder, arguments.strict)?;
        for warning in staleness::listed(&stale) {
            eprintln!("warning: {warning}");
        }
        if !stale.is_empty() {
            eprintln!("{}", staleness::REMEDY);
        }
        let page = folder.join("README.md");
        println!("{} is what its record gives", page.display());
        return Ok(ExitCode::SUCCESS);
    }
    report::check_folder(&folder)?;
    let record = match &arguments.from[..] {
        [] => measure(workspace, arguments, &folder)?,
        [record] => record.clone(),
        records => {
            let page = hosts(records, &folder)?;
            println!("report: {}", page.display());
            return Ok(ExitCode::SUCCESS);
        }
    };
    let record = record
        .canonicalize()
        .with_context(|| format!("there is no record {}", record.display()))?;
    let analysis = report::write(workspace, &folder, &record, arguments.html)?;
    println!("{}", terminal::summary(&analysis)?);
    println!("report: {}", folder.join("README.md").display());
    if arguments.html {
        show_html(&folder, arguments.open);
    }
    println!("record: {}", record.display());
    Ok(ExitCode::SUCCESS)
}

/// Says where the file of HTML is, and opens it where that is asked for. No browser is no error.
pub fn show_html(folder: &Path, is_wanted: bool) {
    let page = folder.join(report::HTML);
    println!("as HTML: {}", page.display());
    if is_wanted && let Err(error) = open::that_detached(&page) {
        eprintln!("no browser opened it: {error}");
    }
}

/// Measures all engines on all fixtures as `firstpass report` does by default; returns the record.
///
/// # Errors
/// Fails where the fixtures cannot be read or the record cannot be written.
pub fn measure_all(workspace: &Workspace, budget: Option<Duration>) -> Result<PathBuf> {
    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        arguments: Arguments,
    }
    let Defaults { mut arguments } = Defaults::try_parse_from(["report"])?;
    if let Some(budget) = budget {
        arguments.measure.budget = Some(arguments::Time(budget));
    }
    measure(workspace, &arguments, &workspace.reports())
}

fn measure(workspace: &Workspace, arguments: &Arguments, folder: &Path) -> Result<PathBuf> {
    // What the user named is checked before anything that takes time.
    let measure = &arguments.measure;
    let backends = measure.chosen_backends(workspace)?;
    let samples = if arguments.quick {
        QUICK_PHOTOS
    } else {
        usize::MAX
    };
    let mut workload = measure.chosen_workload(workspace, samples)?;
    if arguments.quick && measure.models.is_empty() {
        workload.models.retain(is_for_a_quick_look);
    }
    let mut settings = measure.settings(arguments.preset())?;
    settings.variants = chosen::tuned(workspace, &backends)?;
    if measure.models.is_empty() {
        let on_request = workload.models.iter().filter(|m| m.latency_on_request);
        settings.agreement_only = on_request.map(|m| m.name.clone()).collect();
    }
    let record = campaign::new_record(&folder.join("records"), "");
    let record = arguments::run(workspace, &backends, &workload, &settings, &record)?;
    if let Some(shown) = shown_record(folder) {
        carry_over(&shown, &record)?;
    }
    Ok(record)
}

/// Whether a quick look has time for a model: it compares the times of engines, and one that is there for its outputs, or
/// that no two engines share a form of, tells nothing of them.
fn is_for_a_quick_look(model: &ModelDescription) -> bool {
    !model.latency_on_request && model.artifacts.len() > 1
}

/// The record that the report in a folder shows, where it is of this machine: what was measured beside
/// one of another machine says nothing of this one.
fn shown_record(folder: &Path) -> Option<PathBuf> {
    let page = std::fs::read_to_string(folder.join("README.md")).ok()?;
    let shown = folder.join(Block::source_of(&page)?);
    let machine = Record::read(&shown).ok()?.run.machine;
    (machine.slug() == Machine::observe().slug()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose first passes take ten seconds would use up the minute and a half of a quick look.
    #[test]
    fn a_quick_look_is_at_models_that_tell_engines_apart() -> Result<()> {
        let workspace = Workspace::find()?;
        let named = |name: &str| {
            let folder = workspace.fixtures().join("models").join(name);
            ModelDescription::read(&folder.join("model.toml"))
        };
        for (name, is_looked_at) in [
            ("faceboxes-fp32", true),
            ("faceboxes-int8-per-channel", true),
            ("faceboxes-int8-per-channel-torch1.8", false),
            ("faceboxes-int8-per-tensor", false),
        ] {
            assert_eq!(is_for_a_quick_look(&named(name)?), is_looked_at, "{name}");
        }
        Ok(())
    }
}
