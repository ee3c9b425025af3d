//! Does measuring disturb what is measured?

pub mod command;
mod data;
pub mod judge;
mod measure;
pub mod report;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use clap::{ArgMatches, Command};
use firstpass_trial::workspace::Workspace;

use crate::{
    page::help::examples,
    record::code::Code,
    studies::study::{self, Page, Part, Scope, Section, State},
};

pub use data::*;
pub use measure::measure;

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "overhead"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(self.name(), "Does measuring disturb?").after_help(
            examples(&[
                [
                    "firstpass overhead",
                    "All engines through the probe, called directly, and from Python",
                ],
                [
                    "firstpass overhead --engine NAME --no-python --budget 2m",
                    "One engine without its Python package, until it is known well",
                ],
            ]),
        )
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        Some(7)
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        Ok(State::of(workspace, SIDECAR.code(record).as_ref(), now))
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let Some(overhead) = read(scope.record())? else {
            return Ok(Part::default());
        };
        let called = |backend: &str| scope.called(backend).to_owned();
        Ok(Part {
            section: Some(Section {
                page: Page::Trust,
                answer: report::answer(&overhead, &called)?,
                text: report::section(&overhead, &called)?,
            }),
            ..Part::default()
        })
    }
}
