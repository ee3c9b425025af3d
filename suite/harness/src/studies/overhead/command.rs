//! `firstpass overhead`: does measuring disturb?

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use clap::Args;
use firstpass_trial::{
    engine_spec::chosen_backends,
    {setup, workload::Workload, workspace::Workspace},
};

use crate::studies::{
    first_passes::arguments::{Time, check_threads, reported},
    overhead::{self, OverheadSettings},
};

#[derive(Args)]
pub struct Arguments {
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Fresh processes of each variant, at least [default: 20; 2 with --budget]
    #[arg(long = "processes", alias = "rounds", value_name = "N")]
    rounds: Option<usize>,
    /// Time for all rounds: 90s, 10m. After the least number of rounds, engines whose figures are not precise
    /// yet have more
    #[arg(long, value_name = "TIME")]
    budget: Option<Time>,
    /// Passes of each process; the second half of them counts as steady
    #[arg(long, value_name = "N", default_value_t = 40)]
    passes: usize,
    /// Threads that one pass may use
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Leave the Python packages of the engines out
    #[arg(long)]
    no_python: bool,
    /// A name of fixtures/models, or the path of a model.toml of your own [default: the first int8
    /// model that there is in the engine's usual format]
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// The record beside which the measurements are kept [default: that of reports/README.md]
    #[arg(long, value_name = "RECORD", alias = "from")]
    record: Option<PathBuf>,
}

/// Processes of each variant where nobody says how many: enough to know most engines well.
const PROCESSES: usize = 20;

/// The same where a budget decides; one process would show no spread.
const LEAST_PROCESSES: usize = 2;

/// Succeeds where the measurements were written, whatever they say.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    // What the user named is checked before anything that takes time.
    let backends = chosen_backends(workspace, &arguments.backends)?;
    let model = arguments
        .model
        .as_ref()
        .map(|name| Workload::find_model(workspace, name))
        .transpose()?;
    let settings = OverheadSettings {
        rounds: (arguments.rounds).unwrap_or(match arguments.budget {
            Some(_) => LEAST_PROCESSES,
            None => PROCESSES,
        }),
        budget_s: (arguments.budget).map_or(0.0, |Time(time)| time.as_secs_f64()),
        passes: arguments.passes,
        threads: arguments.threads,
        python: !arguments.no_python,
    };
    ensure!(
        settings.rounds > 0 && settings.passes > 1,
        "--processes must be at least 1, and --passes at least 2"
    );
    check_threads(&[settings.threads])?;
    let record = match &arguments.record {
        Some(record) => record.clone(),
        None => reported(workspace, "--record")?,
    };
    setup::attempt(workspace, &backends);
    let folder = overhead::measure(workspace, &backends, model, settings, &record)?;
    println!("measurements: {}", folder.display());
    Ok(ExitCode::SUCCESS)
}
