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
    page::help::examples,
    record::{
        Stale,
        code::{Code, sources_sha256},
    },
    studies::study::{self, Page, Part, Scope, Section, State},
};

pub use data::*;
pub use measure::measure;

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "referee"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Whose arithmetic is an engine's: which exact rule gives its very outputs?",
        )
        .after_help(examples(&[
            [
                "firstpass referee",
                "The engines of the record that the report shows",
            ],
            [
                "firstpass referee --record reports/records/2026-11-26-host",
                "Those of another record",
            ],
        ]))
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        Some(10)
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        let Some(compared) = read(record)? else {
            return Ok(State::Missing);
        };
        let state = State::of(workspace, Some(&compared.run.code), now);
        let run = &compared.run;
        Ok(state.and(other_referees(workspace, &run.code, &run.referees)?))
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let Some(compared) = read(scope.record())? else {
            return Ok(Part::default());
        };
        let called = |backend: &str| scope.called(backend).to_owned();
        Ok(Part {
            section: Some(Section {
                page: Page::Agreement,
                answer: report::answer(&compared, &called)?,
                text: report::section(&compared, scope.analysis.models(), &called)?,
            }),
            ..Part::default()
        })
    }
}

/// Why what was compared with these referees, by the SHA-256 of their sources, by the code `then` is
/// stale.
///
/// # Errors
/// Fails where a source cannot be read.
pub fn other_referees(
    workspace: &Workspace,
    then: &Code,
    referees: &BTreeMap<String, String>,
) -> Result<Vec<Stale>> {
    let mut stale = Vec::new();
    for backend in workspace.backends()?.iter().filter(|b| b.is_referee) {
        let is_same = referees.get(&backend.name) == Some(&sources_sha256(workspace, backend)?);
        let sources = ["Cargo.toml", "src"].map(|path| backend.dir.join(path));
        let reason = format!("compared with an older {}", backend.name);
        stale.extend(Stale::by_sources(
            workspace, then, is_same, &sources, reason,
        ));
    }
    Ok(stale)
}
