//! The command line.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use firstpass_harness::{
    commands::{cargo, doctor, record},
    compare::{compare_command as compare, gate_command as gate},
    page::terminal::text as shown,
    report::command as report,
    studies::{
        self,
        first_passes::{aa, error_rates},
    },
    user_model::{check, golden, init, named},
};
use firstpass_trial::{setup, workspace::Workspace};

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
    // So that `firstpass … | head` ends without a panic.
    sigpipe::reset();
    let matches = command_line().get_matches();
    let is_gate = matches.subcommand_name() == Some("gate");
    let done = Workspace::find().and_then(|workspace| {
        if let Some((_, arguments)) = matches.subcommand() {
            named::describe_named(&workspace, arguments)?;
        }
        if let Some((name, arguments)) = matches.subcommand()
            && let Some(study) = studies::ALL.into_iter().find(|s| s.name() == name)
        {
            return study.run(&workspace, arguments);
        }
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        match cli.command {
            Command::Report(arguments) => report::run(&workspace, &arguments),
            Command::Record(arguments) => record::run(&workspace, &arguments),
            Command::Check(arguments) => check::run(&workspace, &arguments),
            Command::Init(arguments) => init::run(&workspace, &arguments),
            Command::Golden(arguments) => golden::run(&workspace, &arguments),
            Command::Aa(arguments) => aa::run(&workspace, &arguments),
            Command::ErrorRates(arguments) => error_rates::run(&workspace, &arguments),
            Command::Compare(arguments) => compare::run(&arguments),
            Command::Gate(arguments) => gate::run(&workspace, &arguments),
            Command::Test(arguments) => cargo::test(&workspace, &arguments),
            Command::Bench(arguments) => cargo::bench(&workspace, &arguments),
            Command::Setup => setup::run(&workspace).map(|()| ExitCode::SUCCESS),
            Command::Doctor(arguments) => doctor::run(&workspace, &arguments),
        }
    });
    done.unwrap_or_else(|error| {
        eprintln!("error: {}", shown(&format!("{error:#}")));
        if is_gate {
            // 1 is a verdict there.
            return ExitCode::from(gate::ERROR);
        }
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_no_contradiction() {
        command_line().debug_assert();
    }
}
