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
    /// Set where the engine reads the knob from the environment before `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<Variable>,
}

/// An environment variable that has to be set before the process starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    pub name: String,
    /// What it is set to, by value of the knob; it is not set for any other value.
    pub values: BTreeMap<String, String>,
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
            variable: None,
        }
    }

    /// A knob that takes one of `values`, of which the first is the engine's default.
    pub fn choice(name: &str, values: &[&str], help: &str) -> Self {
        Self {
            name: name.into(),
            values: KnobValues::Choice(values.iter().map(ToString::to_string).collect()),
            default: values.first().copied().unwrap_or_default().into(),
            help: help.into(),
            variable: None,
        }
    }

    /// A knob that the environment variable `variable` carries out: `values` are pairs of a value of
    /// the knob and what the variable is set to; the default, `unset`, does not set it.
    pub fn environment(name: &str, variable: &str, values: &[(&str, &str)], help: &str) -> Self {
        let mut words = vec!["unset"];
        words.extend(values.iter().map(|(word, _)| *word));
        let pairs = values.iter().map(|(w, v)| ((*w).into(), (*v).into()));
        Self {
            variable: Some(Variable {
                name: variable.into(),
                values: pairs.collect(),
            }),
            ..Self::choice(name, &words, help)
        }
    }

    /// The words that it takes; none for a number.
    pub fn words(&self) -> &[String] {
        match &self.values {
            KnobValues::Choice(words) => words,
            KnobValues::Count => &[],
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

    /// The same settings without the number of threads.
    #[must_use]
    pub fn without_threads(mut self) -> Self {
        self.0.remove(THREADS);
        self
    }

    /// These settings, and those of `other` where they name the same knob.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend(other.0.clone());
        self
    }

    /// The environment variables that carry out these settings, which whoever starts the process
    /// has to set.
    pub fn environment(&self, declared: &[Knob]) -> Vec<(String, String)> {
        let of = |(name, value): (&String, &String)| {
            let knob = declared.iter().find(|k| &k.name == name)?;
            let variable = knob.variable.as_ref()?;
            Some((variable.name.clone(), variable.values.get(value)?.clone()))
        };
        self.0.iter().filter_map(of).collect()
    }

    /// That the environment is as these settings need it: too late to set it in this process.
    pub(crate) fn check_environment(&self, declared: &[Knob]) -> Result<()> {
        for (variable, value) in self.environment(declared) {
            if std::env::var(&variable).as_deref() != Ok(value.as_str()) {
                return Err(Error::unsupported(format!(
                    "{variable}={value} has to be set before the process starts"
                )));
            }
        }
        Ok(())
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
    fn the_environment_has_to_be_set_by_the_one_who_starts() {
        let variable = "FIRSTPASS_TEST_WAIT_POLICY";
        let declared = [Knob::environment(
            "wait",
            variable,
            &[("passive", "PASSIVE")],
            "",
        )];
        let knobs = Knobs::default().with("wait", "passive");
        assert!(knobs.check(&declared).is_ok());
        assert_eq!(
            knobs.environment(&declared),
            [(variable.to_string(), "PASSIVE".to_string())]
        );
        assert!(knobs.check_environment(&declared).is_err());
        let unset = Knobs::default().with("wait", "unset");
        assert!(unset.environment(&declared).is_empty());
        assert!(unset.check_environment(&declared).is_ok());
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
