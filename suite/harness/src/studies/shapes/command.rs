//! `firstpass shapes`: does a new shape make an engine warm up again?

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use clap::Args;
use firstpass_trial::{setup, workspace::Workspace};

use crate::page::terminal::text as shown;
use crate::studies::{
    first_passes::arguments as measure,
    shapes::{self, SIDECAR, Shape, ShapesSettings, report},
};

#[derive(Args)]
pub struct Arguments {
    /// The shapes, in the order in which each process runs them: of the whole first input, or only its
    /// last axes, such as height and width
    #[arg(required = true, value_delimiter = ',', value_name = "480x640,240x320")]
    shapes: Vec<Shape>,
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// A name of fixtures/models, or the path of a model.toml of your own; may be repeated [default: all
    /// models of the fixtures]
    #[arg(long = "model", value_name = "NAME|PATH")]
    models: Vec<String>,
    /// Threads that one pass may use
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Fresh processes of each engine on each model
    #[arg(
        long = "processes",
        alias = "rounds",
        value_name = "N",
        default_value_t = 5
    )]
    rounds: usize,
    /// Passes of each process on each shape
    #[arg(long, value_name = "N", default_value_t = 20)]
    passes: usize,
    /// Run TorchScript files outside the fixtures, which are programs: I know where they come from
    #[arg(long)]
    trust: bool,
    /// Where the page and the measurements go [default: reports/quick]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Succeeds where an engine ran all shapes.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        arguments.shapes.len() > 1,
        "give at least two shapes, such as `shapes 480x640,240x320`"
    );
    ensure!(
        arguments.rounds > 0 && arguments.passes > 2,
        "--processes must be at least 1, and --passes at least 3"
    );
    measure::check_threads(&[arguments.threads])?;
    let named = measure::Arguments {
        backends: arguments.backends.clone(),
        models: arguments.models.clone(),
        images: Vec::new(),
        samples: Vec::new(),
        inputs: Vec::new(),
        threads: Vec::new(),
        budget: None,
        processes: None,
        passes: None,
        pin: false,
        priority: None,
        trust: arguments.trust,
    };
    let backends = named.chosen_backends(workspace)?;
    let workload = named.chosen_workload(workspace, 0)?;
    setup::attempt(workspace, &backends);
    let settings = ShapesSettings {
        rounds: arguments.rounds,
        passes: arguments.passes,
        threads: arguments.threads,
    };
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None => workspace.reports().join("quick"),
    };
    let (run, found) = shapes::measure(
        workspace,
        &backends,
        &workload,
        &arguments.shapes,
        settings,
        &folder,
    )?;
    println!(
        "{}",
        shown(&report::shapes_on_terminal(&arguments.shapes, &found))
    );
    let page = report::write_shapes(&arguments.shapes, &found, &run, &folder)?;
    println!("page: {}", page.display());
    println!("measurements: {}", folder.join(SIDECAR.name).display());
    let whole = found.iter().any(|f| f.failure.is_none());
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: no engine ran all shapes; the table has their own words");
        ExitCode::FAILURE
    })
}
