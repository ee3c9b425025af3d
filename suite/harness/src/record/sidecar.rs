//! What is measured apart from a record and kept beside it, in a folder of its own: a `run.json`,
//! and JSON lines of each backend.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::record::code::Code;

/// One kind of such measurements.
#[derive(Debug, Clone, Copy)]
pub struct Beside {
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

impl Beside {
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
        let folder = record.join(self.name);
        let mut lines = BTreeMap::new();
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "jsonl")
                && let Some(name) = path.file_stem().and_then(|n| n.to_str())
            {
                lines.insert(name.to_owned(), read_lines(&path)?);
            }
        }
        Ok(Some((run, lines)))
    }

    /// Moves what was measured beside an older record to a newer one that was made by the same
    /// code.
    ///
    /// # Errors
    /// Fails where the folder is there and cannot be moved.
    pub fn take_over(self, older: &Path, newer: &Path, code: &Code) -> Result<()> {
        // One that cannot be read any more is of other code.
        let head = self.head(older).ok().flatten();
        let head = head.and_then(|(_, text)| serde_json::from_str::<Head>(&text).ok());
        if head.is_some_and(|head| head.code.measured_sha256 == code.measured_sha256) {
            let (from, to) = (older.join(self.name), newer.join(self.name));
            fs::rename(&from, to).with_context(|| format!("cannot move {}", from.display()))?;
        }
        Ok(())
    }

    /// The path and text of its `run.json`, of the version that is read here.
    fn head(self, record: &Path) -> Result<Option<(PathBuf, String)>> {
        let folder = record.join(self.name);
        if !folder.is_dir() {
            return Ok(None);
        }
        let path = folder.join("run.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
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

    fn partial(self, record: &Path) -> PathBuf {
        record.join(format!("{}.partial", self.name))
    }
}

fn read_lines<L: DeserializeOwned>(path: &Path) -> Result<Vec<L>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let lines = BufReader::new(file).lines().enumerate();
    let lines = lines.map(|(number, line)| {
        line.map_err(anyhow::Error::from)
            .and_then(|text| Ok(serde_json::from_str(&text)?))
            .with_context(|| format!("{}, line {}", path.display(), number + 1))
    });
    lines.collect()
}

/// What is being written.
#[derive(Debug)]
pub struct Recorder {
    beside: Beside,
    record: PathBuf,
    files: BTreeMap<String, File>,
    /// Left out of every line: where a user keeps a checkout is nobody's business.
    root: String,
}

impl Recorder {
    /// Begins in the folder of a record. Earlier measurements of that record stay in their place
    /// until [`Recorder::finish`]; only what an interrupted run left is removed.
    ///
    /// # Errors
    /// Fails where the folder cannot be written.
    pub fn begin(beside: Beside, record: &Path, root: &Path, run: &impl Serialize) -> Result<Self> {
        let folder = beside.partial(record);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let write = || -> Result<()> {
            fs::create_dir(&folder)?;
            let json = serde_json::to_string_pretty(run)?;
            Ok(fs::write(folder.join("run.json"), json + "\n")?)
        };
        write().with_context(|| {
            format!(
                "cannot write to {}; name a record whose folder can be written",
                folder.display()
            )
        })?;
        Ok(Self {
            beside,
            record: record.into(),
            files: BTreeMap::new(),
            root: format!("{}{}", root.display(), std::path::MAIN_SEPARATOR),
        })
    }

    /// Where it is written now.
    pub fn folder(&self) -> PathBuf {
        self.beside.partial(&self.record)
    }

    /// Appends one line.
    ///
    /// # Errors
    /// Fails where the file cannot be written, for example on a full disk; earlier lines stay.
    pub fn write(&mut self, backend: &str, line: &impl Serialize) -> Result<()> {
        let path = self.folder().join(format!("{backend}.jsonl"));
        let context = || format!("cannot write to {}; what it holds is kept", path.display());
        if !self.files.contains_key(backend) {
            let file = File::create(&path).with_context(context)?;
            self.files.insert(backend.into(), file);
        }
        let json = serde_json::to_string(line)?.replace(&self.root, "") + "\n";
        match self.files.get_mut(backend) {
            Some(file) => file.write_all(json.as_bytes()).with_context(context),
            None => Ok(()),
        }
    }

    /// Says where the measurements are when the user interrupts.
    pub fn announce_interruption(&self) {
        let folder = self.folder().display().to_string();
        // A second handler in one process is refused, which only loses this hint.
        let _ = ctrlc::set_handler(move || {
            eprintln!(
                "\ninterrupted; what was measured is in {folder} until the next run, and what the \
                 record held before is unchanged"
            );
            std::process::exit(130);
        });
    }

    /// Puts what was written in the place of earlier measurements; returns that place.
    ///
    /// # Errors
    /// Fails where the folder cannot be renamed.
    pub fn finish(self) -> Result<PathBuf> {
        let folder = self.record.join(self.beside.name);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot replace {}", folder.display()))?;
        }
        fs::rename(self.folder(), &folder)
            .with_context(|| format!("cannot rename {}", self.folder().display()))?;
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: Beside = Beside {
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
        Recorder::begin(NOTES, record, record, &run)
    }

    fn lines(record: &Path) -> Result<Option<Vec<String>>> {
        let kept = NOTES.read::<Run, String>(record)?;
        Ok(kept.map(|(_, mut lines)| lines.remove("x").unwrap_or_default()))
    }

    #[test]
    fn what_was_written_can_be_read_and_tells_no_folders() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert_eq!(lines(dir.path())?, None);
        let mut recorder = begin(dir.path(), 1)?;
        recorder.write("x", &"one")?;
        recorder.write("x", &format!("no {}/module", dir.path().display()))?;
        recorder.finish()?;
        let expected = ["one", "no module"].map(String::from);
        assert_eq!(lines(dir.path())?, Some(expected.into()));
        Ok(())
    }

    #[test]
    fn earlier_measurements_stay_until_the_new_ones_are_complete() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let measured = |text: &str| -> Result<Recorder> {
            let mut recorder = begin(dir.path(), 1)?;
            recorder.write("x", &text)?;
            Ok(recorder)
        };
        measured("one")?.finish()?;
        drop(measured("two")?);
        assert_eq!(lines(dir.path())?, Some(vec!["one".into()]));
        measured("three")?.finish()?;
        assert_eq!(lines(dir.path())?, Some(vec!["three".into()]));
        assert!(!NOTES.partial(dir.path()).exists());
        Ok(())
    }

    #[test]
    fn the_same_code_takes_over_what_was_measured() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (older, newer) = (dir.path().join("older"), dir.path().join("newer"));
        fs::create_dir_all(&older)?;
        fs::create_dir_all(&newer)?;
        begin(&older, 1)?.finish()?;
        NOTES.take_over(&older, &newer, &code("other"))?;
        assert_eq!(lines(&newer)?, None);
        NOTES.take_over(&older, &newer, &code("this"))?;
        assert!(lines(&newer)?.is_some() && lines(&older)?.is_none());
        Ok(())
    }

    #[test]
    fn another_version_and_a_malformed_line_are_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        begin(dir.path(), 2)?.finish()?;
        let error = lines(dir.path()).expect_err("must fail");
        let expected = "run `cargo firstpass notes` again";
        assert!(format!("{error:#}").contains(expected), "{error:#}");

        let recorder = begin(dir.path(), 1)?;
        fs::write(recorder.folder().join("x.jsonl"), "\"on")?;
        recorder.finish()?;
        let error = lines(dir.path()).expect_err("must fail");
        assert!(format!("{error:#}").contains("line 1"), "{error:#}");
        Ok(())
    }
}
