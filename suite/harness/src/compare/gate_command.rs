//! `firstpass gate`: a verdict for continuous integration.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::Args;
use firstpass_trial::{affinity::Affinity, workspace::Workspace};

use crate::{
    compare::{
        changes_report::cell_name,
        gate::{self, Check, GateVerdict, Growth, Limits, Times},
    },
    page::table::Table,
    record::{Record, RunSettings, Target},
    studies::first_passes::{arguments as measure, measure as campaign},
};

/// Nothing is beyond its limit.
const KEPT: u8 = 0;
/// Something is beyond its limit.
const BROKEN: u8 = 1;
/// The command could not do its work: bad arguments, or a record that cannot be read.
pub const ERROR: u8 = 2;
/// Nothing is beyond its limit for sure, but something may be: measure more, or on a quieter machine.
const INCONCLUSIVE: u8 = 3;

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 all limits are kept, 1 a limit is broken, 2 an error, \
                        3 inconclusive."
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
    let record = match &arguments.record {
        Some(folder) => Record::read(folder)?,
        None => Record::read(&measure(workspace, arguments, baseline.as_ref())?)?,
    };
    let of = &arguments.measure;
    let wanted = |backend: &str, model: &str| {
        (of.backends.is_empty() || of.backends.iter().any(|b| b == backend))
            && (of.models.is_empty() || of.models.iter().any(|m| m == model))
    };
    let checks: Vec<Check> = gate::judge(&record, baseline.as_ref(), &limits)
        .into_iter()
        .filter(|check| wanted(&check.cell.backend, &check.cell.model))
        .collect();
    print(&checks);
    let verdict = gate::overall(&checks);
    println!("gate: {verdict}");
    Ok(ExitCode::from(match verdict {
        GateVerdict::Kept => KEPT,
        GateVerdict::Broken => BROKEN,
        GateVerdict::Inconclusive => INCONCLUSIVE,
    }))
}

/// Measures what the baseline has, or all.
fn measure(
    workspace: &Workspace,
    arguments: &Arguments,
    baseline: Option<&Record>,
) -> Result<PathBuf> {
    let of = &arguments.measure;
    let backends = of.chosen_backends(workspace)?;
    let mut workload = of.chosen_workload(workspace, 1)?;
    let mut threads = vec![1];
    if let Some(baseline) = baseline {
        let measured = |name: &str| baseline.observations().any(|o| o.cell.model == name);
        workload.models.retain(|model| measured(&model.name));
        threads.clone_from(&baseline.run.settings.threads);
    }
    let settings = of.settings(RunSettings {
        processes: 30,
        least_processes: 5,
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
        cold_files: false,
        entries: 1,
        variants: BTreeMap::new(),
        first_format_only: false,
        agreement_only: BTreeSet::new(),
    })?;
    let folder = workspace.reports().join("quick/records");
    let folder = folder.join(format!("{}-gate", campaign::record_name()));
    measure::run(workspace, &backends, &workload, &settings, &folder)
}

fn print(checks: &[Check]) {
    let mut table = Table::new(["engine", "what", "found", "limit", "verdict"]);
    for check in checks {
        table.row([
            cell_name(&check.cell),
            check.what.clone(),
            check.ratio.map_or_else(
                || "nothing: it failed, or no time was left for it".into(),
                |(ratio, low, high)| format!("{ratio:.2}× ({low:.2}–{high:.2})"),
            ),
            format!("{:.2}×", check.limit),
            check.verdict.to_string(),
        ]);
    }
    println!("{}", table.terminal());
}
