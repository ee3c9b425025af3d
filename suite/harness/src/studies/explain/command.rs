//! `firstpass explain`: where do the first passes spend their time?

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_trial::{
    engine_spec::chosen_backends, model::ModelDescription, setup, shape::NamedShape,
    workload::Workload, workspace::Workspace,
};

use crate::page::terminal::text as shown;
use crate::studies::{
    explain::{self, ExplainSettings, judge::FEWEST_PASSES, report::explanations_on_terminal},
    first_passes::{
        arguments::{Time, check_threads, on_one_sample, record_of, say_what_next},
        chosen,
    },
};

/// In seconds.
const BUDGET: f64 = 600.0;

#[derive(Args)]
pub struct Arguments {
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// A name of fixtures/models, or the path of a model file or model.toml of your own; may be repeated
    /// [default: those of the fixtures that say `explain = true`]
    #[arg(long = "model", value_name = "NAME|PATH")]
    models: Vec<String>,
    /// A photograph of your own instead of the first of the fixtures
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Tensors to run the model on: .npy, or .npz or .safetensors with an array for each input by name
    /// [default for a model that takes no pictures: made-up inputs]
    #[arg(long = "sample", value_name = "FILE", conflicts_with = "image")]
    samples: Option<PathBuf>,
    /// The shape of an input where a model file of your own leaves it open, such as image=1x3x224x224
    #[arg(long = "input", value_name = "NAME=SHAPE:TYPE")]
    inputs: Vec<NamedShape>,
    /// Threads that one pass may use
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Most fresh processes of each engine on each model, profiled and plain: they share the budget
    #[arg(
        long = "processes",
        alias = "rounds",
        value_name = "N",
        default_value_t = 5
    )]
    rounds: usize,
    /// Passes of each process; the later half of them counts as steady
    #[arg(long, value_name = "N", default_value_t = 12)]
    passes: usize,
    /// The time for all measuring, such as 90s, 5m or 1h; builds and the first round are not part of
    /// it [default: 10m]
    #[arg(long, value_name = "TIME")]
    budget: Option<Time>,
    /// Run TorchScript files outside the fixtures, which are programs: I know where they come from
    #[arg(long)]
    trust: bool,
    /// The record beside which the profiles are kept [default: that of reports/README.md]
    #[arg(long, value_name = "RECORD", alias = "from")]
    record: Option<PathBuf>,
    /// The folder in which the profiles are kept, in place of that of a record
    #[arg(long, value_name = "FOLDER", conflicts_with = "record")]
    out: Option<PathBuf>,
}

/// Succeeds where the profiles were written, whatever they say.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    // What the user named is checked before anything that takes time.
    let backends = chosen_backends(workspace, &arguments.backends)?;
    let models = models(workspace, &arguments.models)?;
    let named = [&arguments.image, &arguments.samples].map(|file| Vec::from_iter(file.clone()));
    let mut workload = on_one_sample(workspace, models, &named[0], &named[1])?;
    workload.trust = arguments.trust;
    let settings = ExplainSettings {
        rounds: arguments.rounds,
        passes: arguments.passes,
        threads: arguments.threads,
        budget_s: arguments
            .budget
            .map_or(BUDGET, |Time(time)| time.as_secs_f64()),
    };
    ensure!(
        settings.rounds > 0 && settings.passes >= FEWEST_PASSES,
        "--processes must be at least 1, and --passes at least {FEWEST_PASSES}"
    );
    check_threads(&[settings.threads])?;
    let record = match arguments.out.as_ref().or(arguments.record.as_ref()) {
        Some(record) => record.clone(),
        None => record_of(workspace, &workload)?,
    };
    setup::attempt(workspace, &backends);
    let tuned = chosen::checked(workspace, &backends)?;
    let folder = explain::measure(workspace, &backends, &workload, settings, &tuned, &record)?;
    let explained = explain::read(&record)?.context("the profiles were removed meanwhile")?;
    println!("{}", shown(&explanations_on_terminal(&explained)?));
    println!("profiles: {}", folder.display());
    say_what_next(&record);
    Ok(ExitCode::SUCCESS)
}

fn models(workspace: &Workspace, names: &[String]) -> Result<Vec<ModelDescription>> {
    if !names.is_empty() {
        let models = names.iter();
        return models
            .map(|name| Workload::find_model(workspace, name))
            .collect();
    }
    let fixtures = Workload::fixture_models(workspace)?;
    let asked: Vec<ModelDescription> = fixtures.into_iter().filter(|m| m.explain).collect();
    ensure!(
        !asked.is_empty(),
        "no model of the fixtures has `explain = true`; name one with --model"
    );
    Ok(asked)
}
