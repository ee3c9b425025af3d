//! Settings that a backend declares and honours.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, num::NonZeroUsize};

use serde::{Deserialize, Serialize, Serializer};

use crate::{Error, Result};

/// The knob that every backend has: how many threads one pass may use.
pub const THREADS: &str = "threads";

/// The knob of an engine that can take denormal floats, which many processors compute slowly, as 0.
pub const DENORMALS: &str = "denormals";

/// The value of [`DENORMALS`] that is no default.
pub const DENORMALS_AS_ZERO: &str = "zero";

/// One setting of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// Any of these words, with commas between them, or `none`.
    Any(Vec<String>),
}

/// The value of a knob that takes any of several words, where it takes none of them.
const NONE: &str = "none";

impl Knob {
    /// The knob [`THREADS`], with the engine's own way of setting it as `help`.
    pub fn threads(help: &str) -> Self {
        Self::count(THREADS, help)
    }

    /// The knob [`DENORMALS`], with the engine's own way of setting it as `help`.
    pub fn denormals(help: &str) -> Self {
        Self::choice(DENORMALS, &["kept", DENORMALS_AS_ZERO], help)
    }

    /// A knob that takes a whole number of at least one, which is the engine's default.
    pub fn count(name: &str, help: &str) -> Self {
        Self {
            name: name.into(),
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

    /// A knob that takes any of `words`, with commas between them; the engine's default is `none`.
    pub fn any(name: &str, words: &[&str], help: &str) -> Self {
        Self {
            name: name.into(),
            values: KnobValues::Any(words.iter().map(ToString::to_string).collect()),
            default: NONE.into(),
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

    /// The words of which it takes one; none for a number, and where it takes several at once.
    pub fn words(&self) -> &[String] {
        match &self.values {
            KnobValues::Choice(words) => words,
            KnobValues::Count | KnobValues::Any(_) => &[],
        }
    }

    /// The words of which it takes any; none where it takes one.
    pub fn parts(&self) -> &[String] {
        match &self.values {
            KnobValues::Any(words) => words,
            KnobValues::Choice(_) | KnobValues::Count => &[],
        }
    }

    fn check(&self, value: &str) -> Result<()> {
        let (valid, expected) = match &self.values {
            KnobValues::Choice(words) => (words.iter().any(|w| w == value), words.join(", ")),
            KnobValues::Count => (
                value.parse::<usize>().is_ok_and(|n| n > 0),
                "a whole number of at least 1".into(),
            ),
            KnobValues::Any(words) => (
                value == NONE || value.split(',').all(|part| words.iter().any(|w| w == part)),
                format!(
                    "none, or any of {} with commas between them",
                    words.join(", ")
                ),
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

/// How many threads a pass may use, and explicit settings by knob name. What is not named keeps its
/// default.
///
/// In JSON it is one object, in which the number of threads is a value like any other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Knobs {
    threads: Option<NonZeroUsize>,
    settings: BTreeMap<String, String>,
}

impl Knobs {
    /// These settings and one more. A number of threads that is none is kept as it was said, so that
    /// [`Knobs::check`] refuses it as it refuses any other value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        if name == THREADS {
            self.threads = value.parse().ok();
            self.settings.remove(name);
        }
        if name != THREADS || self.threads.is_none() {
            self.settings.insert(name.into(), value);
        }
        self
    }

    /// The value of a setting, where it is explicit.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Threads that one pass may use; 1 unless set.
    pub fn threads(&self) -> usize {
        self.threads.map_or(1, NonZeroUsize::get)
    }

    /// The explicit settings in the order of their names. The number of threads is none.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The number of threads and the settings, as pairs in the order of their names.
    fn pairs(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let is_before = |(name, _): &(&str, &str)| *name < THREADS;
        let before = self.settings().take_while(is_before);
        let after = self.settings().skip_while(is_before);
        let threads = self.threads.map(|n| (THREADS, Cow::from(n.to_string())));
        let borrowed = |(name, value)| (name, Cow::Borrowed(value));
        before
            .map(borrowed)
            .chain(threads)
            .chain(after.map(borrowed))
    }

    /// These settings, and those of `other` where they name the same knob.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        other
            .pairs()
            .fold(self, |all, (name, value)| all.with(name, value))
    }

    /// The environment variables that carry out these settings, which whoever starts the process
    /// has to set.
    pub fn environment(&self, declared: &[Knob]) -> Vec<(String, String)> {
        let variable = |(name, value): (&str, Cow<'_, str>)| {
            let knob = declared.iter().find(|knob| knob.name == name)?;
            let variable = knob.variable.as_ref()?;
            let value = variable.values.get(value.as_ref())?;
            Some((variable.name.clone(), value.clone()))
        };
        self.pairs().filter_map(variable).collect()
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
        for (name, value) in self.pairs() {
            let knob = declared.iter().find(|k| k.name == name).ok_or_else(|| {
                let known: Vec<_> = declared.iter().map(|k| k.name.as_str()).collect();
                Error::unsupported(format!(
                    "no knob is called {name:?}; this backend has: {}",
                    known.join(", ")
                ))
            })?;
            knob.check(&value)?;
        }
        Ok(())
    }
}

impl<N: AsRef<str>, V: ToString> FromIterator<(N, V)> for Knobs {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        pairs
            .into_iter()
            .fold(Self::default(), |all, (name, value)| {
                all.with(name.as_ref(), value)
            })
    }
}

impl From<BTreeMap<String, String>> for Knobs {
    fn from(pairs: BTreeMap<String, String>) -> Self {
        pairs.into_iter().collect()
    }
}

impl Serialize for Knobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.pairs())
    }
}

/// As the pairs in JSON: rows of a report stand in this order.
impl Ord for Knobs {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pairs().cmp(other.pairs())
    }
}

impl PartialOrd for Knobs {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_several_words_is_a_value() {
        let declared = [Knob::any("off", &["a", "b", "c"], "")];
        let check = |value: &str| Knobs::default().with("off", value).check(&declared);
        for valid in ["none", "a", "a,c", "c,b,a"] {
            assert!(check(valid).is_ok(), "{valid}");
        }
        for wrong in ["", "d", "a,d", "a,", "a, b", "none,a"] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
        assert!(declared[0].words().is_empty());
        assert_eq!(declared[0].parts().len(), 3);
    }

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
    fn threads_are_no_setting() {
        let knobs = Knobs::default().with("fusion", "off").with(THREADS, 2);
        assert!(knobs.settings().eq([("fusion", "off")]));
        let settings: Knobs = knobs.settings().collect();
        assert_eq!(settings, Knobs::default().with("fusion", "off"));
        assert_eq!(settings.and(&knobs), knobs);
    }

    #[test]
    fn json_is_one_object() -> serde_json::Result<()> {
        for json in [
            "{}",
            r#"{"threads":"2"}"#,
            r#"{"fusion":"off","threads":"1","warm-up":"full"}"#,
            r#"{"threads":"many"}"#,
        ] {
            let knobs: Knobs = serde_json::from_str(json)?;
            assert_eq!(serde_json::to_string(&knobs)?, json);
        }
        Ok(())
    }

    #[test]
    fn the_last_number_of_threads_counts() {
        let refused = Knobs::default().with(THREADS, 2).with(THREADS, 0);
        assert!(refused.check(&declared()).is_err());
        assert_eq!(refused.with(THREADS, 2), Knobs::default().with(THREADS, 2));
    }

    #[test]
    fn threads_are_ordered_among_the_settings_by_name() {
        let default = Knobs::default().with(THREADS, 1);
        let earlier = default.clone().with("fusion", "off");
        let later = default.clone().with("warm-up", "full");
        assert!(earlier < default && default < later);
        assert!(default < Knobs::default().with(THREADS, 2));
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
