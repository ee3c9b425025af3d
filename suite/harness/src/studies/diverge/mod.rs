//! In which layer does an engine begin to differ, and how does the difference grow?

mod align;
pub mod command;
mod data;
pub mod measure;
mod pass;
pub mod plot;
pub mod report;
pub mod saturation;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use clap::{ArgMatches, Command};
use firstpass_trial::workspace::Workspace;

use crate::{
    page::help::examples,
    record::{code::Code, sidecar::Sidecar},
    studies::{
        referee::other_referees,
        study::{self, Page, Part, Scope, Section, State},
        tune,
    },
};

pub use data::*;
pub use measure::measure;

/// The study; see [`study::Study`].
pub struct Study;

impl study::Study for Study {
    fn name(&self) -> &'static str {
        "diverge"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "In which layer does an engine begin to differ from the referee, and how does that grow?",
        )
        .after_help(examples(&[
            ["firstpass diverge", "All engines, on the first int8 model of the fixtures"],
            ["firstpass diverge --engine NAME --model net.onnx --sample inputs.npz", "One engine, on a model and an input of your own"],
            ["firstpass diverge --model net.onnx --out layers", "What is found is kept in a folder of your own"],
            ["firstpass diverge --gain 4", "With inputs four times as large, where some kernels saturate"],
        ]))
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::run(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        Some(3)
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        state(SIDECAR, workspace, record, now)
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let Some(compared) = read(SIDECAR, scope.record())? else {
            return Ok(Part::default());
        };
        let models = scope.analysis.models();
        let called = |backend: &str| scope.called(backend).to_owned();
        let plots = report::plots(&report::with_titles(&compared, &called))?.into_iter();
        let files = plots.map(|(path, svg)| (path, svg.into_bytes())).collect();
        Ok(Part {
            section: Some(Section {
                page: Page::Layers,
                answer: report::answer(&compared, models, &called)?,
                text: report::section(&compared, models, &files, &called)?,
            }),
            files,
            ..Part::default()
        })
    }
}

/// The same of a model on which engines may saturate; see [`study::Study`].
pub struct Saturation;

impl study::Study for Saturation {
    fn name(&self) -> &'static str {
        "saturation"
    }

    fn command(&self) -> Command {
        study::subcommand::<command::Arguments>(
            self.name(),
            "Which engines saturate on this machine, and in which layers?",
        )
        .after_help(examples(&[
            [
                "firstpass saturation",
                "All engines, on the fixture whose activations use all of 0 to 255",
            ],
            [
                "firstpass saturation --engine NAME --set exact-int8=on",
                "One engine, with the switch that makes its sums exact",
            ],
        ]))
    }

    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode> {
        command::saturation(workspace, &study::parsed(arguments)?)
    }

    fn minutes(&self) -> Option<u32> {
        Some(3)
    }

    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
        state(SATURATION, workspace, record, now)
    }

    fn part(&self, scope: &Scope) -> Result<Part> {
        let Some(compared) = read(SATURATION, scope.record())? else {
            return Ok(Part::default());
        };
        let tuned = tune::of(scope)?;
        let known = &scope.analysis.known;
        let called = |backend: &str| scope.called(backend).to_owned();
        Ok(Part {
            section: Some(Section {
                page: Page::Layers,
                answer: saturation::answer(&compared, &called)?,
                text: saturation::section(&compared, known, tuned.as_ref().as_ref(), &called)?,
            }),
            ..Part::default()
        })
    }
}

fn state(sidecar: Sidecar, workspace: &Workspace, record: &Path, now: &Code) -> Result<State> {
    let Some(compared) = read(sidecar, record)? else {
        return Ok(State::Missing);
    };
    let state = State::of(workspace, Some(&compared.run.code), now);
    let run = &compared.run;
    Ok(state.and(other_referees(workspace, &run.code, &run.referees)?))
}
