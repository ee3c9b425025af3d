//! Small quantized graphs, operator by operator: does every engine compute what the referee does?

pub mod command;
mod data;
mod measure;
pub mod report;
mod standard;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use clap::{ArgMatches, Command};
use firstpass_trial::workspace::Workspace;

use crate::{
    page::help::examples,
    record::code::Code,
    studies::{
        referee::other_referees,
        study::{self, Page, Part, Scope, Section, State},
    },
};

pub use data::*;
pub use measure::{export, freeze, keep, measure, measure_standard};
pub use standard::{Outcome, StandardTest};

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "operators"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Which operators does each engine compute exactly?",
        )
        .after_help(examples(&[
            [
                "firstpass operators",
                "Small graphs of every kind, on all engines",
            ],
            [
                "firstpass operators --engine NAME --export cases",
                "What fails on one engine, as model files for its maintainers",
            ],
        ]))
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        Some(6)
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        let Some(tried) = read(record)? else {
            return Ok(State::Missing);
        };
        let state = State::of(workspace, Some(&tried.run.code), now);
        let run = &tried.run;
        Ok(state.and(other_referees(workspace, &run.code, &run.referees)?))
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let Some(tried) = read(scope.record())? else {
            return Ok(Part::default());
        };
        Ok(Part {
            section: Some(Section {
                page: Page::Operators,
                answer: report::answer(&tried, &|backend| scope.called(backend).into())?,
                text: report::section(&tried, &|backend| scope.called(backend).into())?,
            }),
            ..Part::default()
        })
    }
}
