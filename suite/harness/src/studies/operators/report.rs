//! The part of the report that goes operator by operator.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use firstpass_trial::small_graphs::{CaseVerdict, KINDS, judge};
use minijinja::context;
use serde::Serialize;

use crate::{
    page::{
        numbers::{PartOf, setting},
        table::Table,
        template,
    },
    studies::operators::{Operators, Outcome, StandardTest},
};
use words::{Words, standard_words, words};

/// An engine that computes some kinds of graphs wrongly.
#[derive(Serialize)]
struct Wrong<'a> {
    engine: &'a str,
    /// In quotation marks: some names hold commas.
    kinds: Vec<String>,
}

/// On which engines every kind of graphs is exact, and who has the fewest exact kinds.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(operators: &Operators, called: &dyn Fn(&str) -> String) -> Result<String> {
    let judged = operators.tried.iter();
    let judged: Vec<(String, Vec<(&str, CaseVerdict)>)> = judged
        .map(|(engine, tried)| (called(engine), judge(tried)))
        .collect();
    let runs = |verdicts: &[(&str, CaseVerdict)]| {
        let is_run = |(_, verdict): &(&str, CaseVerdict)| !matches!(verdict, CaseVerdict::Unsupported { cases, of, .. } if cases == of);
        verdicts.iter().any(is_run)
    };
    let (ran, others): (Vec<_>, Vec<_>) = judged.into_iter().partition(|(_, of)| runs(of));
    let counted = ran
        .iter()
        .map(|(engine, verdicts)| (engine.clone(), exact(verdicts).count(), verdicts.len()));
    let wrong = ran.iter().map(|(engine, verdicts)| {
        let wrong = verdicts.iter();
        let wrong = wrong.filter(|(_, v)| matches!(v, CaseVerdict::Wrong { .. }));
        Wrong {
            engine,
            kinds: wrong.map(|(kind, _)| format!("“{kind}”")).collect(),
        }
    });
    let data = context! {
        exact => PartOf::new(counted.collect()),
        wrong => wrong.filter(|of| !of.kinds.is_empty()).collect::<Vec<_>>(),
        idle => others.iter().map(|(engine, _)| engine).collect::<Vec<_>>(),
    };
    template::answer("operators.md.j2", data)
}

/// The same with the names of engines by which a page calls them.
fn with_titles(operators: &Operators, called: &dyn Fn(&str) -> String) -> Operators {
    fn titled<T: Clone>(
        of: &BTreeMap<String, T>,
        called: &dyn Fn(&str) -> String,
    ) -> BTreeMap<String, T> {
        of.iter()
            .map(|(engine, of)| (called(engine), of.clone()))
            .collect()
    }
    Operators {
        run: operators.run.clone(),
        tried: titled(&operators.tried, called),
        standard: titled(&operators.standard, called),
        absent: titled(&operators.absent, called),
    }
}

fn exact<'a>(
    verdicts: &'a [(&str, CaseVerdict)],
) -> impl Iterator<Item = &'a firstpass_probe::Knobs> {
    verdicts.iter().filter_map(|(_, verdict)| match verdict {
        CaseVerdict::Exact { rules } => Some(rules),
        _ => None,
    })
}

/// The details: how many kinds and tests each engine has right, and behind that every kind and operator.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn section(operators: &Operators, called: &dyn Fn(&str) -> String) -> Result<String> {
    let operators = &with_titles(operators, called);
    let standard = &operators.standard;
    let has_standard = standard.values().any(|tests| !tests.is_empty());
    let data = context! {
        cases => operators.run.cases,
        summary => summary(operators).seen(),
        kinds => kinds(operators).page(),
        words => words(operators),
        standard => has_standard.then(|| standard_summary(standard).seen()),
        standard_tests => standard_tests(standard).page(),
        standard_words => standard_words(standard),
    };
    template::render("detail/operators.md.j2", context! { data })
}

/// An engine a row: how many kinds of graphs are exact, and what the others are.
fn summary(operators: &Operators) -> Table {
    let header = [
        "engine",
        "exact",
        "by another rule",
        "≤ 1 step",
        "wrong",
        "not run",
    ];
    Table::new(header).rows(operators.tried.iter().map(|(engine, tried)| {
        let verdicts = judge(tried);
        let count = |is: fn(&CaseVerdict) -> bool| {
            let found = verdicts.iter().filter(|(_, verdict)| is(verdict)).count();
            found.to_string()
        };
        let rules: Vec<String> = exact(&verdicts)
            .filter(|rules| rules.settings().count() > 0)
            .map(setting)
            .collect();
        let different: BTreeSet<&String> = rules.iter().collect();
        let different: Vec<String> = different
            .into_iter()
            .map(|rule| format!("`{rule}`"))
            .collect();
        [
            engine.clone(),
            format!("{} of {}", exact(&verdicts).count(), verdicts.len()),
            match (rules.len(), &different[..]) {
                (0, _) => "–".into(),
                (some, [rule]) => format!("{some}: {rule}"),
                // Each is named where all kinds are.
                (some, rules) => format!("{some}, by {} rules", rules.len()),
            },
            count(|verdict| matches!(verdict, CaseVerdict::WithinOneStep { .. })),
            count(|verdict| matches!(verdict, CaseVerdict::Wrong { .. })),
            count(|verdict| matches!(verdict, CaseVerdict::Unsupported { .. })),
        ]
    }))
}

/// An engine a row: how many of the standard's tests it passes, and of which operators it does not pass all.
fn standard_summary(tests: &BTreeMap<String, Vec<StandardTest>>) -> Table {
    let header = [
        "engine",
        "passed",
        "operators with a test that is not passed",
    ];
    Table::new(header).rows(tests.iter().map(|(engine, tests)| {
        let put = || {
            let tests = tests.iter();
            tests.filter(|test| !matches!(test.outcome, Outcome::LeftOut(_)))
        };
        let passed = put().filter(|test| test.outcome == Outcome::Passed).count();
        let failing = put().filter(|test| test.outcome != Outcome::Passed);
        let failing: BTreeSet<&str> = failing.map(|test| test.operator.as_str()).collect();
        let failing: Vec<&str> = failing.into_iter().collect();
        [
            engine.clone(),
            format!("{passed} of {}", put().count()),
            if failing.is_empty() {
                "–".into()
            } else {
                failing.join(", ")
            },
        ]
    }))
}

/// The same table for the terminal.
///
/// # Errors
/// Fails where a template cannot be rendered.
pub fn operators_on_terminal(operators: &Operators) -> Result<String> {
    Ok([
        kinds(operators).terminal(),
        on_terminal(words(operators))?,
        standard_on_terminal(&operators.standard)?,
    ]
    .join("\n"))
}

/// The standard's tests alone.
///
/// # Errors
/// Fails where a template cannot be rendered.
pub fn standard_on_terminal(tests: &BTreeMap<String, Vec<StandardTest>>) -> Result<String> {
    Ok([
        standard_tests(tests).terminal(),
        on_terminal(standard_words(tests))?,
    ]
    .join("\n"))
}

fn on_terminal(words: Vec<Words>) -> Result<String> {
    template::on_terminal("said/operators.md.j2", context! { words })
}

/// An operator a row, an engine a column.
fn standard_tests(tests: &BTreeMap<String, Vec<StandardTest>>) -> Table {
    let mut header = vec!["operator".to_owned()];
    header.extend(tests.keys().cloned());
    let all = || tests.values().flatten();
    let names: BTreeSet<&str> = all().map(|test| test.operator.as_str()).collect();
    let rows = names.into_iter().map(|name| {
        let mut row = vec![name.to_owned()];
        row.extend(tests.values().map(|tests| {
            let of_operator = tests.iter().filter(|test| test.operator == name);
            let put: Vec<&StandardTest> = of_operator
                .filter(|test| !matches!(test.outcome, Outcome::LeftOut(_)))
                .collect();
            let passed = put.iter().filter(|t| t.outcome == Outcome::Passed).count();
            format!("{passed} of {}", put.len())
        }));
        row
    });
    Table::new(header).rows(rows)
}

/// A kind a row, an engine a column.
fn kinds(operators: &Operators) -> Table {
    let verdicts: Vec<(&String, BTreeMap<&str, CaseVerdict>)> = operators
        .tried
        .iter()
        .map(|(engine, tried)| (engine, judge(tried).into_iter().collect()))
        .collect();
    let mut header = vec!["graph".to_owned()];
    header.extend(verdicts.iter().map(|(engine, _)| (*engine).clone()));
    let rows = KINDS.iter().map(|kind| {
        let mut row = vec![kind.name.to_owned()];
        row.extend(verdicts.iter().map(|(_, of)| {
            let verdict = of.get(kind.name);
            verdict.map_or_else(|| "–".into(), ToString::to_string)
        }));
        row
    });
    Table::new(header).rows(rows)
}

#[cfg(test)]
mod tests {
    use firstpass_trial::{difference::Difference, small_graphs::Tried};

    use super::*;
    use crate::{
        record::code::Code,
        studies::operators::{Absence, OperatorsRun, VERSION},
    };

    fn operators() -> Operators {
        let case = KINDS[0].draw(1).expect("cases can be drawn")[0].current();
        let exact = Tried {
            kind: KINDS[0].name.into(),
            case,
            shrunk: false,
            failure: None,
            difference: Some(Difference {
                values: 4,
                same: 4,
                most_steps: 0,
            }),
            exact_under: vec![firstpass_probe::Knobs::default()],
        };
        let failed = |shrunk: bool, words: &str| Tried {
            kind: KINDS[1].name.into(),
            shrunk,
            failure: Some(words.into()),
            difference: None,
            exact_under: Vec::new(),
            ..exact.clone()
        };
        let test = |name: &str, outcome: Outcome| StandardTest {
            name: name.into(),
            operator: "Relu".into(),
            outcome,
        };
        Operators {
            run: OperatorsRun {
                version: VERSION,
                date: String::new(),
                code: Code::default(),
                referees: BTreeMap::new(),
                cases: 1,
            },
            tried: BTreeMap::from([(
                "x".to_owned(),
                vec![
                    exact.clone(),
                    failed(false, "a large case"),
                    failed(true, "a small case\nand more"),
                ],
            )]),
            standard: BTreeMap::from([(
                "x".to_owned(),
                vec![
                    test("test_relu", Outcome::Passed),
                    test("test_other", Outcome::Failed("no".into())),
                    test("test_strings", Outcome::LeftOut("strings".into())),
                ],
            )]),
            absent: BTreeMap::from([(
                "y".to_owned(),
                Absence {
                    reason: "it reads no ONNX".into(),
                    is_fault: false,
                },
            )]),
        }
    }

    #[test]
    fn every_kind_and_test_is_a_row_and_failures_are_quoted() -> Result<()> {
        let text = section(&operators(), &str::to_owned)?;
        for expected in [
            "| quantize ",
            "| exact ",
            "| unsupported ",
            "- y: it reads no ONNX",
            "- x (relu, clip): `a small case`",
            "| Relu     | 1 of 2 |",
            "- x (test_other): `no`",
            "| x      | 1 of 2 | –               | 0        | 0     | 1       |",
            "| x      | 1 of 2 | Relu ",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("a large case"), "{text}");
        let terminal = operators_on_terminal(&operators())?;
        assert!(terminal.contains("a small case") && terminal.contains("1 of 2"));
        assert_eq!(
            answer(&operators(), &str::to_owned)?,
            "Kinds of small graphs that are exact: 1 of 2 on x."
        );
        Ok(())
    }

    /// Only an engine that runs not a single case runs none.
    #[test]
    fn an_engine_that_runs_nothing_is_said_to_run_none() -> Result<()> {
        let said = |engines: &[&str]| {
            let mut operators = operators();
            let failed = operators.tried["x"].iter().filter(|t| t.failure.is_some());
            let failed: Vec<Tried> = failed.cloned().collect();
            for engine in engines {
                let tried = operators.tried.entry((*engine).to_owned());
                tried.or_insert_with(|| failed.clone());
            }
            answer(&operators, &str::to_uppercase)
        };
        let exact = "Kinds of small graphs that are exact: 1 of 2 on X.";
        assert_eq!(said(&[])?, exact);
        assert_eq!(said(&["y"])?, format!("{exact} Y runs none of them."));
        assert_eq!(
            said(&["y", "z"])?,
            format!("{exact} Y and Z run none of them.")
        );
        Ok(())
    }

    #[test]
    fn wrong_kinds_are_named() -> Result<()> {
        let mut operators = operators();
        let tried = operators.tried.get_mut("x").expect("x was tried");
        tried[0].difference = Some(Difference {
            values: 4,
            same: 0,
            most_steps: 9,
        });
        tried[0].exact_under = Vec::new();
        let said = answer(&operators, &str::to_owned)?;
        assert!(said.contains("⚠ x is wrong on “quantize”"), "{said}");
        Ok(())
    }
}
