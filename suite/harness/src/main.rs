//! The command line.

use std::{
    ffi::OsString,
    io::{Write, stderr},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use firstpass_harness::{
    commands::{blame, cargo, doctor, engines, record, reduce, trust},
    compare::{compare_command as compare, gate_command as gate},
    interruption, memory, output,
    page::{help::examples, terminal::text as shown},
    report::command as report,
    studies::{
        self,
        first_passes::{aa, error_rates},
    },
    user_model::{check, golden, init, named},
};
use firstpass_trial::{scratch, setup, workspace::Workspace};

/// Which engine should run a quantized model: do the engines agree, and what do the first passes cost?
#[derive(Parser)]
#[command(
    name = "firstpass",
    version,
    after_help = examples(&[
        ["firstpass doctor", "Which engines are there, and what to do about the others"],
        ["firstpass check net.onnx", "Which engine runs your model best, and with which settings"],
        ["firstpass report --quick", "A look at the fixtures within two minutes"],
    ])
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Which engine runs the fixtures best? Measures every engine on every model, and writes the report
    #[command(after_help = examples(&[
        ["firstpass report --quick", "A look within two minutes, written to reports/quick"],
        [
            "firstpass report --engine NAME --model net.onnx --html --open",
            "One engine on a model of your own, shown in a browser",
        ],
        [
            "firstpass report --from reports/records/2026-11-26-host",
            "Renders a record again; measures nothing",
        ],
        ["firstpass report --check", "Are the committed pages what their record gives?"],
    ]))]
    Report(report::Arguments),
    /// Measures everything that the committed pages are made of, and keeps what is fresh
    #[command(after_help = examples(&[
        [
            "firstpass record",
            "All of it, about an hour on two cores; goes on where it was interrupted",
        ],
        [
            "firstpass record --only explain --only tune",
            "Two studies, beside the record that the report shows",
        ],
        [
            "firstpass record --again --budget 30m",
            "Everything again, within half an hour of measuring",
        ],
    ]))]
    Record(record::Arguments),
    /// Which engine runs your own model best, and with which settings?
    #[command(after_help = examples(&[
        [
            "firstpass check net.onnx",
            "Everything about a model, on made-up inputs, within six minutes",
        ],
        [
            "firstpass check net.onnx --sample inputs.npz --golden outputs.npz",
            "On inputs of your own, against the outputs that it should give",
        ],
        [
            "firstpass check net.onnx net.pt --input image=1x3x224x224 --open",
            "An ONNX and a TorchScript file of one model, shown in a browser",
        ],
        [
            "firstpass check net.onnx --quick --engine A --engine B",
            "A look at two engines, in about a minute",
        ],
        [
            "firstpass check net.onnx --engine NAME --engine NAME@1.2.3",
            "What would another version of an engine change?",
        ],
    ]))]
    Check(check::Arguments),
    /// Writes a commented model.toml for a model of your own
    #[command(after_help = examples(&[
        ["firstpass init net.onnx", "Beside the model"],
        [
            "firstpass init net.pt --input 1x3x224x224:f32 --trust --out model.toml",
            "For a TorchScript file, which does not say the shape of its inputs",
        ],
    ]))]
    Init(init::Arguments),
    /// Keeps the outputs that a model gives today, to compare those of tomorrow with
    #[command(after_help = examples(&[
        [
            "firstpass golden net.onnx --sample inputs.npz",
            "On inputs of your own, written beside the model",
        ],
        [
            "firstpass golden net.onnx --engine NAME --out today.safetensors",
            "The outputs of one engine",
        ],
    ]))]
    Golden(golden::Arguments),
    /// Why does an engine differ on your own model? Says in which layer, and which setting or pass makes it go
    #[command(after_help = examples(&[["firstpass blame net.onnx", "Every engine, on made-up inputs, within two minutes"], ["firstpass blame net.onnx --sample inputs.npz --golden outputs.npz", "On inputs of your own, against the outputs that it should give"], ["firstpass blame net.onnx --engine NAME --budget 5m", "One engine, with more time"]]))]
    Blame(blame::Arguments),
    /// What is the smallest part of your own model on which an engine differs or fails?
    #[command(after_help = examples(&[["firstpass reduce net.onnx --sample inputs.npz", "A folder with model, input, programs that show it, and a text for a bug report"], ["firstpass reduce net.onnx --engine NAME --out small", "What one engine does not run, written to small"], ["firstpass reduce net.onnx --slow-first-pass 3x", "The part that makes the first pass take three times as long as later ones"]]))]
    Reduce(reduce::Arguments),
    /// Adds a file to the list of programs, such as TorchScript files, that you trust
    #[command(after_help = examples(&[
        ["firstpass trust net.pt", "From now on this very file runs without --trust"],
    ]))]
    Trust(trust::Arguments),
    /// What can this machine tell apart? Measures every engine against itself
    #[command(after_help = examples(&[
        ["firstpass aa --budget 5m", "All engines on all models of the fixtures"],
        ["firstpass aa --engine NAME --pin", "One engine, each process kept on its CPUs"],
    ]))]
    Aa(aa::Arguments),
    /// How often does the judging err, on the noise of records?
    #[command(after_help = examples(&[
        ["firstpass error-rates", "On the noise of the record that the report shows"],
        [
            "firstpass error-rates reports/records/monday reports/records/friday",
            "On two records, which must not contradict each other",
        ],
    ]))]
    ErrorRates(error_rates::Arguments),
    /// What changed between two records beyond noise?
    #[command(after_help = examples(&[
        [
            "firstpass compare reports/records/monday reports/records/friday",
            "What is slower, faster or different on Friday",
        ],
        [
            "firstpass compare before after --all --out changes.md",
            "Also what did not change, written as markdown",
        ],
    ]))]
    Compare(compare::Arguments),
    /// Are the first passes and steady times within limits? The exit code is the verdict
    Gate(gate::Arguments),
    /// Does every engine do what it promises? Runs every test, none skipped
    #[command(after_help = examples(&[
        ["firstpass test", "All tests; sets up what is missing"],
        ["firstpass test agreement", "Only those whose names contain a word"],
    ]))]
    Test(cargo::Arguments),
    /// How fast is each engine? Runs the criterion benchmarks
    #[command(after_help = examples(&[
        ["firstpass bench", "All benchmarks but those that last minutes"],
        ["firstpass bench steady/.*", "Only those whose names match"],
    ]))]
    Bench(cargo::BenchArguments),
    /// Fetches the native libraries that are not there yet, and does nothing else
    #[command(after_help = examples(&[
        ["firstpass setup", "Engines that are there are left as they are"],
    ]))]
    Setup,
    /// Which engines are here? Installs others, and tests programs that are to be engines
    #[command(after_help = examples(&[
        ["firstpass engines", "Those that commands use here"],
        ["firstpass engines add NAME", "Installs an engine for every folder of yours"],
        ["firstpass engines test ./my-engine", "Does a program speak the protocol of probes?"],
    ]))]
    Engines(engines::Arguments),
    /// Which engines are there, and which command mends what is missing? Builds nothing
    #[command(after_help = examples(&[
        ["firstpass doctor", "A row for each engine, with what to do"],
        ["firstpass doctor --verify", "Compares the checksums of the libraries as well"],
    ]))]
    Doctor(doctor::Arguments),
}

/// The subcommands above, and one for each study.
fn command_line() -> clap::Command {
    let studies = studies::ALL.into_iter();
    studies.fold(Cli::command(), |all, study| all.subcommand(study.command()))
}

fn main() -> ExitCode {
    // Standard error may be full or closed: nothing here may panic for it.
    let say = |text: String| drop(writeln!(stderr(), "{}", output::as_called(text)));
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
    let workspace = Workspace::here()?;
    if !workspace.is_checkout() {
        output::outside_checkout();
    }
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
        Command::Blame(arguments) => blame::run(&workspace, &arguments),
        Command::Reduce(arguments) => reduce::run(&workspace, &arguments),
        Command::Trust(arguments) => trust::run(&arguments),
        Command::Aa(arguments) => aa::run(&workspace, &arguments),
        Command::ErrorRates(arguments) => error_rates::run(&workspace, &arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Gate(arguments) => gate::run(&workspace, &arguments),
        Command::Test(arguments) => cargo::test(&workspace, &arguments),
        Command::Bench(arguments) => cargo::bench(&workspace, &arguments),
        Command::Setup => {
            setup::run(&workspace, &workspace.backends()?).map(|()| ExitCode::SUCCESS)
        }
        Command::Engines(arguments) => engines::run(&workspace, &arguments),
        Command::Doctor(arguments) => doctor::run(&workspace, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use firstpass_harness::page::help::HEADING;

    /// The width of a narrow terminal.
    const COLUMNS: usize = 80;

    #[test]
    fn the_command_line_holds_no_contradiction() {
        command_line().debug_assert();
    }

    /// The examples below the help of a command, as their words.
    fn examples_of(command: &clap::Command) -> Vec<Vec<String>> {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let lines = help.lines().skip_while(|line| *line != HEADING);
        let lines = lines.filter(|line| line.starts_with("  firstpass "));
        lines
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect()
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_parses() {
        let all = command_line();
        let of_all = examples_of(&all);
        assert!(!of_all.is_empty(), "firstpass --help has no example");
        let mut lines: Vec<(String, Vec<String>)> = of_all
            .into_iter()
            .map(|words| ("firstpass".into(), words))
            .collect();
        for command in all.get_subcommands() {
            let name = command.get_name();
            let examples = examples_of(command);
            assert!(
                !examples.is_empty(),
                "firstpass {name} --help has no example"
            );
            for words in examples {
                assert_eq!(words.get(1).map(String::as_str), Some(name), "{words:?}");
                lines.push((name.into(), words));
            }
        }
        for (name, words) in lines {
            let parsed = command_line().try_get_matches_from(&words);
            let error = parsed.err().map(|error| error.to_string());
            assert_eq!(error, None, "{name}: {}", words.join(" "));
        }
    }

    #[test]
    fn an_example_that_is_none_is_found() {
        let wrong = ["firstpass", "check", "net.onnx", "--no-such-option"];
        assert!(command_line().try_get_matches_from(wrong).is_err());
        assert!(examples_of(&clap::Command::new("x")).is_empty());
    }

    #[test]
    fn help_fits_a_narrow_terminal() {
        let mut all = command_line().term_width(COLUMNS);
        all.build();
        for command in all.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command
                .clone()
                .term_width(COLUMNS)
                .render_help()
                .to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
            }
        }
    }

    #[test]
    fn what_was_called_otherwise_is_still_understood() {
        for (old, new) in [
            ("report --backend NAME", "report --engine NAME"),
            (
                "check net.onnx --backend NAME",
                "check net.onnx --engine NAME",
            ),
            (
                "explain --rounds 3 --from r",
                "explain --processes 3 --record r",
            ),
            ("compare a b --markdown c.md", "compare a b --out c.md"),
            ("cure", "tune"),
        ] {
            for line in [old, new] {
                let words = std::iter::once("firstpass").chain(line.split(' '));
                let parsed = command_line().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
            }
            let mut all = command_line();
            let name = new.split(' ').next().unwrap_or_default();
            let command = all
                .find_subcommand_mut(name)
                .expect("there is such a command");
            let help = command.render_help().to_string();
            for word in old
                .split(' ')
                .filter(|w| w.starts_with("--") && !new.contains(*w))
            {
                assert!(!help.contains(word), "{name} --help shows {word}");
            }
        }
    }

    #[test]
    fn one_thing_has_one_name_in_all_commands() {
        let mut names = std::collections::BTreeMap::new();
        for command in command_line().get_subcommands() {
            for argument in command.get_arguments().filter(|a| a.get_long().is_some()) {
                let long = argument.get_long().unwrap_or_default().to_owned();
                let value = argument.get_value_names().map(<[_]>::to_vec);
                let kind =
                    value.map(|names| names.iter().map(ToString::to_string).collect::<String>());
                let known = names.entry(long.clone()).or_insert_with(|| kind.clone());
                let is_same = *known == kind || ["out", "threads", "help"].contains(&long.as_str());
                assert!(
                    is_same,
                    "--{long} takes {known:?} and {kind:?} in {}",
                    command.get_name()
                );
            }
        }
        for old in ["backend", "rounds", "markdown"] {
            assert!(!names.contains_key(old), "--{old} has another name");
        }
    }
}
