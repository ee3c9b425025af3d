//! What is measured apart from a record and kept beside it, in a folder of its own: a `run.json`,
//! and JSON lines of each backend.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use firstpass_trial::regular_file;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::record::{Recorder, code::Code, lines};

/// One kind of such measurements.
#[derive(Debug, Clone, Copy)]
pub struct Sidecar {
    /// The folder inside of a record, and the command that writes it.
    pub name: &'static str,
    /// Raised when the meaning of its files changes; `version` in its `run.json`.
    pub version: u32,
}

/// What every `run.json` has.
#[derive(Deserialize)]
struct Head {
    version: u32,
    code: Code,
}

/// A run and the lines of each backend, in the order in which they were written.
pub type Kept<R, L> = (R, BTreeMap<String, Vec<L>>);

impl Sidecar {
    /// Reads what was measured beside a record; `None` where nothing was.
    ///
    /// # Errors
    /// Fails where a file is there and cannot be read, or is of another version.
    pub fn read<R: DeserializeOwned, L: DeserializeOwned>(
        self,
        record: &Path,
    ) -> Result<Option<Kept<R, L>>> {
        let Some((path, text)) = self.head(record)? else {
            return Ok(None);
        };
        let unexpected = || format!("{} is not as expected", path.display());
        let run = serde_json::from_str(&text).with_context(unexpected)?;
        let files = lines::files(&record.join(self.name))?.into_iter();
        let lines = files.map(|(name, path)| Ok((name, lines::read(&path)?)));
        let lines = lines.collect::<Result<_>>()?;
        Ok(Some((run, lines)))
    }

    /// Begins measurements beside a record. Earlier ones stay in their place until the new ones are
    /// complete, and are then kept in the record's folder `earlier`.
    ///
    /// # Errors
    /// Fails where the folder cannot be written.
    pub fn begin(self, record: &Path, root: &Path, run: &impl Serialize) -> Result<Recorder> {
        Recorder::begin(&record.join(self.name), root, run)
    }

    /// By which code it was measured; `None` where nothing was, or in another version.
    pub fn code(self, record: &Path) -> Option<Code> {
        let (_, text) = self.head(record).ok().flatten()?;
        let head: Head = serde_json::from_str(&text).ok()?;
        Some(head.code)
    }

    /// The path and text of its `run.json`, of the version that is read here.
    fn head(self, record: &Path) -> Result<Option<(PathBuf, String)>> {
        let folder = record.join(self.name);
        if !folder.is_dir() {
            return Ok(None);
        }
        let path = folder.join("run.json");
        let text = regular_file::read_text(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let head: Head = serde_json::from_str(&text)
            .with_context(|| format!("{} is not as expected", path.display()))?;
        ensure!(
            head.version == self.version,
            "{} has version {}, this firstpass reads {}; run `cargo firstpass {}` again",
            path.display(),
            head.version,
            self.version,
            self.name
        );
        Ok(Some((path, text)))
    }
}

/// What is said of measurements beside a record that were interrupted.
pub fn what_next(_: &str) -> String {
    "the next run moves it aside, and what the record held before is unchanged".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: Sidecar = Sidecar {
        name: "notes",
        version: 1,
    };

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Run {
        version: u32,
        code: Code,
    }

    fn code(measured_sha256: &str) -> Code {
        Code {
            measured_sha256: measured_sha256.into(),
            ..Code::default()
        }
    }

    fn begin(record: &Path, version: u32) -> Result<Recorder> {
        let run = Run {
            version,
            code: code("this"),
        };
        NOTES.begin(record, record, &run)
    }

    fn lines(record: &Path) -> Result<Option<Vec<String>>> {
        let kept = NOTES.read::<Run, String>(record)?;
        Ok(kept.map(|(_, mut lines)| lines.remove("x").unwrap_or_default()))
    }

    #[test]
    fn what_was_written_can_be_read() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert_eq!(lines(dir.path())?, None);
        assert_eq!(NOTES.code(dir.path()), None);
        let mut recorder = begin(dir.path(), 1)?;
        recorder.write("x", &"one")?;
        recorder.finish()?;
        assert_eq!(lines(dir.path())?, Some(vec!["one".into()]));
        assert_eq!(NOTES.code(dir.path()), Some(code("this")));
        Ok(())
    }

    #[test]
    fn another_version_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        begin(dir.path(), 2)?.finish()?;
        let error = lines(dir.path()).expect_err("must fail");
        let expected = "run `cargo firstpass notes` again";
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        Ok(())
    }
}
