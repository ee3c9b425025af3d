//! `firstpass blame`: who is wrong about a model, in which layer, and through which setting.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use firstpass_trial::{engine_spec::chosen_backends, workspace::Workspace};

use crate::{
    commands::one_model::{self, engines},
    culprit::{Investigation, history, history_words, investigation_words, verdict},
    page::{numbers::counted, terminal::text as shown},
};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: one_model::Arguments,
    /// Since which version is it so? Bisects the published versions from this one on, and fetches their libraries
    #[arg(long, value_name = "VERSION")]
    since: Option<String>,
}

/// Succeeds where the question was answered, whatever the answer is.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let chosen = arguments.model.chosen(workspace)?;
    let backends = chosen_backends(workspace, &arguments.model.backends)?;
    let engines = engines(workspace, &backends)?;
    let mut investigation =
        Investigation::new(&engines, &chosen.workload, arguments.model.budget())?;
    let found = investigation.look()?;
    println!("{}", shown(&investigation_words(&investigation, &found)?));
    println!(
        "{}",
        shown(&verdict(workspace, &mut investigation, &found)?)
    );
    if let Some(oldest) = &arguments.since {
        for place in 0..engines.all.len() {
            let engine = &engines.all[place];
            if engine.backend.native.is_none() {
                continue;
            }
            let told = history(workspace, &investigation, &chosen.workload, place, oldest);
            let words = match told {
                Ok(history) => history_words(&history)?,
                Err(why) => format!("versions: {why:#}"),
            };
            println!("{}", shown(&format!("\n{}\n{words}", engine.called)));
        }
    }
    eprintln!(
        "{} in {:.0} s",
        counted(investigation.asked, "process"),
        investigation.spent().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}
