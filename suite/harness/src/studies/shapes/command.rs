//! `firstpass shapes`: does a new shape make an engine warm up again?

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;
use firstpass_trial::{setup, shape::NamedShape, workspace::Workspace};

use crate::page::terminal::text as shown;
use crate::studies::{
    first_passes::arguments::{self as measure, Time},
    shapes::{self, SIDECAR, Shape, ShapesSettings, report},
};

/// The time for all measuring.
const BUDGET: Duration = Duration::from_secs(600);

#[derive(Args)]
pub struct Arguments {
    /// The shapes, in the order in which each process runs them: of the whole first input, or only its
    /// last axes, such as height and width
    #[arg(required = true, value_delimiter = ',', value_name = "480x640,240x320")]
    shapes: Vec<Shape>,
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// A name of fixtures/models, or the path of a model file or model.toml of your own; may be repeated [default: all
    /// models of the fixtures]
    #[arg(long = "model", value_name = "NAME|PATH")]
    models: Vec<String>,
    /// Threads that one pass may use
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Most fresh processes of each engine on each model
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
    /// The shape of an input where a model file of your own leaves it open, such as image=1x3x224x224
    #[arg(long = "input", value_name = "NAME=SHAPE:TYPE")]
    inputs: Vec<NamedShape>,
    /// The time for all measuring, such as 90s, 5m or 1h; builds and the first process of each engine are not part of
    /// it [default: 10m]
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
    let workload = named.chosen_workload(workspace, 0)?;
    setup::attempt(workspace, &backends);
    let settings = ShapesSettings {
        rounds: arguments.rounds,
        passes: arguments.passes,
        threads: arguments.threads,
    };
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None => named.quick(workspace)?,
    };
    let budget = arguments.budget.map_or(BUDGET, |Time(time)| time);
    let (run, found) = shapes::measure(
        workspace,
        &backends,
        &workload,
        &arguments.shapes,
        (settings, budget),
        &folder,
    )?;
    println!(
        "{}",
        shown(&report::shapes_on_terminal(&arguments.shapes, &found)?)
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
