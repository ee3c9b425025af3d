//! Which settings of an engine make its first passes fast, and what do they cost?

pub mod command;
mod data;
pub mod judge;
pub mod measure;
pub mod plot;
pub mod report;
mod snippets;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use clap::{ArgMatches, Command};
use firstpass_trial::workspace::Workspace;

use crate::{
    page::help::examples,
    record::code::Code,
    studies::study::{self, OwnPage, Part, Scope, State},
};

pub use data::*;
pub(crate) use snippets::lines;

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "tune"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Which settings make the first passes fast, and what do they cost?",
        )
        .after_help(examples(&[
            [
                "firstpass tune",
                "Every setting of every engine, on the first int8 model of the fixtures",
            ],
            [
                "firstpass tune --engine NAME --model net.onnx --budget 5m",
                "One engine, on a model of your own",
            ],
            [
                "firstpass tune --apply",
                "Writes what is recommended to tuned.toml",
            ],
        ]))
        .alias("cure")
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        Some(20)
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        Ok(State::of(workspace, code(record).as_ref(), now))
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let kept = of(scope)?;
        let Some(tuned) = kept.as_ref() else {
            return Ok(Part::default());
        };
        let called = |backend: &str| scope.called(backend).to_owned();
        Ok(Part {
            section: None,
            page: Some(OwnPage {
                file: report::PAGE,
                title: report::TITLE,
                answer: report::answer(tuned, &called)?,
            }),
            files: report::files(scope.workspace, tuned, &called, scope.to_root)?,
        })
    }
}
