//! The user's own list of programs that may be run, by the SHA-256 of their files.
//!
//! It lies in the user's folder for settings. What a file says that came with a model is no trust: whoever
//! made the model made that file too.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_native::{Lock, sha256_of_file};
use firstpass_probe::{check_own, config_folder, private_folder};
use serde::{Deserialize, Serialize};

use crate::workspace::read_toml;

const FILE: &str = "trusted.toml";

const HEAD: &str = "# Programs, such as TorchScript files, that `firstpass` may run with your rights.\n\
                    # `firstpass trust FILE` adds one; remove its line to trust it no more.\n\n";

/// The list: SHA-256, and the name under which the file was added.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    files: BTreeMap<String, String>,
}

/// Whether the user trusts what has this SHA-256.
///
/// # Errors
/// Fails where the list cannot be read, or others can write to it.
pub fn is_trusted(sha256: &str) -> Result<bool> {
    is_in(&list()?, sha256)
}

/// Whether the user trusts this file, as it is now.
///
/// # Errors
/// Fails where the file or the list cannot be read, or others can write to the list.
pub fn is_listed(file: &Path) -> Result<bool> {
    is_trusted(&sha256_of_file(file)?)
}

/// Adds a file to the list; returns its SHA-256 and where the list lies.
///
/// # Errors
/// Fails where the file cannot be read or the list not be written.
pub fn trust(file: &Path) -> Result<(String, PathBuf)> {
    let list = list()?;
    if let Some(folder) = list.parent() {
        private_folder(folder)?;
    }
    // Two commands that add to one list would lose what the first of them has added.
    let _lock = Lock::wait(&Lock::beside(&list), |_| {})?;
    Ok((add(&list, file)?, list))
}

fn list() -> Result<PathBuf> {
    Ok(config_folder()?.join(FILE))
}

fn read(list: &Path) -> Result<List> {
    if !list.exists() {
        return Ok(List::default());
    }
    check_own(list)?;
    if let Some(folder) = list.parent() {
        check_own(folder)?;
    }
    read_toml(list)
}

/// Whether a list has this SHA-256.
///
/// # Errors
/// As [`is_trusted`].
pub fn is_in(list: &Path, sha256: &str) -> Result<bool> {
    let files = read(list)?.files;
    Ok(files.keys().any(|known| known.eq_ignore_ascii_case(sha256)))
}

fn add(list: &Path, file: &Path) -> Result<String> {
    let mut known = read(list)?;
    let sha256 = sha256_of_file(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    known.files.insert(sha256.clone(), name.into_owned());
    let folder = list.parent().unwrap_or(Path::new(""));
    let write = || -> Result<()> {
        // Renamed when it is whole, and readable by nobody else.
        let mut written = tempfile::NamedTempFile::new_in(folder)?;
        written.write_all(HEAD.as_bytes())?;
        written.write_all(toml::to_string(&known)?.as_bytes())?;
        written.persist(list)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", list.display()))?;
    Ok(sha256)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_trusted_by_its_content() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let list = folder.path().join(FILE);
        let file = folder.path().join("model.pt");
        fs::write(&file, "a program")?;
        let sum = sha256_of_file(&file)?;
        assert!(!is_in(&list, &sum)?);
        assert_eq!(add(&list, &file)?, sum);
        assert!(is_in(&list, &sum)?);
        // The same name, other content.
        fs::write(&file, "another program")?;
        assert!(!is_in(&list, &sha256_of_file(&file)?)?);
        // Both stay.
        add(&list, &file)?;
        assert!(is_in(&list, &sum)?);
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_list_that_others_can_write_is_no_trust() -> Result<()> {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir()?;
        let list = folder.path().join(FILE);
        fs::write(&list, "[files]\nabc = \"model.pt\"\n")?;
        fs::set_permissions(&list, fs::Permissions::from_mode(0o666))?;
        let error = is_in(&list, "abc").expect_err("must fail");
        assert!(format!("{error:#}").contains("mode 666"), "{error:#}");
        Ok(())
    }
}
