//! The file of recommended settings that `firstpass tune --apply` writes.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use crate::{Error, Knobs, Result};

/// Settings by backend.
///
/// ```
/// use firstpass_probe::Tuned;
///
/// let tuned = Tuned::parse("[my-engine]\nfusion = \"off\"\n")?;
/// // To be given to `Session::<MyEngine>::open`.
/// let knobs = tuned.of("my-engine");
/// assert_eq!(knobs.get("fusion"), Some("off"));
/// # Ok::<(), firstpass_probe::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuned(BTreeMap<String, Knobs>);

impl Tuned {
    /// Reads TOML: a table for each backend, in it a value for each knob.
    ///
    /// # Errors
    /// Fails on what is no TOML of that form. Whether a backend knows the knobs it says itself.
    pub fn parse(text: &str) -> Result<Self> {
        let tables: BTreeMap<String, BTreeMap<String, toml::Value>> =
            toml::from_str(text).map_err(|error| Error::input(error.to_string().trim_end()))?;
        let knobs = |table: BTreeMap<String, toml::Value>| {
            table
                .into_iter()
                .try_fold(Knobs::default(), |knobs, (name, value)| match value {
                    toml::Value::String(word) => Ok(knobs.with(&name, word)),
                    toml::Value::Integer(number) => Ok(knobs.with(&name, number)),
                    other => Err(Error::input(format!(
                        "{name} is {other}, but knobs take words in quotation marks and numbers"
                    ))),
                })
        };
        let of_backends = tables
            .into_iter()
            .map(|(backend, table)| Ok((backend, knobs(table)?)));
        Ok(Self(of_backends.collect::<Result<_>>()?))
    }

    /// Reads a file; see [`Tuned::parse`].
    ///
    /// # Errors
    /// Fails where the file cannot be read as well; the message names it.
    pub fn read(path: &Path) -> Result<Self> {
        let context = |error: Error| error.context(format!("cannot read {}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| context(error.into()))?;
        Self::parse(&text).map_err(context)
    }

    /// The settings of a backend; none where the file has none for it.
    pub fn of(&self, backend: &str) -> Knobs {
        self.0.get(backend).cloned().unwrap_or_default()
    }

    pub fn insert(&mut self, backend: &str, knobs: Knobs) {
        self.0.insert(backend.into(), knobs.settings().collect());
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Knobs)> {
        self.0
            .iter()
            .map(|(backend, knobs)| (backend.as_str(), knobs))
    }

    /// The text of a file with these settings.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (backend, knobs) in &self.0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n[{backend}]");
            for (name, value) in knobs.settings() {
                let _ = writeln!(text, "{name} = {}", toml::Value::String(value.into()));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() -> Result<()> {
        let mut tuned = Tuned::default();
        tuned.insert("a", Knobs::default().with("x", "off").with("threads", 2));
        tuned.insert("b", Knobs::default());
        let read = Tuned::parse(&tuned.to_toml())?;
        assert_eq!(read, tuned);
        assert_eq!(read.of("a"), Knobs::default().with("x", "off"));
        assert_eq!(read.of("nobody"), Knobs::default());
        Ok(())
    }

    #[test]
    fn numbers_are_taken_and_nonsense_is_named() -> Result<()> {
        assert_eq!(
            Tuned::parse("[a]\nruns = 2\n")?.of("a").get("runs"),
            Some("2")
        );
        for wrong in ["[a]\nx = [1]\n", "x = 1\n", "[a\n"] {
            assert!(Tuned::parse(wrong).is_err(), "{wrong}");
        }
        let missing = Tuned::read(Path::new("/nonexistent/tuned.toml"));
        let message = missing.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("/nonexistent/tuned.toml"), "{message}");
        Ok(())
    }
}
