//! What the rest of the harness needs to know of a study.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use firstpass_trial::workspace::Workspace;

use crate::{record::code::Code, studies::first_passes::analysis::Analysis};

/// What the harness needs to know of a study.
pub trait Study: Sync {
    /// The name of its subcommand, and of the folder beside a record in which its measurements lie.
    fn name(&self) -> &'static str;

    /// Its subcommand with all arguments.
    fn command(&self) -> Command;

    /// Runs the subcommand.
    ///
    /// # Errors
    /// Fails on arguments that make no sense and where nothing can be measured or written.
    fn run(&self, workspace: &Workspace, arguments: &ArgMatches) -> Result<ExitCode>;

    /// About how many minutes it takes on two cores, where the committed pages are made of it; `None`
    /// where it has no turn in `firstpass record`.
    fn minutes(&self) -> Option<u32>;

    /// Whether it was measured beside a record, and by the code `now`.
    ///
    /// # Errors
    /// Fails where sources cannot be read.
    fn state(&self, workspace: &Workspace, record: &Path, now: &Code) -> Result<State>;

    /// What it adds to a report. No engine runs.
    ///
    /// # Errors
    /// Fails where what was measured cannot be read.
    fn part(&self, scope: &Scope) -> Result<Part>;
}

/// What there is of a study beside a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Missing,
    /// Measured by the code as it stands.
    Fresh,
    /// Why it is out of date, to stand behind the name of the study.
    Stale(String),
}

impl State {
    /// The state of what was measured by the code `then`.
    pub fn of(then: Option<&Code>, now: &Code) -> Self {
        match then {
            None => Self::Missing,
            Some(then) if then.measured_sha256 == now.measured_sha256 => Self::Fresh,
            Some(_) => Self::Stale("was measured with other code".into()),
        }
    }

    /// This state, unless it is fresh and `reason` says why it is not.
    #[must_use]
    pub fn or_stale(self, reason: Option<&str>) -> Self {
        match (self, reason) {
            (Self::Fresh, Some(reason)) => Self::Stale(reason.into()),
            (state, _) => state,
        }
    }
}

/// What the part of a report is about.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub workspace: &'a Workspace,
    /// The record beside which the study was made, judged.
    pub analysis: &'a Analysis,
    /// Whether the record is one of the fixtures: studies that were made for these say then what is
    /// missing, and are not asked of a user's model.
    pub of_fixtures: bool,
}

impl Scope<'_> {
    /// The folder of the record.
    pub fn record(&self) -> &Path {
        &self.analysis.record.folder
    }
}

/// Which chapter of a report a section belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chapter {
    /// Whether the engines give the same answers.
    Agreement,
    /// What their passes cost.
    Time,
}

/// What a study adds to a report.
#[derive(Debug, Default)]
pub struct Part {
    pub section: Option<(Chapter, String)>,
    /// Its pages and plots, by path in the folder of the report.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

/// The subcommand `name` with the arguments `A`.
pub(crate) fn subcommand<A: Args>(name: &'static str, about: &'static str) -> Command {
    A::augment_args(Command::new(name).about(about))
}

/// The arguments of a subcommand that was made by [`subcommand`].
pub(crate) fn parsed<A: FromArgMatches>(arguments: &ArgMatches) -> Result<A> {
    // Clap has checked them against the same type.
    A::from_arg_matches(arguments).context("the arguments are not those of the subcommand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_can_be_each_of_three() {
        let code = |sha: &str| Code {
            commit: None,
            measured_sha256: sha.into(),
        };
        let now = code("now");
        assert_eq!(State::of(None, &now), State::Missing);
        assert_eq!(State::of(Some(&now), &now), State::Fresh);
        assert!(matches!(
            State::of(Some(&code("then")), &now),
            State::Stale(_)
        ));
        assert_eq!(
            State::Fresh.or_stale(Some("is of other models")),
            State::Stale("is of other models".into())
        );
        assert_eq!(State::Missing.or_stale(Some("x")), State::Missing);
    }
}
