//! Writing measurements: a folder with a `run.json` and JSON lines of each backend.
//!
//! While they are written the folder's name ends in `.partial`, and every line is on the disk as soon
//! as it is known. Nothing that was measured is ever removed: what a run would replace is moved into
//! the folder `earlier` beside it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Once,
};

use anyhow::{Context, Result, bail};
use firstpass_native::Lock;
use firstpass_trial::{
    measuring::{self, Measuring},
    regular_file,
};
use serde::{Deserialize, Serialize};

use crate::{
    interruption::{Announcement, announce},
    record::{lines, places::Shortener},
};

/// Where the measurements go that later ones have replaced, beside these.
pub const EARLIER: &str = "earlier";

/// How the name of a folder ends whose measurements are being written.
const PARTIAL: &str = "partial";

/// The same, before a number, of one whose measurements were interrupted.
const INTERRUPTED: &str = "interrupted";

/// The file that says what a run was; a folder without it holds no complete measurements.
pub const RUN: &str = "run.json";

/// Measurements that are being written.
#[derive(Debug)]
pub struct Recorder {
    place: PathBuf,
    partial: PathBuf,
    files: BTreeMap<String, File>,
    /// Nobody else measures into the place as long as this is held.
    lock: Lock,
    announcement: Option<Announcement>,
    /// Whoever else measures on this machine is told that this does.
    _measuring: Measuring,
    shortener: Shortener,
}

impl Recorder {
    /// Begins measurements that will lie at `place` when they are complete, of what is measured in the
    /// workspace `root`. What lies there already stays until [`Recorder::finish`], and what an
    /// interrupted run left is moved aside.
    ///
    /// # Errors
    /// Fails where the folder cannot be written, and where another process measures into it: the message
    /// says which.
    pub fn begin(place: &Path, root: &Path, run: &impl Serialize) -> Result<Self> {
        let lock = match Lock::try_take(&Lock::beside(place)) {
            Ok(Ok(lock)) => lock,
            Ok(Err(holder)) => bail!(
                "{holder} is measuring into {} already: wait for its end, or name another folder",
                place.display()
            ),
            Err(error) => return Err(error.context(unwritable(place))),
        };
        let partial = with_suffix(place, PARTIAL);
        if partial.exists() {
            let aside = unused(|n| with_suffix(place, &format!("{INTERRUPTED}-{n}")));
            fs::rename(&partial, &aside)
                .with_context(|| format!("cannot move {} aside", partial.display()))?;
        }
        fs::create_dir_all(&partial).with_context(|| unwritable(&partial))?;
        let recorder = Self {
            place: place.into(),
            partial,
            files: BTreeMap::new(),
            lock,
            announcement: None,
            _measuring: begin_measuring(),
            shortener: Shortener::new(root),
        };
        recorder.write_run(run)?;
        Ok(recorder)
    }

    /// This place, or one with a number where something lies or is being measured already.
    pub fn unused(place: &Path) -> PathBuf {
        let is_free = |place: &Path| {
            let partial = with_suffix(place, PARTIAL);
            !place.exists() && !partial.exists() && !Lock::beside(place).exists()
        };
        if is_free(place) {
            return place.to_owned();
        }
        let mut numbered = (2_usize..).map(|n| with_number(place, n));
        let free = numbered.find(|place| is_free(place));
        free.unwrap_or_else(|| place.to_owned())
    }

    /// Where they are written now.
    pub fn folder(&self) -> &Path {
        &self.partial
    }

    /// Writes `run.json` again, with what is known only at the end.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn write_run(&self, run: &impl Serialize) -> Result<()> {
        let path = self.partial.join(RUN);
        let json = serde_json::to_string_pretty(run)? + "\n";
        // Never half of it: a full disk or a kill leaves the one before.
        let unfinished = with_suffix(&path, "new");
        let written = fs::write(&unfinished, json).and_then(|()| fs::rename(&unfinished, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Appends one line and flushes it.
    ///
    /// # Errors
    /// Fails where the file cannot be written, for example on a full disk; earlier lines stay.
    pub fn write(&mut self, backend: &str, line: &impl Serialize) -> Result<()> {
        let path = lines::plain(&self.partial, backend);
        let context = || format!("cannot write to {}; what it holds is kept", path.display());
        if !self.files.contains_key(backend) {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            self.files
                .insert(backend.into(), file.with_context(context)?);
        }
        let json = self.shortener.shorten(&serde_json::to_string(line)?) + "\n";
        match self.files.get_mut(backend) {
            Some(file) => file.write_all(json.as_bytes()).with_context(context),
            None => Ok(()),
        }
    }

    /// Says where the measurements are when the command is ended before its time, and what to do with
    /// them.
    pub fn announce_interruption(&mut self, what_next: impl FnOnce(&str) -> String) {
        let folder = self.partial.display().to_string();
        self.announcement = Some(announce(format!(
            "what was measured is in {folder}: {}",
            what_next(&folder)
        )));
    }

    /// Ends the measurements and gives them their place, which it returns. Complete measurements that
    /// lie there already are moved into the folder `earlier` beside it, with their date; whatever else
    /// lies there is taken along. Where another process is measuring inside of the place, nothing there is
    /// moved, and these get another name.
    ///
    /// # Errors
    /// Fails where a folder cannot be renamed or a file not be compressed; nothing is lost then.
    pub fn finish(self) -> Result<PathBuf> {
        let Self {
            mut place,
            partial,
            lock: _lock,
            announcement: _announcement,
            ..
        } = self;
        for path in lines::files(&partial)?.values() {
            lines::compress(path)?;
        }
        if let Some(holder) = Lock::holder_in(&place) {
            let other = Self::unused(&with_number(&place, 2));
            eprintln!(
                "{holder} is measuring in {}: this record is {}",
                place.display(),
                other.display()
            );
            place = other;
        } else if place.join(RUN).is_file() {
            Self::keep_earlier(&place)?;
        } else if place.is_dir() {
            take_along(&place, &partial)?;
        }
        fs::rename(&partial, &place)
            .with_context(|| format!("cannot rename {}", partial.display()))?;
        Ok(place)
    }

    /// Whether a folder holds measurements that were interrupted.
    pub fn is_unfinished(folder: &Path) -> bool {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(&format!(".{PARTIAL}")) || name.contains(&format!(".{INTERRUPTED}-"))
    }

    /// Moves complete measurements out of the way of newer ones; returns where they are now.
    ///
    /// # Errors
    /// Fails where the folder cannot be moved.
    pub fn keep_earlier(place: &Path) -> Result<PathBuf> {
        #[derive(Deserialize)]
        struct Head {
            date: String,
        }
        let text = regular_file::read_text(&place.join(RUN)).unwrap_or_default();
        let head: Option<Head> = serde_json::from_str(&text).ok();
        let date = head.map_or_else(
            || "undated".into(),
            |head| head.date.replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        );
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            anyhow::bail!("{} is no folder for measurements", place.display());
        };
        let folder = parent.join(EARLIER);
        let name = name.to_string_lossy();
        let kept = unused(|n| match n {
            1 => folder.join(format!("{name}-{date}")),
            n => folder.join(format!("{name}-{date}-{n}")),
        });
        let moved = fs::create_dir_all(&folder).and_then(|()| fs::rename(place, &kept));
        moved.with_context(|| format!("cannot move {} to {}", place.display(), kept.display()))?;
        Ok(kept)
    }
}

/// Tells others that this command measures, and the user, once, who else does.
pub fn begin_measuring() -> Measuring {
    static SAID: Once = Once::new();
    let measuring = measuring::begin();
    if let Some(other) = measuring::others().first() {
        SAID.call_once(|| {
            eprintln!(
                "warning: {other} is measuring on this machine as well, and each makes the other slower: these are times \
                 of a busy machine. Wait for its end for those of a quiet one"
            );
        });
    }
    measuring
}

/// Moves what lies in a folder into another, where that has nothing of the same name.
fn take_along(from: &Path, to: &Path) -> Result<()> {
    let take = || -> std::io::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if !target.exists() {
                fs::rename(entry.path(), target)?;
            }
        }
        fs::remove_dir(from)
    };
    take().with_context(|| format!("cannot move what lies in {}", from.display()))
}

fn unwritable(folder: &Path) -> String {
    format!(
        "cannot write measurements to {}; name a folder that can be written",
        folder.display()
    )
}

fn with_number(place: &Path, number: usize) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!("-{number}"));
    name.into()
}

fn with_suffix(place: &Path, suffix: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    name.into()
}

/// The first of the paths numbered from 1 where nothing lies.
fn unused(path: impl Fn(usize) -> PathBuf) -> PathBuf {
    let mut number = 1;
    loop {
        let path = path(number);
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Run {
        date: &'static str,
    }

    const RUNS: [Run; 2] = [
        Run {
            date: "2026-01-01T00:00:00Z",
        },
        Run {
            date: "2026-01-02T00:00:00Z",
        },
    ];

    fn measure(place: &Path, run: &Run, line: &str) -> Result<PathBuf> {
        let mut recorder = Recorder::begin(place, place, run)?;
        recorder.write("x", &line)?;
        recorder.finish()
    }

    fn lines_of(folder: &Path) -> Result<Vec<String>> {
        lines::read(&lines::files(folder)?["x"])
    }

    #[test]
    fn earlier_measurements_are_kept_with_their_date() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let place = dir.path().join("notes");
        measure(&place, &RUNS[0], "one")?;
        // Beside a complete record lie the studies of it.
        fs::create_dir(place.join("study"))?;
        measure(&place, &RUNS[1], "two")?;
        measure(&place, &RUNS[1], "three")?;
        assert_eq!(lines_of(&place)?, ["three"]);
        let earlier = dir.path().join(EARLIER);
        let first = earlier.join("notes-2026-01-01T00-00-00Z");
        assert_eq!(lines_of(&first)?, ["one"]);
        assert!(first.join("study").is_dir());
        assert_eq!(
            lines_of(&earlier.join("notes-2026-01-02T00-00-00Z"))?,
            ["two"]
        );
        Ok(())
    }

    #[test]
    fn earlier_measurements_stay_in_place_until_the_new_ones_are_complete() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let place = dir.path().join("notes");
        measure(&place, &RUNS[0], "one")?;
        let mut recorder = Recorder::begin(&place, dir.path(), &RUNS[1])?;
        recorder.write("x", &"two")?;
        drop(recorder);
        assert_eq!(lines_of(&place)?, ["one"]);
        // The interrupted ones are readable, and stay so.
        Recorder::begin(&place, dir.path(), &RUNS[1])?;
        assert_eq!(lines_of(&dir.path().join("notes.interrupted-1"))?, ["two"]);
        Ok(())
    }

    #[test]
    fn what_was_measured_beside_a_record_that_is_not_there_yet_is_taken_along() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let place = dir.path().join("record");
        fs::create_dir_all(place.join("tune"))?;
        measure(&place, &RUNS[0], "one")?;
        assert!(place.join("tune").is_dir());
        assert_eq!(lines_of(&place)?, ["one"]);
        Ok(())
    }

    #[test]
    fn a_second_run_into_one_folder_says_who_measures_and_moves_nothing() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let place = dir.path().join("notes");
        let mut first = Recorder::begin(&place, dir.path(), &RUNS[0])?;
        first.write("x", &"one")?;
        let error = Recorder::begin(&place, dir.path(), &RUNS[1]).expect_err("must fail");
        let expected = format!("process {}", std::process::id());
        assert!(format!("{error:#}").contains(&expected), "{error:#}");
        first.write("x", &"two")?;
        assert_eq!(lines_of(&first.finish()?)?, ["one", "two"]);
        // Neither locks nor anything of the second is left.
        let left = fs::read_dir(dir.path())?.count();
        assert_eq!(left, 1);
        Recorder::begin(&place, dir.path(), &RUNS[1])?;
        Ok(())
    }

    #[test]
    fn what_another_process_measures_beside_a_record_is_not_moved() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let place = dir.path().join("record");
        measure(&place, &RUNS[0], "one")?;
        let mut study = Recorder::begin(&place.join("study"), dir.path(), &RUNS[0])?;
        study.write("x", &"kept")?;
        let other = measure(&place, &RUNS[1], "two")?;
        assert_ne!(other, place);
        assert_eq!(lines_of(&place)?, ["one"]);
        assert_eq!(lines_of(&other)?, ["two"]);
        assert_eq!(lines_of(&study.finish()?)?, ["kept"]);
        Ok(())
    }

    #[test]
    fn lines_tell_no_folder_of_the_checkout() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let place = dir.path().join("notes");
        let mut recorder = Recorder::begin(&place, dir.path(), &RUNS[0])?;
        recorder.write("x", &format!("no {}/module", dir.path().display()))?;
        assert_eq!(lines_of(&recorder.finish()?)?, ["no module"]);
        Ok(())
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("file");
        fs::write(&file, "")?;
        let error = Recorder::begin(&file.join("notes"), dir.path(), &RUNS[0]);
        let error = error.expect_err("must fail");
        assert!(format!("{error:#}").contains("notes"), "{error:#}");
        Ok(())
    }
}
