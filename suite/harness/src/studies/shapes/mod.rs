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
        "shapes"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Does an engine warm up again when the shape of the inputs changes?",
        )
        .after_help(examples(&[
            [
                "firstpass shapes 480x640,240x320",
                "All models and engines, first on large pictures, then on small ones",
            ],
            [
                "firstpass shapes 1x3x480x640,1x3x96x96 --engine NAME --model net.onnx",
                "One engine, on a model of your own",
            ],
            [
                "firstpass shapes 480x640,240x320 --budget 2m --out shapes",
                "No longer than two minutes, written to shapes",
            ],
        ]))
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
