//! `firstpass record`: everything that the committed pages are made of, in one command.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_trial::{machine::Machine, workspace::Workspace};

use crate::{
    progress,
    record::{Record, code::Code},
    report::{self, terminal},
    studies::{
        self, State, Study,
        first_passes::{
            arguments::{Time, reported},
            chosen,
        },
    },
};

/// About how many minutes the record itself takes on two cores.
const FIRST_PASSES: u32 = 11;

#[derive(Args)]
pub struct Arguments {
    /// Only this study, beside the record that the report shows; may be repeated
    #[arg(long = "only", value_name = "STUDY")]
    only: Vec<String>,
    /// The time for all measuring, shared as the studies need it, such as 30m or 2h; builds are not part
    /// of it, and some studies take what they take
    #[arg(long, value_name = "TIME")]
    budget: Option<Time>,
    /// Measure also what was measured by the code as it stands
    #[arg(long)]
    again: bool,
}

/// One measurement of the plan.
struct Turn {
    name: &'static str,
    minutes: u32,
    /// `None` for the record itself.
    study: Option<&'static dyn Study>,
}

/// Measures what is not fresh, in the order of [`studies::ALL`], and writes the pages. What was measured
/// before an interruption is fresh when the command is run again. Succeeds where everything was
/// measured.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let chosen = chosen(&arguments.only)?;
    let now = Code::observe(workspace)?;
    let kept = if arguments.only.is_empty() {
        if arguments.again {
            None
        } else {
            fresh_record(workspace, &now)?
        }
    } else {
        Some(reported(
            workspace,
            "`cargo firstpass record` without --only",
        )?)
    };
    let mut turns = Vec::new();
    if kept.is_none() {
        turns.push(Turn {
            name: "first passes",
            minutes: FIRST_PASSES,
            study: None,
        });
    }
    for (study, minutes) in chosen {
        let state = match &kept {
            Some(record) => study.state(workspace, record, &now)?,
            None => State::Missing,
        };
        if state.is_fresh() && !arguments.again {
            eprintln!("{}: measured by this code, kept", study.name());
            continue;
        }
        turns.push(Turn {
            name: study.name(),
            minutes,
            study: Some(study),
        });
    }
    let mut record = kept;
    let mut failed = Vec::new();
    let all: u32 = turns.iter().map(|turn| turn.minutes).sum();
    let mut left = all;
    let began = Instant::now();
    for (number, turn) in turns.iter().enumerate() {
        let budget = arguments
            .budget
            .map(|Time(budget)| share(budget, turn.minutes, all));
        let minutes = match arguments.budget {
            Some(Time(budget)) => share(budget, left, all).as_secs().div_ceil(60),
            None => u64::from(left),
        };
        let turn_of = format!("{} of {}", number + 1, turns.len());
        progress::stage(format!("{turn_of}, about {minutes} min left"));
        eprintln!("\n== {} ({turn_of}, about {minutes} min left)", turn.name);
        left -= turn.minutes;
        match (turn.study, &record) {
            (None, _) => record = Some(report::command::measure_all(workspace, budget)?),
            (Some(study), Some(record)) => {
                if let Err(error) = measure(workspace, study, record, budget) {
                    eprintln!("error: {}: {error:#}", turn.name);
                    failed.push(turn.name);
                }
            }
            (Some(_), None) => {}
        }
    }
    let record = record.context("nothing was chosen to be measured")?;
    let record = record
        .canonicalize()
        .with_context(|| format!("there is no record {}", record.display()))?;
    let analysis = report::write(workspace, &workspace.reports(), &record, false)?;
    println!("{}", terminal::summary(&analysis)?);
    println!("record: {}", record.display());
    println!(
        "measured for {} min",
        began.elapsed().as_secs().div_ceil(60)
    );
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "error: not measured, or with faults: {}; run `cargo firstpass record` again, which keeps what is \
         fresh",
        failed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// The studies that have a turn, or those of these names, with their minutes.
fn chosen(names: &[String]) -> Result<Vec<(&'static dyn Study, u32)>> {
    let with_turn = studies::ALL.into_iter();
    let all: Vec<(&dyn Study, u32)> = with_turn
        .filter_map(|study| Some((study, study.minutes()?)))
        .collect();
    let known: Vec<&str> = all.iter().map(|(study, _)| study.name()).collect();
    for name in names {
        ensure!(
            known.contains(&name.as_str()),
            "no study {name:?}; there are: {}",
            known.join(", ")
        );
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    Ok(all.into_iter().filter(|(s, _)| wanted(s.name())).collect())
}

/// The newest record of all engines and fixtures on this machine that was made by the code as it stands,
/// with the settings that are chosen now, and has come to its end.
fn fresh_record(workspace: &Workspace, now: &Code) -> Result<Option<PathBuf>> {
    let folder = workspace.reports().join("records");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Ok(None);
    };
    let slug = Machine::observe().slug();
    let mut fresh: Vec<(String, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // What cannot be read is of other code.
        let Ok(record) = Record::read(&path) else {
            continue;
        };
        let run = &record.run;
        if run.duration_s.is_some()
            && run.machine.slug() == slug
            && run.code.measured_sha256 == now.measured_sha256
            && chosen::are_chosen(workspace, &record)?
            && workspace
                .engines()?
                .iter()
                .all(|e| record.backends.contains_key(&e.name))
        {
            fresh.push((run.date.clone(), path));
        }
    }
    Ok(fresh.into_iter().max().map(|(_, path)| path))
}

/// Runs the subcommand of a study beside a record.
fn measure(
    workspace: &Workspace,
    study: &dyn Study,
    record: &Path,
    budget: Option<Duration>,
) -> Result<()> {
    let command = study.command();
    let takes_budget = command.get_arguments().any(|a| a.get_id() == "budget");
    let mut arguments: Vec<OsString> = vec![study.name().into(), "--record".into(), record.into()];
    if let Some(budget) = budget.filter(|_| takes_budget) {
        arguments.extend([
            "--budget".into(),
            format!("{}s", budget.as_secs().max(1)).into(),
        ]);
    }
    let arguments = command.try_get_matches_from(arguments)?;
    let code = study.run(workspace, &arguments)?;
    ensure!(
        code == ExitCode::SUCCESS,
        "it found faults, which are above"
    );
    Ok(())
}

/// The part of a time that so many of all minutes get.
fn share(budget: Duration, minutes: u32, all: u32) -> Duration {
    budget.mul_f64(f64::from(minutes) / f64::from(all.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_study_with_a_turn_takes_a_record() {
        for (study, _) in chosen(&[]).expect("all studies") {
            let arguments = [study.name(), "--record", "x"];
            let parsed = study.command().try_get_matches_from(arguments);
            assert!(parsed.is_ok(), "{}: {:?}", study.name(), parsed.err());
        }
    }

    #[test]
    fn an_unknown_study_is_refused_with_those_that_there_are() {
        let error = chosen(&["explian".into()]).err().expect("must fail");
        assert!(error.to_string().contains("explain"), "{error}");
        let one = chosen(&["explain".into()]).expect("it is there");
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn the_time_is_shared_as_it_is_needed() {
        let hour = Duration::from_secs(3600);
        assert_eq!(share(hour, 10, 40), Duration::from_secs(900));
        assert_eq!(share(hour, 40, 40), hour);
    }
}
