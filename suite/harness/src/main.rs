//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use firstpass_harness::{
    commands::{cargo, doctor},
    compare::{compare_command as compare, gate_command as gate},
    report::command as report,
    studies::{
        diverge::command as diverge, explain::command as explain, first_passes::aa,
        operators::command as operators, overhead::command as overhead,
        referee::command as referee, shapes::command as shapes, tune::command as cure,
        zoo::command as zoo,
    },
    user_model::{check, init},
};
use firstpass_trial::{setup, workspace::Workspace};

/// Do the engines agree, and what do the first passes cost?
#[derive(Parser)]
#[command(name = "firstpass", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sets up what is missing, measures every engine on every model, and writes the report
    Report(report::Arguments),
    /// Does everything for a model of your own: agreement, first passes, where they spend their time,
    /// and the settings that make them fast
    Check(check::Arguments),
    /// Writes a commented model.toml for a model of your own
    Init(init::Arguments),
    /// Measures every engine against itself: what can this machine tell apart?
    Aa(aa::Arguments),
    /// Measures series in which the shape of the inputs changes: does an engine warm up again?
    Measure(shapes::Arguments),
    /// Says what changed between two records beyond noise
    Compare(compare::Arguments),
    /// Judges limits on first passes and steady times; the exit code is the verdict
    Gate(gate::Arguments),
    /// Tries every setting of every engine: which make the first passes fast, and what do they cost?
    Cure(cure::Arguments),
    /// Sets up what is missing, then runs every test on every engine, none skipped
    Test(cargo::Arguments),
    /// Sets up what is missing, then runs the criterion benchmarks of every engine
    Bench(cargo::BenchArguments),
    /// Says where the first passes spend their time, from the engines' own hooks
    Explain(explain::Arguments),
    /// Measures whether measuring disturbs: engines through the probe, called directly, and from Python
    Overhead(overhead::Arguments),
    /// Says whose arithmetic an engine's is: which rule of an exact interpreter gives its very outputs
    Referee(referee::Arguments),
    /// Says in which layer an engine begins to differ from the referee, and how the difference grows
    Diverge(diverge::Arguments),
    /// Says which engines saturate on this machine, in which layers: as diverge, of a model whose
    /// activations use all of 0 to 255
    Saturation(diverge::Arguments),
    /// Tries small quantized graphs on every engine, operator by operator, against the referee
    Operators(operators::Arguments),
    /// Measures other models as well, torchvision's quantized ones and another detector: do their first
    /// passes take as long?
    Zoo(zoo::Arguments),
    /// Fetches the native libraries that are not there yet, and does nothing else
    Setup,
    /// Says for each engine what was found, where, in which version, and what to do if it is missing;
    /// builds nothing
    Doctor(doctor::Arguments),
}

fn main() -> ExitCode {
    // So that `firstpass … | head` ends without a panic.
    sigpipe::reset();
    let cli = Cli::parse();
    let is_gate = matches!(cli.command, Command::Gate(_));
    let done = Workspace::find().and_then(|workspace| match cli.command {
        Command::Report(arguments) => report::run(&workspace, &arguments),
        Command::Check(arguments) => check::run(&workspace, &arguments),
        Command::Init(arguments) => init::run(&workspace, &arguments),
        Command::Aa(arguments) => aa::run(&workspace, &arguments),
        Command::Measure(arguments) => shapes::run(&workspace, &arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Gate(arguments) => gate::run(&workspace, &arguments),
        Command::Cure(arguments) => cure::run(&workspace, &arguments),
        Command::Test(arguments) => cargo::test(&workspace, &arguments),
        Command::Bench(arguments) => cargo::bench(&workspace, &arguments),
        Command::Explain(arguments) => explain::run(&workspace, &arguments),
        Command::Overhead(arguments) => overhead::run(&workspace, &arguments),
        Command::Referee(arguments) => referee::run(&workspace, &arguments),
        Command::Diverge(arguments) => diverge::run(&workspace, &arguments),
        Command::Saturation(arguments) => diverge::saturation(&workspace, &arguments),
        Command::Operators(arguments) => operators::run(&workspace, &arguments),
        Command::Zoo(arguments) => zoo::run(&workspace, &arguments),
        Command::Setup => setup::run(&workspace).map(|()| ExitCode::SUCCESS),
        Command::Doctor(arguments) => doctor::run(&workspace, &arguments),
    });
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if is_gate {
            // 1 is a verdict there.
            return ExitCode::from(gate::ERROR);
        }
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_no_contradiction() {
        Cli::command().debug_assert();
    }
}
