//! What a user typed to have a record: what asks for a longer run is the same with more time. It names files where
//! they lie on this machine, so that it stands beside the record and is not committed.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use firstpass_trial::regular_file;

/// In a record's folder.
const FILE: &str = "command.json";

/// Keeps the words of a command in the folder of a record, where there are any.
///
/// # Errors
/// Fails where the file cannot be written.
pub fn write(folder: &Path, words: &[String]) -> Result<()> {
    if words.is_empty() {
        return Ok(());
    }
    let path = folder.join(FILE);
    let json = serde_json::to_string_pretty(words)? + "\n";
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))
}

/// Those of a record; none where it has no such file, as on another machine.
///
/// # Errors
/// Fails where the file is damaged.
pub fn read(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join(FILE);
    let Ok(text) = regular_file::read_text(&path) else {
        return Ok(Vec::new());
    };
    serde_json::from_str(&text).with_context(|| format!("{} is not as expected", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_read_again_where_it_is_there() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(read(folder.path())?.is_empty());
        write(folder.path(), &[])?;
        assert!(read(folder.path())?.is_empty());
        let words = ["firstpass", "check", "a b/m.onnx"].map(str::to_owned);
        write(folder.path(), &words)?;
        assert_eq!(read(folder.path())?, words);
        fs::write(folder.path().join(FILE), "{")?;
        assert!(read(folder.path()).is_err());
        Ok(())
    }
}
