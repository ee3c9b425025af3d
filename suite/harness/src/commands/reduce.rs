//! `firstpass reduce`: the smallest part of a model that shows what is wrong with it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use firstpass_trial::{
    engine_spec::chosen_backends, own_model, workload::Workload, workspace::Workspace,
};

use crate::{
    commands::one_model::{self, engines},
    culprit::{Found, Investigation, Verdict, investigation_words, reduce, write},
    page::{numbers::counted, terminal::text as shown},
};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: one_model::Arguments,
    /// Where the folder goes [default: reports/reduce/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Succeeds where something was wrong and a part of the model shows it.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let chosen = arguments.model.chosen(workspace)?;
    let backends = chosen_backends(workspace, &arguments.model.backends)?;
    let engines = engines(workspace, &backends)?;
    let mut investigation =
        Investigation::new(&engines, &chosen.workload, arguments.model.budget())?;
    let found = investigation.look()?;
    println!("{}", shown(&investigation_words(&investigation, &found)?));
    let Some(symptom) = found.symptoms.first().cloned() else {
        println!("{}", nothing_to_cut(&found));
        return Ok(ExitCode::FAILURE);
    };
    let question = arguments.model.question(&found, symptom)?;
    let reduced = reduce::reduce(&mut investigation, &question)?;
    let spent = investigation.spent();
    let folder = folder(workspace, arguments, &chosen.workload)?;
    let files = write::write(&mut investigation, &question, &reduced, &folder)?;
    println!(
        "{}",
        shown(&write::summary(&investigation, &question, &reduced)?)
    );
    eprintln!(
        "{} in {:.0} s",
        counted(investigation.asked, "process"),
        spent.as_secs_f64()
    );
    for file in files {
        println!("  {}", file.display());
    }
    println!("report: {}", folder.join("report.md").display());
    Ok(ExitCode::SUCCESS)
}

/// Why there is nothing to cut out of a model.
fn nothing_to_cut(found: &Found) -> &'static str {
    let rounds = |verdict: &Verdict| matches!(verdict, Verdict::Rounds { .. });
    if found.verdicts.iter().any(rounds) {
        "engines differ by their rounding alone, which is no fault that could be cut out of the model; `firstpass blame` \
         says by which rule each rounds"
    } else {
        "nothing is wrong with this model that could be cut out of it"
    }
}

/// Where the result goes, which belongs to this model alone.
fn folder(workspace: &Workspace, arguments: &Arguments, workload: &Workload) -> Result<PathBuf> {
    let model = workload.models.first().context("there is no model")?;
    let source = Path::new(arguments.model.source()?);
    let source = if source.exists() { source } else { &model.file };
    let folder = match &arguments.out {
        Some(folder) => std::path::absolute(folder)?,
        None => own_model::claimed(&workspace.reports().join("reduce"), &model.name, source)?,
    };
    own_model::claim(&folder, source)?;
    Ok(folder)
}
