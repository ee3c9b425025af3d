//! What the rest of the harness needs to know of a study.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
};

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use firstpass_trial::{workload::relative, workspace::Workspace};

use crate::{
    record::{Stale, code::Code},
    studies::first_passes::{analysis::Analysis, judge::first_pass::FirstPassVerdict},
};

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
    /// Why it is not of the workspace as it stands; fresh where there is no reason.
    Measured(Vec<Stale>),
}

impl State {
    /// Whether it was measured by the workspace as it stands.
    pub fn is_fresh(&self) -> bool {
        *self == Self::Measured(Vec::new())
    }

    /// The state of what was measured by the code `then`; nothing was where it is `None`.
    pub fn of(workspace: &Workspace, then: Option<&Code>, now: &Code) -> Self {
        match then {
            None => Self::Missing,
            Some(then) => Self::Measured(Vec::from_iter(Stale::by_code(workspace, then, now))),
        }
    }

    /// This state with further reasons, where anything was measured.
    #[must_use]
    pub fn and(mut self, reasons: impl IntoIterator<Item = Stale>) -> Self {
        if let Self::Measured(stale) = &mut self {
            stale.extend(reasons);
        }
        self
    }
}

/// Values that are read once for a report, one of each type: judging what was measured takes time.
#[derive(Debug, Default)]
pub struct Kept(RefCell<BTreeMap<TypeId, Rc<dyn Any>>>);

impl Kept {
    /// The value of this type, which the first who asks for it reads.
    ///
    /// # Errors
    /// Fails where reading does.
    pub fn get<T: 'static>(&self, read: impl FnOnce() -> Result<T>) -> Result<Rc<T>> {
        let key = TypeId::of::<T>();
        let known = self.0.borrow().get(&key).cloned();
        if let Some(Ok(value)) = known.map(Rc::downcast::<T>) {
            return Ok(value);
        }
        let value = Rc::new(read()?);
        self.0
            .borrow_mut()
            .insert(key, Rc::clone(&value) as Rc<dyn Any>);
        Ok(value)
    }
}

/// What the part of a report is about.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub workspace: &'a Workspace,
    /// The record beside which the study was made, judged.
    pub analysis: &'a Analysis,
    /// What one study reads that another one needs as well.
    pub kept: &'a Kept,
    /// Whether the record is one of the fixtures: studies that were made for these say then what is
    /// missing, and are not asked of a user's model.
    pub of_fixtures: bool,
    /// How a page of the report reaches the root of the workspace, such as `../`; `None` from outside of it.
    pub to_root: Option<&'a str>,
}

impl Scope<'_> {
    /// The folder of the record.
    pub fn record(&self) -> &Path {
        &self.analysis.record.folder
    }

    /// How the rows of a backend are called.
    pub fn called<'a>(&'a self, backend: &'a str) -> &'a str {
        let known = self.analysis.known.get(backend);
        known.and_then(|k| k.called.as_deref()).unwrap_or(backend)
    }

    /// What the record itself says of pass 1 of an engine on a model, as the first page has it.
    pub(crate) fn of_first_page(&self, model: &str, backend: &str) -> Option<FirstPassVerdict> {
        let mut rows = self.analysis.rows.get(model)?.iter();
        let row = rows.find(|row| row.cell.backend == backend)?;
        let (_, latency) = row.latency.first_key_value()?;
        Some(latency.first_over_steady?.verdict())
    }
}

/// A page of a report below the first one, with its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Page {
    FirstPasses,
    Why,
    Agreement,
    Layers,
    Operators,
    Trust,
}

impl Page {
    pub const ALL: [Self; 6] = [
        Self::FirstPasses,
        Self::Why,
        Self::Agreement,
        Self::Layers,
        Self::Operators,
        Self::Trust,
    ];

    /// Its file in the folder of the report.
    pub fn file(self) -> &'static str {
        match self {
            Self::FirstPasses => "first-passes.md",
            Self::Why => "why.md",
            Self::Agreement => "agreement.md",
            Self::Layers => "layers.md",
            Self::Operators => "operators.md",
            Self::Trust => "trust.md",
        }
    }

    /// The question that it answers.
    pub fn title(self) -> &'static str {
        match self {
            Self::FirstPasses => "How slow are the first passes?",
            Self::Why => "Why are the first passes slow?",
            Self::Agreement => "Do the engines agree?",
            Self::Layers => "In which layer do engines begin to differ?",
            Self::Operators => "Which operators does each engine compute exactly?",
            Self::Trust => "Can the figures be trusted?",
        }
    }
}

/// A part of a [`Page`].
#[derive(Debug, Clone)]
pub struct Section {
    pub page: Page,
    /// The answer in a sentence or two of markdown. The page begins with it, and the first page of the
    /// report shows it beside the link.
    pub answer: String,
    /// The details, in markdown.
    pub text: String,
}

/// A page that a study writes by itself.
#[derive(Debug, Clone)]
pub struct OwnPage {
    /// In the folder of the report.
    pub file: &'static str,
    pub title: &'static str,
    /// As of a [`Section`].
    pub answer: String,
}

/// What a study adds to a report. A study that was not measured adds nothing.
#[derive(Debug, Default)]
pub struct Part {
    pub section: Option<Section>,
    pub page: Option<OwnPage>,
    /// Its pages and plots, by path in the folder of the report.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

/// How a page in this folder reaches the root of the workspace, such as `../`; `None` from outside of it.
pub(crate) fn to_root(workspace: &Workspace, folder: &Path) -> Option<String> {
    let way = relative(workspace, folder);
    way.is_relative()
        .then(|| "../".repeat(way.components().count()))
}

/// What the first page says of pass 1 of an engine on a model, by their names.
pub(crate) type OfFirstPage<'a> = dyn Fn(&str, &str) -> Option<FirstPassVerdict> + 'a;

/// What a study says of pass 1 of an engine on a model.
pub(crate) struct OfStudy<'a> {
    /// The name and the title of the model.
    pub model: (&'a str, &'a str),
    /// The name of the backend, and how its rows are called.
    pub backend: (&'a str, String),
    pub verdict: FirstPassVerdict,
}

/// Where a study, which is a run of its own, says something else of pass 1 than the first page: a reader who sees
/// both is told so.
pub(crate) fn other_verdicts<'a>(
    of_first_page: &OfFirstPage,
    of_study: impl Iterator<Item = OfStudy<'a>>,
) -> Vec<String> {
    let other = of_study.filter_map(|one| {
        let there = of_first_page(one.model.0, one.backend.0)?;
        (there != one.verdict).then(|| {
            format!(
                "{} on {}: {} here, {there} there.",
                one.backend.1, one.model.1, one.verdict
            )
        })
    });
    other.collect()
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
    fn a_verdict_that_the_first_page_has_otherwise_is_said() {
        use FirstPassVerdict::{NotSlow, Open, Slow};
        let there = |model: &str, backend: &str| match (model, backend) {
            ("m", "x") => Some(Open),
            ("m", "y") => Some(NotSlow),
            _ => None,
        };
        let here = |model, backend: &'static str, verdict| OfStudy {
            model: (model, "A model"),
            backend: (backend, format!("Engine {backend}")),
            verdict,
        };
        let all = [
            here("m", "x", Slow),
            here("m", "y", NotSlow),
            here("n", "x", Slow),
        ];
        assert_eq!(
            other_verdicts(&there, all.into_iter()),
            ["Engine x on A model: slow here, open there."]
        );
    }

    #[test]
    fn a_state_is_missing_fresh_or_stale() -> Result<()> {
        let workspace = Workspace::find()?;
        let now = Code::observe(&workspace)?;
        let fresh = State::of(&workspace, Some(&now), &now);
        assert!(fresh.is_fresh());
        assert_eq!(State::of(&workspace, None, &now), State::Missing);
        let mut then = now.clone();
        then.measured_sha256 = "another".into();
        then.parts
            .insert("suite/probe/src/lib.rs".into(), "0".into());
        let State::Measured(stale) = State::of(&workspace, Some(&then), &now) else {
            panic!("it was measured");
        };
        assert_eq!(stale[0].changes, ["suite/probe/src/lib.rs"]);
        let other = Stale::new("of other models");
        assert!(!fresh.and([other.clone()]).is_fresh());
        assert_eq!(State::Missing.and([other]), State::Missing);
        Ok(())
    }
}
