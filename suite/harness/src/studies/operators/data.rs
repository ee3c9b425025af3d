//! Operator by operator: small quantized graphs on every engine, against a referee under each of its
//! rules.
//!
//! Cases are drawn by proptest, the same in every run, and each engine that differs by more than a step
//! or fails is asked again with smaller cases, until one is found that nothing can be taken from.

use std::{collections::BTreeMap, fmt, path::Path};

use anyhow::{Context, Result};
use firstpass_probe::Knobs;
use firstpass_trial::{
    known::{DeclaredVerdict, Known},
    workspace::{Workspace, read_toml},
};
use serde::{Deserialize, Serialize};

use crate::{
    page::numbers::setting as name,
    record::{code::Code, sidecar::Sidecar},
    studies::{
        diverge::Difference,
        operators::{Case, KINDS, Kind, Outcome, StandardTest},
    },
};

/// Raised when the meaning of these files changes.
pub const VERSION: u32 = 1;

/// Where it is kept.
pub const SIDECAR: Sidecar = Sidecar {
    name: "operators",
    version: VERSION,
};

/// `run.json`: what the run was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorsRun {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub code: Code,
    /// SHA-256 over the sources of each referee.
    pub referees: BTreeMap<String, String>,
    /// Cases of each kind that were drawn; those of the fixtures come on top.
    pub cases: usize,
}

/// One line of an engine's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// Why there is nothing else.
    Absent(Absence),
    Case(Box<Tried>),
    Standard(StandardTest),
}

/// Why nothing was put to an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    pub reason: String,
    /// Whether it could not be started, which is a fault; else it is not made for such files.
    pub is_fault: bool,
}

/// One case on one engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The kind of the case: a row of the table.
    pub kind: String,
    pub case: Case,
    /// Whether it was made from another case by shrinking; then it does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shrunk: bool,
    /// Why there is nothing to compare, in the engine's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Against the referee as the file is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// The referee's rules that give every value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exact_under: Vec<Knobs>,
}

impl Tried {
    /// Whether the engine fails or differs by more than a step.
    pub fn is_at_fault(&self) -> bool {
        self.failure.is_some() || self.difference.as_ref().is_some_and(|d| d.most_steps > 1)
    }
}

/// All that was tried.
#[derive(Debug, Clone)]
pub struct Operators {
    pub run: OperatorsRun,
    /// By engine.
    pub tried: BTreeMap<String, Vec<Tried>>,
    /// The standard's own tests, likewise.
    pub standard: BTreeMap<String, Vec<StandardTest>>,
    /// Engines to which nothing was put.
    pub absent: BTreeMap<String, Absence>,
}

/// Reads what was tried beside a record; `None` where nothing was.
///
/// # Errors
/// Fails where a file is there and cannot be read, or is of another version.
pub fn read(record: &Path) -> Result<Option<Operators>> {
    let Some((run, lines)) = SIDECAR.read(record)? else {
        return Ok(None);
    };
    let (mut tried, mut standard) = (BTreeMap::new(), BTreeMap::new());
    let mut absent = BTreeMap::new();
    for (engine, lines) in lines {
        for line in lines {
            match line {
                Line::Absent(absence) => {
                    absent.insert(engine.clone(), absence);
                }
                Line::Case(of_engine) => {
                    let all: &mut Vec<Tried> = tried.entry(engine.clone()).or_default();
                    all.push(*of_engine);
                }
                Line::Standard(test) => {
                    let all: &mut Vec<StandardTest> = standard.entry(engine.clone()).or_default();
                    all.push(test);
                }
            }
        }
    }
    Ok(Some(Operators {
        run,
        tried,
        standard,
        absent,
    }))
}

/// What an engine makes of a kind of cases.
#[derive(Debug, Clone, PartialEq)]
pub enum CaseVerdict {
    /// Every value of every case, under one set of rules: the simplest.
    Exact { rules: Knobs },
    /// No value is further from the referee than a step.
    WithinOneStep { same: usize, values: usize },
    /// Some cases are further away.
    Wrong {
        cases: usize,
        of: usize,
        most_steps: u64,
    },
    /// Some cases fail.
    Unsupported {
        cases: usize,
        of: usize,
        words: String,
    },
}

impl CaseVerdict {
    /// Of the lines of one kind; `None` where there are none.
    pub fn of<'a>(tried: impl IntoIterator<Item = &'a Tried>) -> Option<Self> {
        let tried: Vec<&Tried> = tried.into_iter().filter(|t| !t.shrunk).collect();
        let of = tried.len();
        let first = tried.first()?;
        let failed: Vec<&String> = tried.iter().filter_map(|t| t.failure.as_ref()).collect();
        if let Some(words) = failed.first() {
            return Some(Self::Unsupported {
                cases: failed.len(),
                of,
                words: (*words).clone(),
            });
        }
        let common = first
            .exact_under
            .iter()
            .filter(|rules| tried.iter().all(|t| t.exact_under.contains(rules)));
        if let Some(rules) = common.min_by_key(|rules| rules.settings().count()) {
            return Some(Self::Exact {
                rules: rules.clone(),
            });
        }
        let differences = || tried.iter().filter_map(|t| t.difference.as_ref());
        let wrong = tried.iter().filter(|t| t.is_at_fault()).count();
        if wrong > 0 {
            return Some(Self::Wrong {
                cases: wrong,
                of,
                most_steps: differences().map(|d| d.most_steps).max().unwrap_or(0),
            });
        }
        Some(Self::WithinOneStep {
            same: differences().map(|d| d.same).sum(),
            values: differences().map(|d| d.values).sum(),
        })
    }

    fn declared(&self) -> Option<DeclaredVerdict> {
        match self {
            Self::Exact { .. } => None,
            Self::WithinOneStep { .. } => Some(DeclaredVerdict::WithinOneStep),
            Self::Wrong { .. } => Some(DeclaredVerdict::Wrong),
            Self::Unsupported { .. } => Some(DeclaredVerdict::Unsupported),
        }
    }
}

impl fmt::Display for CaseVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact { rules } => match name(rules).as_str() {
                "default" => f.write_str("exact"),
                rules => write!(f, "exact (`{rules}`)"),
            },
            Self::WithinOneStep { same, values } => {
                // Nearly all is not all.
                let share = (100.0 * *same as f64 / (*values).max(1) as f64).min(99.99);
                write!(f, "≤ 1 step, {share:.2} % the same")
            }
            Self::Wrong {
                cases,
                of,
                most_steps,
            } => write!(f, "**wrong** in {cases} of {of}, ≤ {most_steps} steps"),
            Self::Unsupported { cases, of, .. } if cases == of => f.write_str("unsupported"),
            Self::Unsupported { cases, of, .. } => write!(f, "unsupported in {cases} of {of}"),
        }
    }
}

/// The verdict of each kind that was tried, in the order of [`KINDS`].
pub fn judge(tried: &[Tried]) -> Vec<(&'static str, CaseVerdict)> {
    let of_kind = |kind: &Kind| {
        let verdict = CaseVerdict::of(tried.iter().filter(|t| t.kind == kind.name))?;
        Some((kind.name, verdict))
    };
    KINDS.iter().filter_map(of_kind).collect()
}

/// So many cases of each kind show every divergence that is declared: the tests try as many.
pub const ENOUGH: usize = 8;

/// The verdicts that are not as declared, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is not declared is to be exact, and what is declared must still be so.
    pub faults: Vec<String>,
    /// What is declared and did not occur, of fewer cases than [`ENOUGH`]: that says nothing.
    pub unseen: Vec<String>,
}

impl Findings {
    /// Adds what is to be said of a verdict on so many cases of a kind.
    fn add(
        &mut self,
        engine: &str,
        kind: &str,
        verdict: &CaseVerdict,
        declared: Option<DeclaredVerdict>,
        cases: usize,
    ) {
        let found = verdict.declared();
        if found == declared {
            return;
        }
        let words = match verdict {
            CaseVerdict::Unsupported { words, .. } => format!(" ({words})"),
            _ => String::new(),
        };
        let expected = declared.map_or("exact".to_owned(), |d| d.to_string());
        let text = format!("{engine}: {kind}: {verdict}{words}, but declared {expected}");
        if cases < ENOUGH && found < declared {
            self.unseen.push(text);
        } else {
            self.faults.push(text);
        }
    }
}

/// Every verdict that is not as declared in the `known.toml` of its backend.
///
/// # Errors
/// Fails where a `known.toml` cannot be read.
pub fn findings(workspace: &Workspace, operators: &Operators) -> Result<Findings> {
    let absent = operators
        .absent
        .iter()
        .filter(|(_, absence)| absence.is_fault);
    let mut findings = Findings {
        faults: absent
            .map(|(engine, absence)| format!("{engine}: {}", absence.reason))
            .collect(),
        unseen: Vec::new(),
    };
    for backend in workspace.engines()? {
        let Some(tried) = operators.tried.get(&backend.name) else {
            continue;
        };
        let path = backend.dir.join("known.toml");
        let known: Known = if path.is_file() {
            read_toml(&path).context("what is declared cannot be read")?
        } else {
            Known::default()
        };
        for (kind, verdict) in judge(tried) {
            let declared = known.operator(kind).map(|operator| operator.verdict);
            findings.add(&backend.name, kind, &verdict, declared, operators.run.cases);
        }
        for test in operators.standard.get(&backend.name).into_iter().flatten() {
            let declared = known.standard_test(&test.name).is_some();
            match (&test.outcome, declared) {
                (Outcome::LeftOut(_), _) | (Outcome::Passed, false) => {}
                (Outcome::Passed, true) => findings.faults.push(format!(
                    "{}: {} passes now: remove the declaration",
                    backend.name, test.name
                )),
                (_, true) => {}
                (outcome, false) => {
                    let outcome = outcome.to_string();
                    let outcome = outcome.lines().next().unwrap_or_default();
                    findings
                        .faults
                        .push(format!("{}: {}: {outcome}", backend.name, test.name));
                }
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use proptest::{
        strategy::{Strategy, ValueTree},
        test_runner::TestRunner,
    };

    use super::*;

    fn tried(same: usize, most_steps: u64, exact_under: &[(&str, &str)]) -> Tried {
        let case = (KINDS[0].cases)().new_tree(&mut TestRunner::deterministic());
        let rules = exact_under.iter();
        Tried {
            kind: KINDS[0].name.into(),
            case: case.expect("cases can be drawn").current(),
            shrunk: false,
            failure: None,
            difference: Some(Difference {
                values: 10,
                same,
                most_steps,
            }),
            exact_under: rules
                .map(|(name, value)| Knobs::default().with(name, value))
                .collect(),
        }
    }

    fn verdict(tried: &[Tried]) -> String {
        CaseVerdict::of(tried)
            .expect("something was tried")
            .to_string()
    }

    #[test]
    fn one_set_of_rules_must_give_all_cases() {
        let (a, b) = (("rounding", "a"), ("rounding", "b"));
        let one = [tried(9, 1, &[a, b]), tried(9, 1, &[b])];
        assert_eq!(verdict(&one), "exact (`rounding=b`)");
        let none = [tried(9, 1, &[a]), tried(9, 1, &[b])];
        assert_eq!(verdict(&none), "≤ 1 step, 90.00 % the same");
    }

    /// Few cases may miss what is declared, and never excuse what is worse.
    #[test]
    fn what_is_declared_must_occur_where_enough_was_tried() {
        use DeclaredVerdict::{Unsupported, WithinOneStep, Wrong};
        let exact = CaseVerdict::Exact {
            rules: Knobs::default(),
        };
        let near = CaseVerdict::WithinOneStep {
            same: 9,
            values: 10,
        };
        let wrong = CaseVerdict::Wrong {
            cases: 1,
            of: 2,
            most_steps: 7,
        };
        let counts = |verdict: &CaseVerdict, declared, cases| {
            let mut found = Findings::default();
            found.add("x", "Conv", verdict, declared, cases);
            (found.faults.len(), found.unseen.len())
        };
        for (verdict, declared) in [
            (&exact, Some(WithinOneStep)),
            (&exact, Some(Wrong)),
            (&near, Some(Wrong)),
            (&wrong, Some(Unsupported)),
        ] {
            assert_eq!(
                counts(verdict, declared, ENOUGH - 1),
                (0, 1),
                "{declared:?}"
            );
            assert_eq!(counts(verdict, declared, ENOUGH), (1, 0), "{declared:?}");
        }
        for cases in [1, ENOUGH] {
            assert_eq!(counts(&near, None, cases), (1, 0));
            assert_eq!(counts(&wrong, Some(WithinOneStep), cases), (1, 0));
            assert_eq!(counts(&near, Some(WithinOneStep), cases), (0, 0));
        }
    }

    #[test]
    fn what_is_worst_decides() {
        let failed = Tried {
            failure: Some("no".into()),
            ..tried(0, 0, &[])
        };
        let wrong = tried(1, 7, &[]);
        assert_eq!(
            verdict(&[tried(10, 0, &[]), wrong.clone()]),
            "**wrong** in 1 of 2, ≤ 7 steps"
        );
        assert_eq!(
            verdict(&[wrong.clone(), failed.clone()]),
            "unsupported in 1 of 2"
        );
        assert_eq!(verdict(std::slice::from_ref(&failed)), "unsupported");
        let shrunk = Tried {
            shrunk: true,
            ..failed
        };
        assert_eq!(verdict(&[wrong, shrunk]), "**wrong** in 1 of 1, ≤ 7 steps");
    }

    /// What a case says of its output is what convolutions make of it: the files are valid.
    #[test]
    fn cases_are_the_same_in_every_run_and_files_can_be_read() {
        for kind in &KINDS {
            let draw = || -> Vec<Case> {
                let mut runner = TestRunner::deterministic();
                let tree = |_| {
                    (kind.cases)()
                        .new_tree(&mut runner)
                        .map(|tree| tree.current())
                };
                (0..5)
                    .map(tree)
                    .collect::<Result<_, _>>()
                    .expect("cases can be drawn")
            };
            let cases = draw();
            assert_eq!(cases, draw(), "{}", kind.name);
            for case in cases {
                let graph = firstpass_onnx::decode(case.file().into()).expect("a model");
                assert_eq!(graph.output[0].shape(), Some(case.output_shape()));
                assert_eq!(case.values().len(), case.shape.iter().product::<usize>());
                let json = serde_json::to_string(&case).expect("a case is plain data");
                let read: Case = serde_json::from_str(&json).expect("as it was written");
                assert_eq!((read.values(), read.file()), (case.values(), case.file()));
            }
        }
    }
}
