//! What goes wrong around Firstpass, what must then be said, and what must survive: a row a [`fault`], in the file of
//! its subject.
//!
//! Each fault is tried on the command itself, in a folder of its own, with the user's folders and the folder
//! for temporary files there. Whatever the fault, nothing panics, and no temporary file is left.

mod ended;
mod fault;
mod inputs;
mod left;
mod models;
mod names;
mod place;
mod programs;
mod records;
mod samples;
mod signals;
mod strangers;
mod streams;
mod surroundings;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result, ensure};
use firstpass_probe::Format;
use firstpass_trial::{engine::Backend, process::Probe, workspace::Workspace};
use libtest_mimic::{Arguments, Failed, Trial as Test};

use crate::{
    fault::Fault,
    place::Place,
    records::{damaged, gates, pages},
};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a fault is waiting, and none is judged by its times; more at once would only be slower.
    arguments.test_threads = Some(2);
    match signals::as_from_a_terminal().and_then(|()| tests()) {
        Ok(tests) => libtest_mimic::run(&arguments, tests).exit_code(),
        Err(error) => {
            eprintln!("the faults cannot be tried: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tests() -> Result<Vec<Test>> {
    let workspace = Arc::new(Workspace::find()?);
    let engines = workspace.engines()?;
    // An engine that is compiled into its probe is there on every machine.
    let any = engines.iter().find(|engine| engine.native.is_none());
    let any = &any.context("no engine is there on every machine")?.name;
    let there: Vec<&String> = engines
        .iter()
        .filter(|engine| {
            let native = engine.native.as_ref();
            native.is_none_or(|native| native.status(&workspace.native()).is_usable())
        })
        // The models of this table are ONNX.
        .filter(|engine| reads_onnx(&workspace, engine))
        .map(|engine| &engine.name)
        .collect();
    let mut tests = Vec::new();
    let all = [
        ended::FAULTS,
        streams::FAULTS,
        strangers::FAULTS,
        names::FAULTS,
        inputs::FAULTS,
        samples::FAULTS,
        programs::FAULTS,
        damaged::FAULTS,
        gates::FAULTS,
        pages::FAULTS,
        surroundings::FAULTS,
    ];
    for fault in all.into_iter().flatten() {
        let names = if fault.is_of_each_engine {
            there.clone()
        } else {
            vec![any]
        };
        for engine in names {
            let name = if fault.is_of_each_engine {
                format!("{}: {engine}", fault.what)
            } else {
                fault.what.to_owned()
            };
            let (workspace, engine) = (Arc::clone(&workspace), engine.clone());
            tests.push(Test::test(name, move || {
                attempt(fault, &workspace, &engine).map_err(|e| Failed::from(format!("{e:#}")))
            }));
        }
    }
    Ok(tests)
}

/// Whether an engine reads ONNX. One that cannot be asked is tried, and says why it fails.
fn reads_onnx(workspace: &Workspace, engine: &Backend) -> bool {
    match Probe::build(workspace, engine).map(|probe| probe.describe()) {
        Ok(Ok(description)) => description.formats.contains(&Format::ONNX),
        _ => true,
    }
}

/// Does what the fault is, and looks at what the table says.
fn attempt(fault: &Fault, workspace: &Workspace, engine: &str) -> Result<()> {
    let place = Place::new(workspace, engine)?;
    let before = place.project()?;
    let ended = fault.happen(&place)?;
    let said = &ended.said;
    ensure!(
        ended.code == Some(fault.code),
        "it ended with {:?} and not with {}; it said:\n{said}",
        ended.code,
        fault.code
    );
    ensure!(!said.contains("panicked"), "it panicked:\n{said}");
    for words in fault.says {
        ensure!(said.contains(words), "it did not say {words:?}:\n{said}");
    }
    (fault.survives)(&place, &ended)?;
    ensure!(place.project()? == before, "it wrote into the project");
    let left = place.temporary_files()?;
    ensure!(left.is_empty(), "temporary files are left: {left:?}");
    Ok(())
}
