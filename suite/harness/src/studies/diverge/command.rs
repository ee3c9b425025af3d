//! `firstpass diverge`: in which layer does an engine begin to differ?

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_probe::Knobs;
use firstpass_trial::{
    engine_spec::chosen_backends,
    model::{ModelDescription, Precision},
    setup,
    shape::NamedShape,
    workload::Workload,
    workspace::Workspace,
};

use crate::{
    page::terminal::text as shown,
    record::sidecar::Sidecar,
    studies::{
        diverge::{self, DivergeSettings, SATURATION, SIDECAR, report::divergence_on_terminal},
        first_passes::arguments::{on_one_sample, record_of, say_what_next},
    },
};

/// The model on which engines may saturate, below the fixtures.
const FULL_RANGE: &str = "saturation/faceboxes-int8-full-range/model.toml";

#[derive(Args)]
pub struct Arguments {
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// A name of fixtures/models, or the path of a model file or model.toml of your own [default: the first int8
    /// model of the fixtures; of saturation: the fixture whose activations use all of their range]
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
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
    /// Multiply every value of the input: with 4, activations leave the range that they were calibrated
    /// for, where some kernels saturate
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    gain: f32,
    /// Set a knob of the engines, such as exact-int8=on; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    knobs: Vec<String>,
    /// Run TorchScript files outside the fixtures, which are programs: I know where they come from
    #[arg(long)]
    trust: bool,
    /// The record beside which the comparison is kept, and from whose `firstpass referee` the rules are
    /// taken [default: that of reports/README.md]
    #[arg(long, value_name = "RECORD", alias = "from")]
    record: Option<PathBuf>,
    /// The folder in which the comparisons are kept, in place of that of a record
    #[arg(long, value_name = "FOLDER", conflicts_with = "record")]
    out: Option<PathBuf>,
}

/// Succeeds where the comparison was written, whatever it says.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let model = match &arguments.model {
        Some(name) => Workload::find_model(workspace, name)?,
        None => Workload::fixture_models(workspace)?
            .into_iter()
            .find(|model| model.precision == Precision::Int8)
            .context("the fixtures have no int8 model; name one with --model")?,
    };
    compare(workspace, arguments, model, SIDECAR)
}

/// The same of the fixture whose activations use all of their range.
pub fn saturation(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let model = match &arguments.model {
        Some(name) => Workload::find_model(workspace, name)?,
        None => {
            let file = workspace.fixtures().join(FULL_RANGE);
            Workload::find_model(workspace, &file.to_string_lossy())?
        }
    };
    compare(workspace, arguments, model, SATURATION)
}

fn compare(
    workspace: &Workspace,
    arguments: &Arguments,
    model: ModelDescription,
    beside: Sidecar,
) -> Result<ExitCode> {
    let engines = chosen_backends(workspace, &arguments.backends)?;
    let mut knobs = Knobs::default();
    for setting in &arguments.knobs {
        let (name, value) = setting
            .split_once('=')
            .with_context(|| format!("--set takes NAME=VALUE, not {setting:?}"))?;
        knobs = knobs.with(name, value);
    }
    ensure!(
        arguments.gain.is_finite() && arguments.gain > 0.0,
        "--gain must be a positive number"
    );
    let settings = DivergeSettings {
        gain: arguments.gain,
        knobs,
    };
    let named = [&arguments.image, &arguments.samples].map(|file| Vec::from_iter(file.clone()));
    let mut workload = on_one_sample(workspace, vec![model], &named[0], &named[1])?;
    workload.trust = arguments.trust;
    let record = match arguments.out.as_ref().or(arguments.record.as_ref()) {
        Some(record) => record.clone(),
        None => record_of(workspace, &workload)?,
    };
    setup::attempt(workspace, &engines);
    let folder = diverge::measure(workspace, &engines, &workload, settings, beside, &record)?;
    let compared =
        diverge::read(beside, &record)?.context("the comparison was removed meanwhile")?;
    println!("{}", shown(&divergence_on_terminal(&compared)?));
    println!("comparisons: {}", folder.display());
    say_what_next(&record);
    Ok(ExitCode::SUCCESS)
}
