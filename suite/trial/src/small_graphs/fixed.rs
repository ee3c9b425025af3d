//! The cases that every test tries: the first that are drawn of each kind, and those that once were at
//! fault.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Case, Kind};

/// So many cases of each kind show every divergence that is declared: the tests try as many.
pub const ENOUGH: usize = 8;

/// Where cases are kept, below the fixtures.
pub const FOLDER: &str = "operators";

/// Of the files of kept cases.
const EXTENSION: &str = "json";

/// The fixed cases of a kind, of which the kept ones lie in a folder.
///
/// # Errors
/// Fails on a kept case that cannot be read.
pub fn cases(kind: &Kind, folder: &Path) -> Result<Vec<Case>> {
    let drawn = kind.draw(ENOUGH)?;
    let drawn = drawn.iter().map(|tree| tree.current());
    Ok(drawn.chain(kept(kind, folder)?).collect())
}

/// A case that once was at fault, as its file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub kind: String,
    pub case: Case,
}

impl Kept {
    /// Writes it into a folder, with a name that has no extension.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        let path = folder.join(name).with_extension(EXTENSION);
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The cases of a kind that are kept in a folder; none where it is not there.
///
/// # Errors
/// Fails on a file that cannot be read or is no case.
pub fn kept(kind: &Kind, folder: &Path) -> Result<Vec<Case>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == EXTENSION));
    paths.sort();
    let read = |path: &PathBuf| -> Result<Kept> {
        let text = fs::read_to_string(path)?;
        Ok(serde_json::from_str(&text)?)
    };
    let mut cases = Vec::new();
    for path in &paths {
        let kept = read(path).with_context(|| format!("{} is no case", path.display()))?;
        if kept.kind == kind.name {
            cases.push(kept.case);
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_graphs::KINDS;

    #[test]
    fn kept_cases_are_fixed_with_those_that_are_drawn() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let [kind, other, ..] = &KINDS;
        assert!(kept(kind, &folder.path().join("none"))?.is_empty());
        let case = other.draw(ENOUGH + 1)?.remove(ENOUGH).current();
        for of in [kind, other] {
            let kept = Kept {
                kind: of.name.into(),
                case: case.clone(),
            };
            kept.write(folder.path(), &format!("x-{}", of.name.len()))?;
        }
        let cases = cases(other, folder.path())?;
        assert_eq!(cases.len(), ENOUGH + 1);
        assert_eq!(cases.last(), Some(&case));
        fs::write(folder.path().join("other.json"), "{}")?;
        let error = kept(kind, folder.path()).err().context("it is no case")?;
        assert!(format!("{error:#}").contains("other.json"), "{error:#}");
        Ok(())
    }
}
