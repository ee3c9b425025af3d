//! `firstpass reduce`: the smallest part of a model that shows what is wrong with it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use firstpass_probe::Knobs;
use firstpass_trial::{
    own_model, setup,
    shape::NamedShape,
    workload::Workload,
    workspace::{Backend, Workspace},
};

use crate::{
    culprit::{
        Found, Investigation, Symptom, engines::Engines, investigation_words, reduce,
        reduce::Question, write,
    },
    page::terminal::text as shown,
    studies::first_passes::arguments::{Time, chosen_backends, on_one_sample},
};

/// The time for all that is asked of engines.
const BUDGET: Duration = Duration::from_secs(120);

#[derive(Args)]
pub struct Arguments {
    /// The path of a model file or model.toml of your own, or a name of fixtures/models
    #[arg(value_name = "MODEL")]
    model: String,
    /// The engine (a folder of backends/) that differs or fails [default: the first that differs, or else fails]; may
    /// be repeated, and only these run
    #[arg(long = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// A picture to run the model on
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Tensors to run the model on: .npy, or .npz or .safetensors with an array for each input by name [default:
    /// made-up inputs]
    #[arg(long = "sample", value_name = "FILE", conflicts_with = "image")]
    samples: Option<PathBuf>,
    /// The shape of an input where the file leaves it open, such as image=1x3x224x224
    #[arg(long = "input", value_name = "NAME=SHAPE:TYPE")]
    inputs: Vec<NamedShape>,
    /// Set a knob of the engine in question, such as exact-int8=on; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    knobs: Vec<String>,
    /// The time for all of it, such as 90s or 5m; builds are not part of it [default: 2m]
    #[arg(long, value_name = "TIME")]
    budget: Option<Time>,
    /// Where the folder goes [default: reports/reduce/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Succeeds where something was wrong and a part of the model shows it.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let model = Workload::find_model(workspace, &arguments.model)?;
    let named = [&arguments.image, &arguments.samples].map(|file| Vec::from_iter(file.clone()));
    let workload = on_one_sample(workspace, vec![model], &named[0], &named[1])?;
    let budget = arguments.budget.map_or(BUDGET, |Time(time)| time);
    let folder = folder(workspace, arguments, &workload)?;
    let backends = chosen_backends(workspace, &arguments.backends)?;
    let engines = engines(workspace, &backends)?;
    let mut investigation = Investigation::new(&engines, &workload, budget)?;
    let found = investigation.look()?;
    println!("{}", shown(&investigation_words(&investigation, &found)));
    let Some(symptom) = found.symptoms.first().cloned() else {
        println!("nothing is wrong with this model that could be cut out of it");
        return Ok(ExitCode::FAILURE);
    };
    let question = question(&found, symptom, &arguments.knobs)?;
    let reduced = reduce::reduce(&mut investigation, &question)?;
    let spent = investigation.spent();
    let files = write::write(&mut investigation, &question, &reduced, &folder)?;
    println!(
        "{}",
        shown(&write::summary(&investigation, &question, &reduced))
    );
    eprintln!(
        "{} processes in {:.0} s",
        investigation.asked,
        spent.as_secs_f64()
    );
    println!("report: {}", folder.join("report.md").display());
    for file in files {
        println!("  {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets up what is missing and starts the engines.
pub(crate) fn engines(workspace: &Workspace, backends: &[Backend]) -> Result<Engines> {
    // Without a library its engine is a line that says so.
    if let Err(error) = setup::run(workspace) {
        eprintln!("error: {error:#}");
    }
    let engines = Engines::start(workspace, backends)?;
    for (name, why) in &engines.absent {
        eprintln!("{name}: {}", shown(why));
    }
    if engines.all.is_empty() {
        let names: Vec<&str> = engines
            .absent
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        bail!("no engine is there to ask: {}", names.join(", "));
    }
    Ok(engines)
}

/// What is looked for in parts of the model.
fn question(found: &Found, symptom: Symptom, settings: &[String]) -> Result<Question> {
    let mut knobs = Knobs::default();
    for setting in settings {
        let (name, value) = setting
            .split_once('=')
            .with_context(|| format!("--set takes NAME=VALUE, not {setting:?}"))?;
        knobs = knobs.with(name, value);
    }
    let reference = found.reference_of(&symptom);
    if reference.is_none() && matches!(symptom, Symptom::Differs(_)) {
        bail!(
            "the engine differs from the golden outputs, but parts of the model have none: neither the referee nor \
             engines without their optimizations give these golden outputs, so that nothing says what a part should \
             give. Where the golden outputs are those of another computation than the file defines, leave them out"
        );
    }
    Ok(Question {
        symptom,
        reference,
        knobs,
    })
}

/// Where the result goes, which belongs to this model alone.
fn folder(workspace: &Workspace, arguments: &Arguments, workload: &Workload) -> Result<PathBuf> {
    let model = workload.models.first().context("there is no model")?;
    let source = Path::new(&arguments.model);
    let source = if source.exists() { source } else { &model.file };
    let folder = match &arguments.out {
        Some(folder) => std::path::absolute(folder)?,
        None => own_model::folder(&workspace.reports().join("reduce"), &model.name, source),
    };
    own_model::claim(&folder, source)?;
    Ok(folder)
}
