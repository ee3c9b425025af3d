//! `firstpass aa`: every engine against itself, which shows what this machine can tell apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::Args;
use firstpass_trial::{affinity::Affinity, workspace::Workspace};

use crate::{
    page::{numbers::counted, table::Table},
    record::{Record, RunSettings, Target},
    studies::first_passes::{
        arguments as measure,
        judge::{
            disturbance, latency,
            noise_floor::{self, ANALYSES, NEEDED},
        },
        measure as campaign,
    },
};

/// Of the ratios of the two entries. They are well below the resolutions, so that *no difference*
/// can be said where there is none.
const TARGET: Target = Target {
    steady: 0.02,
    first_pass: 0.06,
};

#[derive(Args)]
pub struct Arguments {
    /// Measure nothing; analyse this record of an earlier A/A run
    #[arg(long, value_name = "RECORD")]
    from: Option<PathBuf>,
    #[command(flatten)]
    measure: measure::Arguments,
}

/// Succeeds where every engine differs from itself by nothing.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folder = match &arguments.from {
        Some(folder) => folder.clone(),
        None => measure(workspace, arguments)?,
    };
    let record = Record::read(&folder)?;
    print(&record)?;
    println!("record: {}", folder.display());
    let judged = noise_floor::judge(&latency::summarise(record.observations()));
    let quiet = judged.iter().all(|of| of.no_difference() >= NEEDED);
    Ok(if quiet {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure(workspace: &Workspace, arguments: &Arguments) -> Result<PathBuf> {
    let of = &arguments.measure;
    let backends = of.chosen_backends(workspace)?;
    let mut workload = of.chosen_workload(workspace, 1)?;
    if of.models.is_empty() {
        // The machine is asked about, not the models: the first quantized one will do.
        let int8 = |m: &firstpass_trial::model::ModelDescription| {
            m.precision == firstpass_trial::model::Precision::Int8
        };
        let first = workload.models.iter().find(|m| int8(m)).cloned();
        workload.models = first
            .or_else(|| workload.models.first().cloned())
            .into_iter()
            .collect();
    }
    let settings = of.settings(RunSettings {
        processes: 400,
        least_processes: 10,
        passes: 40,
        agreement_passes: 0,
        skip_arithmetic: true,
        threads: vec![1],
        budget_s: 480.0,
        process_budget_ms: 1000,
        target: TARGET,
        affinity: Affinity::default(),
        cold_files: false,
        entries: 2,
        variants: BTreeMap::new(),
        first_format_only: true,
        agreement_only: BTreeSet::new(),
        seek_reference: false,
        asked_budget_s: None,
        command: Vec::new(),
    })?;
    let folder = workspace.reports().join("quick/records");
    let folder = campaign::new_record(&folder, "-aa");
    measure::run(workspace, &backends, &workload, &settings, &folder)
}

fn print(record: &Record) -> Result<()> {
    let judged = noise_floor::judge(&latency::summarise(record.observations()));
    if judged.is_empty() {
        bail!("no engine was measured against itself; what happened is above");
    }
    let mut table = Table::new([
        "engine",
        "figure",
        "against itself",
        "verdict",
        "rounds",
        "noise floor",
        "“no difference”, repeated",
    ]);
    for of in &judged {
        let c = &of.comparison;
        table.row([
            format!(
                "{} on {}, {} thread(s)",
                of.cell.backend,
                of.cell.model,
                of.cell.threads()
            ),
            of.figure.to_string(),
            format!("{:.3}× ({:.3}–{:.3})", c.ratio, c.interval.0, c.interval.1),
            c.verdict.to_string(),
            c.samples.to_string(),
            format!("{:.1} %", 100.0 * of.floor()),
            format!("{} of {ANALYSES}", of.no_difference()),
        ]);
    }
    println!("{}", table.terminal());
    for figure in latency::Figure::ALL {
        let floors = judged.iter().filter(|of| of.figure == figure);
        if let Some(worst) = floors.map(|of| of.floor()).reduce(f64::max) {
            println!(
                "noise floor of this machine, {figure}: {:.1} % (smaller differences cannot be told \
                 from none with this many rounds)",
                100.0 * worst
            );
        }
    }
    let summary = disturbance::summarise(record.observations(), record.run.machine.cores);
    println!(
        "disturbed by something else on the machine: {} of {}",
        summary.disturbed,
        counted(summary.processes, "process")
    );
    println!(
        "{:.0} % of the passes ran on a core that something else slowed; they enter figures only where there are too \
         few others",
        100.0 * summary.slowed_share()
    );
    Ok(())
}
