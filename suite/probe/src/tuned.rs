//! The file of recommended settings that `firstpass tune --apply` writes.

use std::{collections::BTreeMap, fmt, fmt::Write, path::Path};

use crate::{Error, Knobs, Result};

/// What a program needs of its first passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A process that answers a few times: the first answers soon after its start.
    Cold,
    /// A service that may prepare before its first request: a first request as fast as any other.
    Serve,
}

impl Need {
    /// Both, in the order in which pages show them.
    pub const ALL: [Self; 2] = [Self::Cold, Self::Serve];
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cold => "cold",
            Self::Serve => "serve",
        })
    }
}

/// Recommended settings by backend: for each [`Need`], or for none.
///
/// ```
/// use firstpass_probe::{Need, Tuned};
///
/// let tuned = Tuned::parse("[my-engine.cold]\nfusion = \"off\"\n")?;
/// // To be given to `Session::<MyEngine>::open`.
/// let knobs = tuned.for_need("my-engine", Need::Cold);
/// assert_eq!(knobs.get("fusion"), Some("off"));
/// # Ok::<(), firstpass_probe::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuned(BTreeMap<String, BTreeMap<Need, Knobs>>);

impl Tuned {
    /// Reads TOML: a table for each backend, in it one for each need, in that a value for each knob.
    ///
    /// Files once had no needs: knobs that stand in the table of the backend itself are those of
    /// [`Need::Cold`], which is what they were recommended for.
    ///
    /// # Errors
    /// Fails on what is no TOML of that form. Whether a backend knows the knobs it says itself.
    pub fn parse(text: &str) -> Result<Self> {
        let tables: BTreeMap<String, toml::Table> =
            toml::from_str(text).map_err(|error| Error::input(error.to_string().trim_end()))?;
        let settings = tables.into_iter().map(|(backend, mut table)| {
            let mut by_need = BTreeMap::new();
            for need in Need::ALL {
                if let Some(toml::Value::Table(own)) = table.remove(&need.to_string()) {
                    by_need.insert(need, knobs(own)?);
                }
            }
            if !table.is_empty() {
                let own = by_need.entry(Need::Cold).or_default();
                *own = std::mem::take(own).and(&knobs(table)?);
            }
            Ok((backend, by_need))
        });
        Ok(Self(settings.collect::<Result<_>>()?))
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

    /// The settings of a backend for a service, or where the file has none for a process that answers a
    /// few times; none where it has neither.
    pub fn of(&self, backend: &str) -> Knobs {
        self.0.get(backend).map(preferred).unwrap_or_default()
    }

    /// The settings of a backend for one need; none where the file has none.
    pub fn for_need(&self, backend: &str, need: Need) -> Knobs {
        let settings = self.0.get(backend).and_then(|needs| needs.get(&need));
        settings.cloned().unwrap_or_default()
    }

    /// Forgets what is recommended for a backend, which is named in the file all the same.
    pub fn clear(&mut self, backend: &str) {
        self.0.insert(backend.into(), BTreeMap::new());
    }

    /// Recommends settings of a backend for one need.
    pub fn insert(&mut self, backend: &str, need: Need, knobs: &Knobs) {
        let needs = self.0.entry(backend.into()).or_default();
        needs.insert(need, knobs.settings().collect());
    }

    /// Each backend with its settings, as [`Tuned::of`] has them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Knobs)> {
        let backends = self.0.iter();
        backends.map(|(backend, needs)| (backend.as_str(), preferred(needs)))
    }

    /// Each backend with all settings that the file has for it.
    pub fn all(&self) -> impl Iterator<Item = (&str, Need, &Knobs)> {
        self.0.iter().flat_map(|(backend, needs)| {
            let each = needs.iter();
            each.map(|(need, knobs)| (backend.as_str(), *need, knobs))
        })
    }

    /// The backends that the file names.
    pub fn backends(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The text of a file with these settings.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (backend, needs) in &self.0 {
            // Writing to a string cannot fail.
            if needs.is_empty() {
                let _ = writeln!(text, "\n[{backend}]");
            }
            for (need, knobs) in needs {
                let _ = writeln!(text, "\n[{backend}.{need}]");
                for (name, value) in knobs.settings() {
                    let _ = writeln!(text, "{name} = {}", toml::Value::String(value.into()));
                }
            }
        }
        text
    }
}

/// Of the settings of one backend those that a report measures: for a service, if there are any.
fn preferred(needs: &BTreeMap<Need, Knobs>) -> Knobs {
    let last = needs.last_key_value();
    last.map(|(_, knobs)| knobs.clone()).unwrap_or_default()
}

fn knobs(table: toml::Table) -> Result<Knobs> {
    table
        .into_iter()
        .try_fold(Knobs::default(), |knobs, (name, value)| match value {
            toml::Value::String(word) => Ok(knobs.with(&name, word)),
            toml::Value::Integer(number) => Ok(knobs.with(&name, number)),
            toml::Value::Table(_) => Err(Error::input(format!(
                "no need is called {name:?}; there are: {}",
                Need::ALL.map(|need| need.to_string()).join(", ")
            ))),
            other => Err(Error::input(format!(
                "{name} is {other}, but knobs take words in quotation marks and numbers"
            ))),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() -> Result<()> {
        let mut tuned = Tuned::default();
        let settings = Knobs::default().with("x", "off").with("threads", 2);
        tuned.insert("a", Need::Cold, &settings);
        tuned.clear("b");
        let read = Tuned::parse(&tuned.to_toml())?;
        assert_eq!(read, tuned);
        assert_eq!(read.backends().collect::<Vec<_>>(), ["a", "b"]);
        let own = Knobs::default().with("x", "off");
        assert_eq!(read.of("a"), own);
        assert_eq!(read.of("b"), Knobs::default());
        assert_eq!(read.of("nobody"), Knobs::default());
        assert_eq!(read.all().collect::<Vec<_>>(), [("a", Need::Cold, &own)]);
        Ok(())
    }

    #[test]
    fn a_service_goes_before_a_cold_start() -> Result<()> {
        let tuned = Tuned::parse("[a.cold]\nx = \"off\"\n[a.serve]\nwarm-up = \"full\"\n")?;
        let serve = Knobs::default().with("warm-up", "full");
        assert_eq!(tuned.of("a"), serve);
        assert_eq!(tuned.iter().collect::<Vec<_>>(), [("a", serve)]);
        let cold = tuned.for_need("a", Need::Cold);
        assert_eq!(cold, Knobs::default().with("x", "off"));
        Ok(())
    }

    #[test]
    fn files_without_needs_are_read() -> Result<()> {
        let tuned = Tuned::parse("[a]\nruns = 2\n\n[b]\n")?;
        assert_eq!(tuned.of("a").get("runs"), Some("2"));
        assert_eq!(tuned.for_need("a", Need::Serve), Knobs::default());
        assert_eq!(tuned.of("b"), Knobs::default());
        Ok(())
    }

    #[test]
    fn nonsense_is_named() {
        for (wrong, named) in [
            ("[a]\nx = [1]\n", "x is [1]"),
            ("[a.cold]\nx = [1]\n", "x is [1]"),
            ("[a.warm]\nx = 1\n", "there are: cold, serve"),
            ("x = 1\n", "x"),
            ("[a\n", "a"),
        ] {
            let error = Tuned::parse(wrong).expect_err(wrong).to_string();
            assert!(error.contains(named), "{error}");
        }
        let missing = Tuned::read(Path::new("/nonexistent/tuned.toml"));
        let message = missing.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("/nonexistent/tuned.toml"), "{message}");
    }
}
