//! `firstpass soak`: what only time shows of a model.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_trial::{machine::all_threads, setup, shape::NamedShape, workspace::Workspace};

use crate::{
    page::terminal::text as shown,
    studies::{
        first_passes::arguments::{self as measure, Time},
        soak::{self, SIDECAR, SoakSettings, judge::judge, report},
    },
};

/// The time of all measuring, in s.
const BUDGET: f64 = 120.0;

#[derive(Args)]
pub struct Arguments {
    /// A name of fixtures/models, or the path of a model file or model.toml of your own
    #[arg(value_name = "MODEL")]
    model: String,
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Tensors to run the model on: .npy, or .npz or .safetensors with an array for each input by name
    #[arg(long = "sample", value_name = "FILE")]
    samples: Vec<PathBuf>,
    /// The shape of an input where the model file leaves it open, such as image=1x3x224x224
    #[arg(long = "input", value_name = "NAME=SHAPE:TYPE")]
    inputs: Vec<NamedShape>,
    /// Threads that one pass may use [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The time for all measuring, such as 90s, 5m or 1h; builds are not part of it [default: 2m]
    #[arg(long, value_name = "TIME")]
    budget: Option<Time>,
    /// Run TorchScript files outside the fixtures, which are programs: I know where they come from
    #[arg(long)]
    trust: bool,
    /// Where the page and the measurements go [default: reports/quick, or
    /// reports/quick/models/NAME for a model of your own]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Succeeds where an engine ran the model, whatever is said of it.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let threads = arguments.threads.unwrap_or_else(all_threads);
    measure::check_threads(&[threads])?;
    ensure!(
        arguments.samples.len() < 2,
        "a soak runs on one input: give one --sample"
    );
    let named = measure::Arguments {
        backends: arguments.backends.clone(),
        models: vec![arguments.model.clone()],
        images: Vec::new(),
        samples: arguments.samples.clone(),
        inputs: arguments.inputs.clone(),
        threads: Vec::new(),
        budget: None,
        processes: None,
        passes: None,
        pin: false,
        priority: None,
        command: Vec::new(),
        trust: arguments.trust,
    };
    let backends = named.chosen_backends(workspace)?;
    let workload = named.chosen_workload(workspace, 1)?;
    // Without a library its engine is a row that says so.
    setup::attempt(workspace, &backends);
    let budget = arguments.budget.map(|Time(time)| time.as_secs_f64());
    let settings = SoakSettings {
        budget_s: budget.unwrap_or(BUDGET),
        threads,
    };
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None => named.quick(workspace)?,
    };
    let soaked = soak::measure(workspace, &backends, &workload, settings, &folder)?;
    let found = judge(&soaked.kept);
    println!("{}", shown(&report::on_terminal(&soaked, &found)?));
    let page = report::write(&soaked, &found, &folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    println!("page: {}", page.display());
    println!("measurements: {}", folder.join(SIDECAR.name).display());
    Ok(if found.iter().any(|one| !one.is_broken()) {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: no engine ran this model; the page has their own words");
        ExitCode::FAILURE
    })
}
