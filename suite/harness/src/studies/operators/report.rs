//! The part of the report that goes operator by operator.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use firstpass_trial::small_graphs::{CaseVerdict, KINDS, Tried, judge};
use minijinja::context;

use crate::{
    page::{markdown::code, numbers::list, table::Table, template},
    studies::operators::{Operators, Outcome, StandardTest},
};

/// How many kinds of graphs each engine computes exactly.
pub(crate) fn answer(operators: &Operators, called: &dyn Fn(&str) -> String) -> String {
    let engines = operators.tried.iter().map(|(engine, tried)| {
        let verdicts = judge(tried);
        let exact = verdicts
            .iter()
            .filter(|(_, v)| matches!(v, CaseVerdict::Exact { .. }))
            .count();
        format!("{} {exact} of {}", called(engine), verdicts.len())
    });
    let engines: Vec<String> = engines.collect();
    format!("Kinds of small graphs that are exact: {}.", list(&engines))
}

/// The details: a kind of graphs a row, an engine a column, and what engines say.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn section(operators: &Operators) -> Result<String> {
    let safe = |lines: Vec<String>| template::markdown(lines.join("\n"));
    let standard = standard_tests(&operators.standard);
    let data = context! {
        cases => operators.run.cases,
        kinds => kinds(operators).page(),
        words => safe(words(operators)),
        standard => (!standard.is_empty()).then(|| standard.page()),
        standard_words => safe(standard_words(&operators.standard)),
    };
    template::render("detail/operators.md.j2", context! { data })
}

/// The same table for the terminal.
pub fn operators_on_terminal(operators: &Operators) -> String {
    [
        kinds(operators).terminal(),
        words(operators).join("\n"),
        standard_on_terminal(&operators.standard),
    ]
    .join("\n")
}

/// The standard's tests alone.
pub fn standard_on_terminal(tests: &BTreeMap<String, Vec<StandardTest>>) -> String {
    [
        standard_tests(tests).terminal(),
        standard_words(tests).join("\n"),
    ]
    .join("\n")
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

/// What engines say of the tests that they do not pass; those that say the same are named together.
fn standard_words(tests: &BTreeMap<String, Vec<StandardTest>>) -> Vec<String> {
    let mut words = Vec::new();
    for (engine, tests) in tests {
        let mut by_words: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for test in tests {
            if matches!(test.outcome, Outcome::Failed(_) | Outcome::Differs { .. }) {
                let said = test.outcome.to_string();
                let said = said.lines().next().unwrap_or_default().to_owned();
                by_words.entry(said).or_default().push(&test.name);
            }
        }
        for (said, names) in by_words {
            let names = if names.len() > 12 {
                format!("{} tests", names.len())
            } else {
                names.join(", ")
            };
            words.push(format!("- {engine} ({names}): {}", code(&said)));
        }
    }
    words
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

/// What engines say, of the smallest case where there is one.
fn words(operators: &Operators) -> Vec<String> {
    let absent = operators.absent.iter();
    let mut words: Vec<String> = absent
        .map(|(engine, absence)| format!("- {engine}: {}", absence.reason))
        .collect();
    for (engine, tried) in &operators.tried {
        let mut by_words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for kind in &KINDS {
            let of_kind = || tried.iter().filter(|t| t.kind == kind.name);
            let failed =
                |shrunk: bool| of_kind().find(|t| t.shrunk == shrunk && t.failure.is_some());
            let said = failed(true)
                .or_else(|| failed(false))
                .and_then(|t: &Tried| t.failure.as_deref());
            if let Some(said) = said {
                by_words.entry(said).or_default().push(kind.name);
            }
        }
        for (said, kinds) in by_words {
            let kinds = kinds.join("; ");
            let said = said.lines().next().unwrap_or_default();
            words.push(format!("- {engine} ({kinds}): {}", code(said)));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use firstpass_trial::difference::Difference;

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
        let text = section(&operators())?;
        for expected in [
            "| quantize ",
            "| exact ",
            "| unsupported ",
            "- y: it reads no ONNX",
            "- x (relu, clip): `a small case`",
            "| Relu     | 1 of 2 |",
            "- x (test_other): `no`",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("a large case"), "{text}");
        let terminal = operators_on_terminal(&operators());
        assert!(terminal.contains("a small case") && terminal.contains("1 of 2"));
        assert_eq!(
            answer(&operators(), &str::to_owned),
            "Kinds of small graphs that are exact: x 1 of 2."
        );
        Ok(())
    }
}
