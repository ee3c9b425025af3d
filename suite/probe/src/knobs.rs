//! Settings that a backend declares and honours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The knob that every backend has: how many threads one pass may use.
pub const THREADS: &str = "threads";

/// One setting of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knob {
    pub name: String,
    pub values: KnobValues,
    pub default: String,
    /// One line: what it does.
    pub help: String,
}

/// The values that a knob takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnobValues {
    /// One of these words.
    Choice(Vec<String>),
    /// A whole number of at least one.
    Count,
}

impl Knob {
    /// The knob [`THREADS`], with the engine's own way of setting it as `help`.
    pub fn threads(help: &str) -> Self {
        Self {
            name: THREADS.into(),
            values: KnobValues::Count,
            default: "1".into(),
            help: help.into(),
        }
    }

    /// A knob that takes one of `values`, of which the first is the engine's default.
    pub fn choice(name: &str, values: &[&str], help: &str) -> Self {
        Self {
            name: name.into(),
            values: KnobValues::Choice(values.iter().map(ToString::to_string).collect()),
            default: values.first().copied().unwrap_or_default().into(),
            help: help.into(),
        }
    }

    fn check(&self, value: &str) -> Result<()> {
        let (valid, expected) = match &self.values {
            KnobValues::Choice(words) => (words.iter().any(|w| w == value), words.join(", ")),
            KnobValues::Count => (
                value.parse::<usize>().is_ok_and(|n| n > 0),
                "a whole number of at least 1".into(),
            ),
        };
        if valid {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "knob {}={value}: expected {expected}",
            self.name
        )))
    }
}

/// Explicit settings by knob name; a knob that is not named keeps its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Knobs(BTreeMap<String, String>);

impl Knobs {
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.into(), value.to_string());
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Threads that one pass may use; 1 unless set.
    pub fn threads(&self) -> usize {
        self.get(THREADS).and_then(|n| n.parse().ok()).unwrap_or(1)
    }

    /// The settings other than the number of threads.
    pub fn iter_except_threads(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(name, _)| *name != THREADS)
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// # Errors
    /// A knob that is not declared, or a value outside its range, is an error and never ignored.
    pub fn check(&self, declared: &[Knob]) -> Result<()> {
        for (name, value) in &self.0 {
            let knob = declared.iter().find(|k| &k.name == name).ok_or_else(|| {
                let known: Vec<_> = declared.iter().map(|k| k.name.as_str()).collect();
                Error::unsupported(format!(
                    "no knob is called {name:?}; this backend has: {}",
                    known.join(", ")
                ))
            })?;
            knob.check(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Vec<Knob> {
        vec![
            Knob::threads(""),
            Knob::choice("fusion", &["on", "off"], ""),
        ]
    }

    #[test]
    fn accepts_declared_values() {
        let knobs = Knobs::default().with(THREADS, 2).with("fusion", "off");
        assert!(knobs.check(&declared()).is_ok());
        assert_eq!(knobs.threads(), 2);
    }

    #[test]
    fn refuses_what_no_backend_declared() {
        for knobs in [
            Knobs::default().with("fusoin", "off"),
            Knobs::default().with("fusion", "maybe"),
            Knobs::default().with(THREADS, 0),
            Knobs::default().with(THREADS, "many"),
        ] {
            let error = knobs.check(&declared()).expect_err("must be refused");
            assert_eq!(error.kind, crate::ErrorKind::Unsupported);
        }
    }
}
