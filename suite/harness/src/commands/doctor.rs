//! `firstpass doctor`: what of each engine is there. It builds nothing and reads no library.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use firstpass_native::Status;
use firstpass_probe::{Description, confinement};
use firstpass_trial::{
    observation::Outcome,
    process::{Probe, environment},
    workspace::{Backend, Workspace},
};

use crate::page::table::Table;

/// An engine that says nothing in this time is ill.
const PATIENCE: Duration = Duration::from_secs(10);

/// What brings a probe about.
const BUILDS: &str = "`cargo firstpass test` or `report` builds it";

#[derive(Args)]
pub struct Arguments {
    /// Read every byte of the installed libraries and compare their checksums, not only their sizes
    #[arg(long)]
    verify: bool,
}

/// What a backend's probe said.
enum Health {
    Runs(Description),
    IsIll(Outcome),
    NotBuilt,
}

/// Succeeds where no library is missing and every probe that is built runs.
///
/// # Errors
/// Fails where the backends cannot be listed.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let backends = workspace.backends()?;
    let folder = probes()?;
    let healths: Vec<Health> = thread::scope(|scope| {
        let asked = backends.iter().map(|backend| {
            let folder = &folder;
            scope.spawn(move || ask(workspace, backend, folder))
        });
        // All are asked at once.
        let asked: Vec<_> = asked.collect();
        let healths = asked.into_iter().map(|one| one.join());
        healths.collect::<Result<_, _>>()
    })
    .map_err(|_| anyhow::anyhow!("a probe could not be asked"))?;
    let mut table = Table::new(["engine", "version, as it says", "where", "what to do"]);
    let mut is_well = true;
    for (backend, health) in backends.iter().zip(healths) {
        let library = backend.native.as_ref().map(|native| {
            let root = workspace.native();
            if arguments.verify {
                native.verify(&root)
            } else {
                native.status(&root)
            }
        });
        is_well &= !matches!(health, Health::IsIll(_));
        is_well &= library.as_ref().is_none_or(Status::is_usable);
        table.row(row(backend, health, library));
    }
    println!("{}", table.terminal());
    println!("probes of model files: {}", confinement());
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where cargo puts probes: this program lies beside them, or in the folder of another profile.
fn probes() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = program.parent().unwrap_or(&program);
    Ok(folder.with_file_name("release"))
}

fn ask(workspace: &Workspace, backend: &Backend, folder: &Path) -> Health {
    let binary = folder.join(&backend.package);
    if !binary.is_file() {
        return Health::NotBuilt;
    }
    let probe = Probe {
        environment: environment(workspace, backend),
        timeout: PATIENCE,
        ..Probe::at(&binary)
    };
    match probe.describe() {
        Ok(description) => Health::Runs(description),
        Err(outcome) => Health::IsIll(outcome),
    }
}

fn row(backend: &Backend, health: Health, library: Option<Status>) -> [String; 4] {
    let is_usable = library.as_ref().is_none_or(Status::is_usable);
    let place = match &library {
        Some(status) => status.to_string(),
        None => "compiled into the probe".into(),
    };
    let (version, place, advice) = match health {
        Health::Runs(description) => {
            let engine = description.engine;
            let advice = match library {
                Some(Status::Damaged { what }) => format!(
                    "the installed library has changed ({what}): run `cargo firstpass setup`"
                ),
                _ => "nothing: it runs".into(),
            };
            let version = format!("{} by {}", engine.version, engine.binding);
            (version, engine.library.unwrap_or(place), advice)
        }
        Health::NotBuilt if is_usable => ("not built yet".into(), place, BUILDS.into()),
        Health::NotBuilt => (
            "not built yet".into(),
            place,
            format!("run `cargo firstpass setup`; then {BUILDS}"),
        ),
        Health::IsIll(why) if is_usable => ("does not run".into(), place, why.to_string()),
        Health::IsIll(why) => (
            "does not run".into(),
            place,
            format!("run `cargo firstpass setup`; now: {why}"),
        ),
    };
    [backend.name.clone(), version, place, advice]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_built_is_said_and_nothing_is_built() -> Result<()> {
        let workspace = Workspace::find()?;
        let nowhere = tempfile::tempdir()?;
        for backend in workspace.backends()? {
            let health = ask(&workspace, &backend, nowhere.path());
            assert!(matches!(health, Health::NotBuilt), "{}", backend.name);
            let [_, version, _, advice] = row(&backend, health, None);
            assert_eq!(
                (version.as_str(), advice.as_str()),
                ("not built yet", BUILDS)
            );
        }
        assert_eq!(std::fs::read_dir(nowhere.path())?.count(), 0);
        Ok(())
    }
}
