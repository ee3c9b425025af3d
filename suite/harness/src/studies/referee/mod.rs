//! Whose arithmetic is an engine's?

pub mod command;
mod data;
mod measure;
pub mod report;

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use anyhow::Result;
use clap::{ArgMatches, Command};
use firstpass_trial::workspace::Workspace;

use crate::{
    record::code::{Code, sources_sha256},
    studies::study::{self, Chapter, Part, Scope, State},
};

pub use data::*;
pub use measure::{measure, rules};

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "referee"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Says whose arithmetic an engine's is: which rule of an exact interpreter gives its very outputs",
        )
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        Some(3)
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        let Some(compared) = read(record)? else {
            return Ok(State::Missing);
        };
        let state = State::of(Some(&compared.run.code), now);
        Ok(state.or_stale(another_referee(workspace, &compared.run.referees)?))
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let compared = read(scope.record())?;
        let section = (scope.of_fixtures || compared.is_some())
            .then(|| report::section(compared.as_ref(), scope.analysis.models()));
        Ok(Part {
            section: section.map(|text| (Chapter::Agreement, text)),
            ..Part::default()
        })
    }
}

/// Why what was compared with these referees is out of date, by the SHA-256 of their sources; `None`
/// where they are the same.
///
/// # Errors
/// Fails where a source cannot be read.
pub fn another_referee(
    workspace: &Workspace,
    referees: &BTreeMap<String, String>,
) -> Result<Option<&'static str>> {
    for backend in workspace.backends()?.iter().filter(|b| b.is_referee) {
        if referees.get(&backend.name) != Some(&sources_sha256(workspace, backend)?) {
            return Ok(Some("was compared with another referee"));
        }
    }
    Ok(None)
}
