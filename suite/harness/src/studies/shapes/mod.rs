//! Does a new shape make an engine warm up again?

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
    record::code::Code,
    studies::study::{self, Part, Scope, State},
};

pub use data::*;
pub use measure::measure;

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "shapes"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Measures series in which the shape of the inputs changes: does an engine warm up again?",
        )
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        // Of a shape that a user names; no page of the fixtures is made of it.
        None
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        Ok(State::of(workspace, SIDECAR.code(record).as_ref(), now))
    }

    fn part(&self, _: &Scope) -> Result<Part> {
        Ok(Part::default())
    }
}
