//! Where do the first passes spend their time, operator by operator?

pub mod command;
mod counts;
mod data;
mod estimate;
mod faults;
pub mod judge;
pub mod measure;
mod part;
pub mod plot;
mod profiled;
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
        "explain"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Where do the first passes spend their time, operator by operator?",
        )
        .after_help(examples(&[
            [
                "firstpass explain",
                "All engines, on the models of the fixtures that ask for it",
            ],
            [
                "firstpass explain --engine NAME --model net.onnx --threads 2",
                "One engine with two threads, on a model of your own",
            ],
            [
                "firstpass explain --budget 2m",
                "No longer than two minutes",
            ],
            [
                "firstpass explain --model net.onnx --out profiles",
                "The profiles of a model of your own, kept in a folder of your own",
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
        Ok(State::of(workspace, SIDECAR.code(record).as_ref(), now))
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let Some(explain) = read(scope.record())? else {
            return Ok(Part::default());
        };
        let models = scope.analysis.models();
        let judged = judge::judge(&explain);
        let called = |backend: &str| scope.called(backend).to_owned();
        let plots = report::plots(&judged, models, &called)?.into_iter();
        let files = plots.map(|(path, svg)| (path, svg.into_bytes())).collect();
        Ok(Part {
            section: Some(Section {
                page: Page::Why,
                answer: report::answer(&judged, models, &called)?,
                text: report::section(
                    &explain,
                    &judged,
                    models,
                    &files,
                    &called,
                    &|model, backend| scope.of_first_page(model, backend),
                )?,
            }),
            page: None,
            files,
        })
    }
}
