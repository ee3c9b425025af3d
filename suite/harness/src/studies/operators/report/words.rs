//! What engines say of what they do not run or get wrong.

use std::collections::BTreeMap;

use firstpass_trial::small_graphs::{KINDS, Tried};
use serde::Serialize;

use crate::studies::operators::{Operators, Outcome, StandardTest};

/// At most this many tests are named where an engine says the same of all.
const NAMED: usize = 12;

/// What an engine says: `templates/said/operators.md.j2` quotes it.
#[derive(Debug, Serialize)]
pub(super) struct Words {
    engine: String,
    /// Of which kinds of graphs or tests; of many tests only how many there are.
    of: Vec<String>,
    tests: Option<usize>,
    said: String,
    /// Whether it is the engine's own words, and not ours.
    is_quoted: bool,
}

/// What engines say of the tests that they do not pass; those of which one says the same are named together.
pub(super) fn standard_words(tests: &BTreeMap<String, Vec<StandardTest>>) -> Vec<Words> {
    let mut words = Vec::new();
    for (engine, tests) in tests {
        let mut by_words: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for test in tests {
            if matches!(test.outcome, Outcome::Failed(_) | Outcome::Differs { .. }) {
                let said = test.outcome.to_string();
                let said = said.lines().next().unwrap_or_default().to_owned();
                by_words.entry(said).or_default().push(test.name.clone());
            }
        }
        words.extend(by_words.into_iter().map(|(said, names)| {
            let tests = (names.len() > NAMED).then_some(names.len());
            Words {
                engine: engine.clone(),
                of: if tests.is_some() { Vec::new() } else { names },
                tests,
                said,
                is_quoted: true,
            }
        }));
    }
    words
}

/// What engines say, of the smallest case where there is one.
pub(super) fn words(operators: &Operators) -> Vec<Words> {
    let absent = operators.absent.iter();
    let mut words: Vec<Words> = absent
        .map(|(engine, absence)| Words {
            engine: engine.clone(),
            of: Vec::new(),
            tests: None,
            said: absence.reason.clone(),
            is_quoted: false,
        })
        .collect();
    for (engine, tried) in &operators.tried {
        let mut by_words: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for kind in &KINDS {
            let of_kind = || tried.iter().filter(|t| t.kind == kind.name);
            let failed =
                |shrunk: bool| of_kind().find(|t| t.shrunk == shrunk && t.failure.is_some());
            let said = failed(true)
                .or_else(|| failed(false))
                .and_then(|t: &Tried| t.failure.as_deref());
            if let Some(said) = said {
                by_words.entry(said).or_default().push(kind.name.into());
            }
        }
        words.extend(by_words.into_iter().map(|(said, of)| Words {
            engine: engine.clone(),
            of,
            tests: None,
            said: said.lines().next().unwrap_or_default().into(),
            is_quoted: true,
        }));
    }
    words
}
