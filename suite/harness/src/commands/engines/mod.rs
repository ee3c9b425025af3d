//! `firstpass engines`: which engines are here, and how others are put here.

mod add;
mod conformance;
mod list;
mod skeleton;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};
use firstpass_trial::workspace::Workspace;

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the engines that are here: version, size, and where each came from
    List,
    /// Installs engines for every folder of yours: builds their probes and fetches their libraries
    Add(AddArguments),
    /// Removes installed engines and the libraries that no other needs
    Remove(Names),
    /// Writes the folder of a new engine into the checkout; it compiles and does nothing yet
    New {
        /// The engine, as its folder is to be called
        name: String,
    },
    /// Tells whether a program speaks the protocol of probes, so that `--engine NAME=PROGRAM` measures it
    Test(TestArguments),
}

#[derive(Args)]
struct Names {
    /// Engines, by name
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Args)]
struct AddArguments {
    #[command(flatten)]
    names: Names,
    /// A checkout of Firstpass to build from [default: the one that this command was built from]
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
    /// Where cargo builds, which is kept [default: a folder that is removed]
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
}

#[derive(Args)]
struct TestArguments {
    /// The program
    program: PathBuf,
    /// A model for a program that reads no ONNX: a model.toml, with a file of inputs by --sample
    #[arg(long, value_name = "MODEL.TOML", requires = "sample")]
    model: Option<PathBuf>,
    /// The inputs of that model
    #[arg(long, value_name = "FILE", requires = "model")]
    sample: Option<PathBuf>,
}

/// # Errors
/// As the command that was chosen.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        None | Some(Command::List) => list::run(workspace),
        Some(Command::Add(AddArguments {
            names,
            from,
            target_dir,
        })) => {
            let source = match from {
                Some(folder) => Workspace::at(std::path::absolute(folder)?),
                // Of two checkouts the one that one stands in is meant.
                None if workspace.is_checkout() => workspace.clone(),
                None => Workspace::compiled_from()?,
            };
            add::run(&source, &names.names, target_dir.as_deref())
        }
        Some(Command::Remove(Names { names })) => add::remove(names),
        Some(Command::New { name }) => skeleton::run(workspace, name),
        Some(Command::Test(arguments)) => conformance::run(
            &arguments.program,
            arguments.model.as_deref().zip(arguments.sample.as_deref()),
        ),
    }
}
