//! The command line.

use std::{
    ffi::OsString,
    io::{Write, stderr},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use firstpass_harness::{
    commands::{cargo, doctor, record, trust},
    compare::{compare_command as compare, gate_command as gate},
    interruption, memory, output,
    page::terminal::text as shown,
    report::command as report,
    studies::{
        self,
        first_passes::{aa, error_rates},
    },
    user_model::{check, golden, init, named},
};
use firstpass_trial::{scratch, setup, workspace::Workspace};

/// Do the engines agree, and what do the first passes cost?
#[derive(Parser)]
#[command(name = "firstpass", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sets up what is missing, measures every engine on every model, and writes the report
    Report(report::Arguments),
    /// Measures everything that the committed pages are made of, and keeps what is fresh
    Record(record::Arguments),
    /// Does everything for a model of your own: agreement, first passes, where they spend their time,
    /// and the settings that make them fast
    Check(check::Arguments),
    /// Writes a commented model.toml for a model of your own
    Init(init::Arguments),
    /// Keeps the outputs that a model gives today, to compare those of tomorrow with
    Golden(golden::Arguments),
    /// Adds a file to the list of programs, such as TorchScript files, that you trust
    Trust(trust::Arguments),
    /// Measures every engine against itself: what can this machine tell apart?
    Aa(aa::Arguments),
    /// How often does the judging err, on the noise of records, and what do these leave open?
    ErrorRates(error_rates::Arguments),
    /// Says what changed between two records beyond noise
    Compare(compare::Arguments),
    /// Judges limits on first passes and steady times; the exit code is the verdict
    Gate(gate::Arguments),
    /// Sets up what is missing, then runs every test on every engine, none skipped
    Test(cargo::Arguments),
    /// Sets up what is missing, then runs the criterion benchmarks of every engine
    Bench(cargo::BenchArguments),
    /// Fetches the native libraries that are not there yet, and does nothing else
    Setup,
    /// Says for each engine what was found, where, in which version, and what to do if it is missing;
    /// builds nothing
    Doctor(doctor::Arguments),
}

/// The subcommands above, and one for each study.
fn command_line() -> clap::Command {
    let studies = studies::ALL.into_iter();
    studies.fold(Cli::command(), |all, study| all.subcommand(study.command()))
}

fn main() -> ExitCode {
    // Standard error may be full or closed: nothing here may panic for it.
    let say = |text: String| drop(writeln!(stderr(), "{text}"));
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = are_text(&arguments).map(|()| command_line().try_get_matches_from(&arguments));
    let (is_gate, done) = match matches {
        Ok(Ok(matches)) => (matches.subcommand_name() == Some("gate"), run(&matches)),
        // Help and the version are asked for; anything else is a wrong command line.
        Ok(Err(error)) => (
            false,
            match error.print() {
                Ok(()) => Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))),
                Err(error) => Err(anyhow::Error::from(error).context("cannot write the help")),
            },
        ),
        Err(error) => (false, Err(error)),
    };
    // 1 is a verdict of the gate.
    let failure = if is_gate {
        ExitCode::from(gate::ERROR)
    } else {
        ExitCode::FAILURE
    };
    match (done, output::failure()) {
        (Ok(code), None) => code,
        (Ok(_), Some(why)) => {
            say(format!(
                "error: cannot write to standard output: {why}; the work itself is done"
            ));
            failure
        }
        (Err(error), _) => {
            say(format!("error: {}", shown(&format!("{error:#}"))));
            failure
        }
    }
}

/// Records and descriptions of models are text, so paths in them have to be.
fn are_text(arguments: &[OsString]) -> Result<()> {
    for argument in arguments {
        ensure!(
            argument.to_str().is_some(),
            "the argument {argument:?} is not UTF-8: rename the file, or name it another way"
        );
    }
    Ok(())
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    interruption::watch()?;
    memory::limit();
    let _scratch = scratch::begin()?;
    let workspace = Workspace::find()?;
    if let Some((_, arguments)) = matches.subcommand() {
        named::describe_named(&workspace, arguments)?;
    }
    if let Some((name, arguments)) = matches.subcommand()
        && let Some(study) = studies::ALL.into_iter().find(|s| s.name() == name)
    {
        return study.run(&workspace, arguments);
    }
    match Cli::from_arg_matches(matches)?.command {
        Command::Report(arguments) => report::run(&workspace, &arguments),
        Command::Record(arguments) => record::run(&workspace, &arguments),
        Command::Check(arguments) => check::run(&workspace, &arguments),
        Command::Init(arguments) => init::run(&workspace, &arguments),
        Command::Golden(arguments) => golden::run(&workspace, &arguments),
        Command::Trust(arguments) => trust::run(&arguments),
        Command::Aa(arguments) => aa::run(&workspace, &arguments),
        Command::ErrorRates(arguments) => error_rates::run(&workspace, &arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Gate(arguments) => gate::run(&workspace, &arguments),
        Command::Test(arguments) => cargo::test(&workspace, &arguments),
        Command::Bench(arguments) => cargo::bench(&workspace, &arguments),
        Command::Setup => setup::run(&workspace).map(|()| ExitCode::SUCCESS),
        Command::Doctor(arguments) => doctor::run(&workspace, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_no_contradiction() {
        command_line().debug_assert();
    }
}
