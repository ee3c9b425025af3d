//! One folder for each question that is measured, all of the same shape, and [`ALL`], the one list of
//! them.
//!
//! In each folder `data` is what is kept beside a record, `measure` runs engines, `judge` is a pure
//! function of what was kept, `report` and `plot` render it, and `command` is the subcommand. What the
//! rest of the harness needs to know of a study is a [`Study`]: its subcommand, what it keeps, whether
//! that is out of date, what it adds to the report, and its turn in `firstpass record`. A new study is
//! a folder and a line of the list.
//!
//! [`first_passes`] is no line of the list: its measurements are the record beside which the others lie.

pub mod diverge;
pub mod explain;
pub mod first_passes;
pub mod operators;
pub mod overhead;
pub mod referee;
pub mod shapes;
pub mod soak;
mod study;
pub mod tune;
pub mod zoo;

use std::path::Path;

use anyhow::{Context, Result};

pub use study::{Kept, OwnPage, Page, Part, Scope, Section, State, Study};
pub(crate) use study::{OfFirstPage, OfStudy, other_verdicts, to_root};

/// Every study beside a record, in the order in which `firstpass record` measures them and in which
/// their parts stand in a report. What one needs of another comes after it.
pub const ALL: [&dyn Study; 10] = [
    &referee::Study,
    &diverge::Study,
    &diverge::Saturation,
    &operators::Study,
    &explain::Study,
    &tune::Study,
    &overhead::Study,
    &zoo::Study,
    &shapes::Study,
    &soak::Study,
];

/// Copies what studies measured beside an older record to a newer one that has nothing of them, so that
/// a report goes on to show it; each says itself by which code it was measured.
///
/// # Errors
/// Fails where a file cannot be copied.
pub fn carry_over(older: &Path, newer: &Path) -> Result<()> {
    for study in ALL {
        let (from, to) = (older.join(study.name()), newer.join(study.name()));
        if from.is_dir() && !to.exists() {
            copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            // What else lies there was not measured: a link may lead to a device, which has no end.
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_study_has_a_name_of_its_own_and_a_sound_subcommand() {
        let mut names: Vec<&str> = ALL.iter().map(|study| study.name()).collect();
        for study in ALL {
            let command = study.command();
            assert_eq!(command.get_name(), study.name());
            command.debug_assert();
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn a_newer_record_shows_what_it_does_not_have_itself() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (older, newer) = (dir.path().join("older"), dir.path().join("newer"));
        for study in ALL {
            let folder = older.join(study.name()).join("inner");
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("x.jsonl"), "old")?;
        }
        let own = newer.join(ALL[0].name());
        std::fs::create_dir_all(&own)?;
        carry_over(&older, &newer)?;
        assert!(!own.join("inner").exists(), "what it has is not replaced");
        for study in &ALL[1..] {
            let carried = newer.join(study.name()).join("inner/x.jsonl");
            assert_eq!(std::fs::read_to_string(carried)?, "old");
            assert!(older.join(study.name()).join("inner/x.jsonl").is_file());
        }
        Ok(())
    }
}
