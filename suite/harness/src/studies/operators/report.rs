//! The part of the report that goes operator by operator.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use firstpass_trial::small_graphs::{CaseVerdict, KINDS, Tried, judge};
use minijinja::context;

use crate::{
    page::{
        markdown::code,
        numbers::{names, part_of, setting},
        table::Table,
        template,
    },
    studies::operators::{Operators, Outcome, StandardTest},
};

/// On which engines every kind of graphs is exact, and who has the fewest exact kinds.
pub(crate) fn answer(operators: &Operators, called: &dyn Fn(&str) -> String) -> String {
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
    let mut sentences = vec![part_of(
        "Kinds of small graphs that are exact",
        counted.collect(),
    )];
    for (engine, verdicts) in &ran {
        let wrong = verdicts
            .iter()
            .filter(|(_, v)| matches!(v, CaseVerdict::Wrong { .. }));
        let wrong: Vec<String> = wrong.map(|(kind, _)| (*kind).to_owned()).collect();
        if !wrong.is_empty() {
            sentences.push(format!("⚠ {engine} is wrong on {}.", names(&wrong)));
        }
    }
    let others: Vec<String> = others.into_iter().map(|(engine, _)| engine).collect();
    if !others.is_empty() {
        let verb = if others.len() == 1 { "runs" } else { "run" };
        sentences.push(format!("{} {verb} none of them.", names(&others)));
    }
    sentences.join(" ")
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
    let safe = |lines: Vec<String>| template::markdown(lines.join("\n"));
    let operators = &with_titles(operators, called);
    let standard = &operators.standard;
    let has_standard = standard.values().any(|tests| !tests.is_empty());
    let data = context! {
        cases => operators.run.cases,
        summary => summary(operators).seen(),
        kinds => kinds(operators).page(),
        words => safe(words(operators)),
        standard => has_standard.then(|| standard_summary(standard).seen()),
        standard_tests => standard_tests(standard).page(),
        standard_words => safe(standard_words(standard)),
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
            match rules.len() {
                0 => "–".into(),
                some => format!("{some}: {}", different.join(", ")),
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
        let terminal = operators_on_terminal(&operators());
        assert!(terminal.contains("a small case") && terminal.contains("1 of 2"));
        assert_eq!(
            answer(&operators(), &str::to_owned),
            "Kinds of small graphs that are exact: 1 of 2 on x."
        );
        Ok(())
    }
}
