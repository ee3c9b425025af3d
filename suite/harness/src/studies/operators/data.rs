//! Operator by operator: small quantized graphs on every engine, against a referee under each of its
//! rules.
//!
//! Cases are drawn by proptest, the same in every run, and each engine that differs by more than a step
//! or fails is asked again with smaller cases, until one is found that nothing can be taken from.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use firstpass_trial::{
    known::Known,
    small_graphs::{Findings, Tried, judge},
    workspace::Workspace,
};
use serde::{Deserialize, Serialize};

use crate::{
    record::{code::Code, sidecar::Sidecar},
    studies::operators::{Outcome, StandardTest},
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

/// Every verdict that is not as declared in the `known.toml` of its backend for a processor with these
/// instruction sets.
///
/// # Errors
/// Fails where a `known.toml` cannot be read.
pub fn findings(
    workspace: &Workspace,
    operators: &Operators,
    cpu_flags: &[String],
) -> Result<Findings> {
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
        let known = backend.known().context("what is declared cannot be read")?;
        for (kind, verdict) in judge(tried) {
            let declared = known.operator(kind, cpu_flags).map(|o| o.verdict);
            findings.add(&backend.name, kind, &verdict, declared, operators.run.cases);
        }
        if let Some(tests) = operators.standard.get(&backend.name) {
            let faults = standard_faults(&backend.name, tests, &known);
            findings.faults.extend(faults);
        }
    }
    Ok(findings)
}

/// The standard's tests of an engine that do not come out as declared.
pub fn standard_faults(engine: &str, tests: &[StandardTest], known: &Known) -> Vec<String> {
    let fault = |test: &StandardTest| {
        let declared = known.standard_test(&test.name).is_some();
        match (&test.outcome, declared) {
            (Outcome::LeftOut(_), _) | (Outcome::Passed, false) => None,
            (Outcome::Passed, true) => Some(format!(
                "{engine}: {} passes now: remove the declaration",
                test.name
            )),
            (_, true) => None,
            (outcome, false) => {
                let outcome = outcome.to_string();
                let outcome = outcome.lines().next().unwrap_or_default();
                Some(format!("{engine}: {}: {outcome}", test.name))
            }
        }
    };
    tests.iter().filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_of_the_standard_passes_or_is_declared() -> Result<()> {
        let known: Known =
            toml::from_str("[[standard-test]]\nnames = [\"declared\"]\nreason = \"because\"")?;
        let faults = |name: &str, outcome: Outcome| {
            let test = StandardTest {
                name: name.into(),
                operator: "Relu".into(),
                outcome,
            };
            standard_faults("x", &[test], &known).len()
        };
        let differs = || Outcome::Differs { values: 1, of: 2 };
        assert_eq!(faults("declared", differs()), 0);
        assert_eq!(faults("other", Outcome::Passed), 0);
        assert_eq!(faults("other", Outcome::LeftOut("strings".into())), 0);
        assert_eq!(faults("declared", Outcome::Passed), 1);
        assert_eq!(faults("other", differs()), 1);
        assert_eq!(faults("other", Outcome::Failed("no".into())), 1);
        Ok(())
    }
}
