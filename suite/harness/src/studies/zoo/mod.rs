//! Do the first passes of other models take as long?

pub mod command;
mod data;
pub mod judge;
mod make;
pub mod plot;
pub mod report;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use clap::{ArgMatches, Command};
use firstpass_trial::workspace::Workspace;

use crate::{
    page::help::examples,
    record::{Stale, code::Code},
    studies::{
        first_passes::chosen,
        study::{self, OwnPage, Part, Scope, State},
    },
};

pub use data::*;
pub use make::{make, sources_sha256};

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "zoo"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Do the first passes of other models take as long?",
        )
        .after_help(examples(&[
            [
                "firstpass zoo",
                "Torchvision's quantized models and another detector, on all engines",
            ],
            [
                "firstpass zoo --engine NAME --budget 3m",
                "On one engine, no longer than three minutes",
            ],
        ]))
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        Some(11)
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        let Some(zoo) = read(record)? else {
            return Ok(State::Missing);
        };
        let run = &zoo.record.run;
        let is_same = zoo.made.sources_sha256 == sources_sha256(workspace)?;
        let sources = ["fixtures/zoo", "fixtures/images"].map(|path| workspace.root().join(path));
        let reason = "measured on models that an older program made";
        let made = Stale::by_sources(workspace, &run.code, is_same, &sources, reason);
        Ok(State::of(workspace, Some(&run.code), now)
            .and(made)
            .and(chosen::stale(workspace, &zoo.record)?))
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let Some(zoo) = read(scope.record())? else {
            return Ok(Part::default());
        };
        let called = |backend: &str| scope.called(backend).to_owned();
        let rows = judge::judge(&zoo).into_iter();
        let rows: Vec<judge::Row> = rows.map(|row| row.called(&called)).collect();
        Ok(Part {
            section: None,
            page: Some(OwnPage {
                file: report::PAGE,
                title: report::TITLE,
                answer: report::answer(&rows)?,
            }),
            files: report::files(&zoo, &rows, &|model, backend| {
                scope.of_first_page(model, backend)
            })?,
        })
    }
}
