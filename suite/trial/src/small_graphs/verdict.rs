//! What an engine makes of a case and of a kind of cases, and whether that is as declared.

use std::fmt;

use firstpass_probe::{Knobs, Tensor};
use serde::{Deserialize, Serialize};

use super::{Case, ENOUGH, Expected, KINDS, Kind};
use crate::{difference::Difference, known::DeclaredVerdict, setting::setting};

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
    /// What an engine's answer to a case is: its output, or why there is none.
    pub fn new(
        kind: &str,
        case: &Case,
        answer: Result<Tensor, String>,
        expected: &Expected,
    ) -> Self {
        match answer {
            Err(words) => Self::refused(kind, case, words),
            Ok(output) => {
                let mut tried = Self {
                    failure: None,
                    ..Self::refused(kind, case, String::new())
                };
                let scale = case.output_scale();
                let difference = |of: &Tensor| Difference::between(of, &output, scale);
                let all = || expected.iter();
                tried.difference = all().next().map(|given| difference(&given.output));
                let exact = all().filter(|given| difference(&given.output).is_none());
                tried.exact_under = exact.flat_map(|given| given.rules.clone()).collect();
                tried
            }
        }
    }

    /// Without an output, for a reason in the engine's own words.
    pub fn refused(kind: &str, case: &Case, words: String) -> Self {
        Self {
            kind: kind.into(),
            case: case.clone(),
            shrunk: false,
            failure: Some(words),
            difference: None,
            exact_under: Vec::new(),
        }
    }

    /// Whether the engine fails or differs by more than a step.
    pub fn is_at_fault(&self) -> bool {
        self.failure.is_some() || self.difference.as_ref().is_some_and(|d| d.most_steps > 1)
    }
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
            Self::Exact { rules } => match setting(rules).as_str() {
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
            } => write!(f, "⚠ wrong in {cases} of {of}, ≤ {most_steps} steps"),
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
    pub fn add(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(same: usize, most_steps: u64, exact_under: &[(&str, &str)]) -> Tried {
        let case = KINDS[0].draw(1).expect("cases can be drawn")[0].current();
        let rules = exact_under.iter();
        Tried {
            kind: KINDS[0].name.into(),
            case,
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
            "⚠ wrong in 1 of 2, ≤ 7 steps"
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
        assert_eq!(verdict(&[wrong, shrunk]), "⚠ wrong in 1 of 1, ≤ 7 steps");
    }
}
