//! What only time shows of a model: does memory grow, is a pass slow after a pause, what do two sessions cost each
//! other, does a batch give what single passes give, and are denormal numbers slow?

mod batch;
pub mod command;
mod data;
mod inputs;
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
    studies::study::{self, Part, Scope, State},
};

pub use data::*;
pub use measure::measure;

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "soak"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Does memory grow, is a pass slow after a pause, what does a second session cost?",
        )
        .after_help(examples(&[
            [
                "firstpass soak net.onnx",
                "Two minutes: memory, pauses, two sessions, a batch, denormal numbers",
            ],
            [
                "firstpass soak net.onnx --engine NAME --budget 10m",
                "One engine, for longer",
            ],
        ]))
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        // Of a model that a user names; no page of the fixtures is made of it.
        None
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        Ok(State::of(workspace, SIDECAR.code(record).as_ref(), now))
    }

    fn part(&self, _: &Scope) -> Result<Part> {
        Ok(Part::default())
    }
}
