//! `firstpass operators`: operator by operator, does every engine compute what the referee does?

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_trial::{
    engine::Backend,
    engine_spec::chosen_backends,
    machine::Machine,
    setup, shell_word,
    small_graphs::{ENOUGH, Findings, fixed::FOLDER},
    workspace::Workspace,
};

use crate::page::{numbers::counted, terminal::text as shown};
use crate::studies::{
    first_passes::arguments::reported,
    operators::{
        self, Operators,
        report::{operators_on_terminal, standard_on_terminal},
        standard_faults,
    },
};

#[derive(Args)]
pub struct Arguments {
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Cases of each kind; the same in every run
    #[arg(long, value_name = "N", default_value_t = 24)]
    cases: usize,
    /// Write the smallest cases at fault into fixtures/operators, where every later run tries them
    #[arg(long)]
    keep: bool,
    /// Write the smallest cases at fault as model files with inputs, for an engine's maintainers
    #[arg(long, value_name = "FOLDER")]
    export: Option<PathBuf>,
    /// Only write what the referee gives of the fixed cases into fixtures/operators: the tests of each
    /// engine compare with that
    #[arg(long, conflicts_with_all = ["backends", "keep", "export", "record"])]
    freeze: bool,
    /// The record beside which the result is kept [default: that of reports/README.md]
    #[arg(long, value_name = "RECORD", alias = "from")]
    record: Option<PathBuf>,
}

/// Succeeds where every verdict is exact or declared, and what is declared occurs. Of fewer cases than
/// tests try, what is declared need not occur.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    if arguments.freeze {
        let file = operators::freeze(workspace)?;
        println!("frozen: {}", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let engines = chosen_backends(workspace, &arguments.backends)?;
    ensure!(arguments.cases > 0, "--cases must be at least 1");
    let record = match &arguments.record {
        Some(record) => record.clone(),
        // What is of some engines only takes no place of what is of all.
        None if !arguments.backends.is_empty() => workspace.reports().join("quick"),
        None => reported(workspace, "--record")?,
    };
    setup::attempt(workspace, &engines);
    let folder = operators::measure(workspace, &engines, arguments.cases, &record)?;
    let tried = operators::read(&record)?.context("the result was removed meanwhile")?;
    println!("{}", shown(&operators_on_terminal(&tried)?));
    if arguments.keep {
        let count = operators::keep(&workspace.fixtures().join(FOLDER), &tried.tried)?;
        println!(
            "written into fixtures/operators: {}; now freeze with --freeze",
            counted(count, "case")
        );
    }
    if let Some(folder) = &arguments.export {
        let count = operators::export(folder, &tried.tried)?;
        println!(
            "written into {}: {}",
            folder.display(),
            counted(count, "case")
        );
    }
    println!("cases: {}", folder.display());
    println!(
        "`cargo firstpass report --from {}` puts the table into a report",
        shell_word::path(&record)
    );
    verdict(workspace, &tried)
}

/// The part that belongs to the tests: the standard's own tests, which need Python. Each engine tries the
/// small graphs in its own suite.
pub fn check_standard(workspace: &Workspace, engines: &[Backend]) -> Result<ExitCode> {
    let tests = operators::measure_standard(workspace, engines)?;
    println!("{}", standard_on_terminal(&tests)?);
    let mut faults = Vec::new();
    for engine in engines {
        if let Some(tests) = tests.get(&engine.name) {
            faults.extend(standard_faults(&engine.name, tests, &engine.known()?));
        }
    }
    Ok(exit_code(&faults))
}

fn verdict(workspace: &Workspace, tried: &Operators) -> Result<ExitCode> {
    let Findings { faults, unseen } =
        operators::findings(workspace, tried, &Machine::observe().cpu_flags)?;
    if !unseen.is_empty() {
        println!(
            "with {} cases of each kind, fewer than the {ENOUGH} of the tests, these declared divergences \
             did not occur, which is no fault:",
            tried.run.cases
        );
        for text in &unseen {
            println!("  {text}");
        }
    }
    Ok(exit_code(&faults))
}

fn exit_code(faults: &[String]) -> ExitCode {
    for fault in faults {
        eprintln!("{fault}");
    }
    if faults.is_empty() {
        println!("every verdict is as declared in known.toml, or exact");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
