//! `firstpass doctor`: what of each engine is there.

use std::process::ExitCode;

use anyhow::Result;
use firstpass_native::Status;
use firstpass_probe::Description;
use firstpass_trial::{
    process::Probe,
    workspace::{Backend, Workspace},
};

use crate::page::table::Table;

/// Succeeds where every engine runs.
pub fn run(workspace: &Workspace) -> Result<ExitCode> {
    let mut table = Table::new(["engine", "version, as it says", "where", "what to do"]);
    let mut all_run = true;
    for backend in workspace.backends()? {
        eprintln!("{}: building the probe and asking the engine", backend.name);
        let described = Probe::build(workspace, &backend)
            .map_err(|error| format!("{error:#}"))
            .and_then(|probe| probe.describe().map_err(|outcome| outcome.to_string()));
        table.row(match described {
            Ok(description) => found(workspace, &backend, &description),
            Err(why) => {
                all_run = false;
                missing(workspace, &backend, &why)
            }
        });
    }
    println!("{}", table.terminal());
    Ok(if all_run {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn found(workspace: &Workspace, backend: &Backend, description: &Description) -> [String; 4] {
    let engine = &description.engine;
    let built_in = || "compiled into the probe".to_owned();
    // Reads every installed byte: a doctor may take the time.
    let advice = match backend
        .native
        .as_ref()
        .map(|n| n.verify(&workspace.native()))
    {
        Some(Status::Damaged { what }) => {
            format!("the installed library has changed ({what}): run `cargo firstpass setup`")
        }
        _ => "nothing: it runs".into(),
    };
    [
        backend.name.clone(),
        format!("{} by {}", engine.version, engine.binding),
        engine.library.clone().unwrap_or_else(built_in),
        advice,
    ]
}

fn missing(workspace: &Workspace, backend: &Backend, why: &str) -> [String; 4] {
    let (place, advice) = match backend
        .native
        .as_ref()
        .map(|n| n.verify(&workspace.native()))
    {
        Some(status) if !status.is_usable() => (
            status.to_string(),
            format!("run `cargo firstpass setup`; now: {why}"),
        ),
        Some(status) => (status.to_string(), why.to_owned()),
        None => ("compiled into the probe".into(), why.to_owned()),
    };
    [backend.name.clone(), "does not run".into(), place, advice]
}
