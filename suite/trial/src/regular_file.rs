//! Files that users name, before they are opened.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

/// Whether a path leads to a file. Opening a pipe waits for whoever writes into it, which may be nobody, and a device
/// such as `/dev/zero` has no end.
///
/// # Errors
/// Says what is there in its place, if anything is.
pub fn check(path: &Path) -> Result<()> {
    let kind = fs::metadata(path)?.file_type();
    ensure!(!kind.is_dir(), "it is a folder; give the file in it");
    ensure!(
        kind.is_file(),
        "it is a pipe, a socket or a device; give a file"
    );
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_a_file() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("file");
        assert!(check(&file).is_err(), "nothing is there");
        fs::write(&file, "")?;
        check(&file)?;
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU)?;
        for other in [folder.path(), Path::new("/dev/null"), &pipe] {
            let error = check(other).expect_err("no file");
            assert!(error.to_string().contains("; give"), "{error}");
        }
        Ok(())
    }
}
