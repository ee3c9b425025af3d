//! `firstpass gate`: a verdict for continuous integration.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::Args;
use firstpass_trial::{
    affinity::Affinity, model::name_of_file, own_model, tensor_files::is_tensors,
    workload::Workload, workspace::Workspace,
};

use crate::{
    compare::{
        changes::latencies,
        changes_report::cell_name,
        circumstances::{Circumstances, OTHER_MACHINE},
        gate::{self, Check, Finding, GateVerdict},
        limits::{Growth, Limits, Times},
        selection::Selection,
    },
    page::{help::examples, numbers::times_with_interval, table::Table},
    record::{Record, RunSettings, Target},
    studies::first_passes::{
        arguments as measure,
        judge::{latency::Latency, no_choice::NoChoice},
        measure as campaign,
    },
};

/// Every figure is below its limit.
const KEPT: u8 = 0;
/// A figure is above its limit, or an engine did not run.
const BROKEN: u8 = 1;
/// The command could not do its work: bad arguments, a record that cannot be read, nothing to judge.
pub const ERROR: u8 = 2;
/// Nothing is broken for sure, but something may be: measure more, or on a quieter machine.
const UNDECIDED: u8 = 3;

#[derive(Args)]
#[command(
    after_help = format!(
        "{}\n\nExit codes:\n  0  all limits are kept\n  1  a limit is broken, or an engine did not run\n  \
         2  an error, or nothing to judge\n  3  undecided",
        examples(&[
            ["firstpass gate --first-pass-max 3x", "Measures this machine: is a pass 1 more than three times as slow?"],
            ["firstpass gate --against reports/records/main --steady-max +5%", "Has any engine become slower than in that record?"],
        ])
    )
)]
pub struct Arguments {
    /// A record to judge; without it this machine is measured now
    record: Option<PathBuf>,
    /// The record that is compared with
    #[arg(long, value_name = "BASELINE")]
    against: Option<PathBuf>,
    /// The most that pass 1 may take in units of the steady time, such as 3x
    #[arg(long, value_name = "TIMES")]
    first_pass_max: Option<Times>,
    /// By how much the steady time may grow against the baseline, such as +5%
    #[arg(long, value_name = "GROWTH", requires = "against")]
    steady_max: Option<Growth>,
    /// By how much the cold start may grow against the baseline, such as +10%
    #[arg(long, value_name = "GROWTH", requires = "against")]
    cold_start_max: Option<Growth>,
    #[command(flatten)]
    measure: measure::Arguments,
}

/// The exit code says it: see [`Arguments`].
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let limits = Limits {
        first_pass: arguments.first_pass_max,
        steady: arguments.steady_max,
        cold_start: arguments.cold_start_max,
    };
    ensure!(
        limits != Limits::default(),
        "nothing to judge: give --first-pass-max, --steady-max or --cold-start-max"
    );
    let baseline = arguments.against.as_deref().map(Record::read).transpose()?;
    let selection = selection(workspace, &arguments.measure)?;
    let engines = workspace.backends()?.into_iter().map(|b| b.name);
    let engines: Vec<String> = engines.collect();
    let record = match (&arguments.record, &baseline) {
        (Some(folder), _) => Record::read(folder)?,
        (None, baseline) => {
            if let (Some(baseline), None) = (baseline, limits.first_pass) {
                // Said before minutes are spent on what there is nothing to compare with.
                selection.check(&[baseline], &engines)?;
            }
            Record::read(&measure(workspace, arguments, baseline.as_ref(), &limits)?)?
        }
    };
    let records: Vec<&Record> = [&record].into_iter().chain(&baseline).collect();
    selection.check(&records, &engines)?;
    let judged = gate::judge(&record, baseline.as_ref(), &limits, &selection)?;
    if let Some(baseline) = &baseline
        && Circumstances::between(baseline, &record).other_machine
    {
        println!("{OTHER_MACHINE}\n");
    }
    print(&judged.checks);
    if !judged.not_asked.is_empty() {
        let names: Vec<String> = judged.not_asked.iter().map(cell_name).collect();
        println!(
            "only in the baseline, and not to be measured by this run: {}",
            names.join("; ")
        );
    }
    if !judged.refused.is_empty() {
        let names: Vec<String> = judged.refused.iter().map(cell_name).collect();
        println!(
            "not judged, because the engine declares that it refuses the model: {}",
            names.join("; ")
        );
    }
    let verdict = gate::overall(&judged.checks);
    println!("gate: {verdict}");
    Ok(ExitCode::from(match verdict {
        GateVerdict::Kept => KEPT,
        GateVerdict::Broken => BROKEN,
        GateVerdict::Undecided => UNDECIDED,
    }))
}

/// What the options name, a model by its name or by the path of its description.
fn selection(workspace: &Workspace, options: &measure::Arguments) -> Result<Selection> {
    let models = options.models.iter();
    let models = models.map(|name| model_name(workspace, name));
    let mut refusals = Vec::new();
    for engine in workspace.backends()? {
        let declared = engine.known()?.refusal.into_iter();
        refusals.extend(declared.map(|refusal| (engine.name.clone(), refusal)));
    }
    Ok(Selection {
        backends: options.backends.clone(),
        models: models.collect::<Result<_>>()?,
        threads: options.threads.clone(),
        refusals,
    })
}

/// The name by which a record knows a model: `check` names one after its file.
fn model_name(workspace: &Workspace, name: &str) -> Result<String> {
    let path = Path::new(name);
    if own_model::is_model_file(path) {
        Ok(name_of_file(path))
    } else if path.exists() {
        Ok(Workload::find_model(workspace, name)?.name)
    } else {
        Ok(name.to_owned())
    }
}

/// Measures what the baseline has, or all.
fn measure(
    workspace: &Workspace,
    arguments: &Arguments,
    baseline: Option<&Record>,
    limits: &Limits,
) -> Result<PathBuf> {
    let mut options = arguments.measure.clone();
    let mut threads = vec![1];
    let mut variants = BTreeMap::new();
    let mut agreement_only = BTreeSet::new();
    let (mut cold_files, mut first_format_only) = (false, false);
    if let Some(baseline) = baseline {
        let settings = &baseline.run.settings;
        threads.clone_from(&settings.threads);
        variants.clone_from(&settings.variants);
        agreement_only.clone_from(&settings.agreement_only);
        first_format_only = settings.first_format_only;
        cold_files = settings.cold_files && arguments.cold_start_max.is_some();
        if options.models.is_empty() {
            let models = baseline.run.models.iter();
            let models = models.map(|path| baseline.places.place(workspace, path));
            options.models = models.map(|p| p.to_string_lossy().into_owned()).collect();
        }
        if options.images.is_empty() && options.samples.is_empty() {
            // What the baseline was measured on.
            let first = baseline.run.samples.first();
            let first = first.map(|path| workspace.root().join(path));
            let (tensors, images) = first.into_iter().partition(|path| is_tensors(path));
            (options.samples, options.images) = (tensors, images);
        }
    }
    let backends = options.chosen_backends(workspace)?;
    let workload = options.chosen_workload(workspace, 1)?;
    let settings = options.settings(RunSettings {
        processes: 64,
        least_processes: 4,
        passes: 60,
        agreement_passes: 0,
        skip_arithmetic: true,
        threads,
        budget_s: 300.0,
        process_budget_ms: 1200,
        target: Target {
            steady: 0.02,
            first_pass: 0.10,
        },
        affinity: Affinity::default(),
        cold_files,
        entries: 1,
        variants,
        first_format_only,
        agreement_only,
        seek_reference: false,
        asked_budget_s: None,
        command: Vec::new(),
    })?;
    let folder = options.quick(workspace)?.join("records");
    let folder = campaign::new_record(&folder, "-gate");
    let before = baseline.map(latencies).unwrap_or_default();
    let asks = |measured: &[Latency], _: &NoChoice| gate::ask(measured, &before, limits);
    measure::run_asking(workspace, &backends, &workload, &settings, &folder, &asks)
}

fn print(checks: &[Check]) {
    let mut table = Table::new(["engine", "what", "found", "limit", "verdict"]);
    for check in checks {
        let (found, limit, verdict) = match &check.finding {
            Finding::Nothing(reason) => (reason.clone(), "–".into(), check.verdict.to_string()),
            Finding::Ratio {
                limit,
                ratio,
                interval,
                forecast,
            } => {
                let forecast = forecast.map(|forecast| format!(": {forecast}"));
                (
                    times_with_interval(*ratio, *interval),
                    format!("{limit:.2}×"),
                    format!("{}{}", check.verdict, forecast.unwrap_or_default()),
                )
            }
        };
        table.row([
            check.subject.to_string(),
            check.what.clone(),
            found,
            limit,
            verdict,
        ]);
    }
    println!("{}", table.terminal());
}
