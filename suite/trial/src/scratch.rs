//! Folders of this command for what is needed only while it runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use anyhow::{Context, Result};
use firstpass_native::Lock;
use firstpass_probe::check_private;
use tempfile::TempDir;

const PREFIX: &str = "firstpass-run-";

/// In such a folder, held for as long as the command runs.
const LOCK: &str = ".lock";

/// The folder of temporary files, where a command has one.
static TEMPORARY: OnceLock<PathBuf> = OnceLock::new();

/// Every folder that is in use.
static ALL: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A folder of this command's own, which is removed with this value, by [`remove_all`], or by the next
/// command that wants one there.
#[derive(Debug)]
pub struct Scratch {
    // Given back before the folder is removed.
    _lock: Lock,
    folder: TempDir,
}

impl Scratch {
    /// A new folder that only this user may enter. What killed commands have left beside it is removed.
    ///
    /// # Errors
    /// Fails where no folder can be made.
    pub fn new(prefix: &str, below: &Path) -> Result<Self> {
        remove_abandoned(prefix, below);
        let folder =
            make(prefix, below).with_context(|| format!("cannot write to {}", below.display()))?;
        let lock = Lock::try_take(&folder.path().join(LOCK)).and_then(|lock| {
            lock.map_err(|holder| {
                anyhow::anyhow!("{} belongs to {holder} already", folder.path().display())
            })
        });
        if lock.is_err() {
            // Where no file can be opened any more, only an empty folder can be removed.
            let _ = fs::remove_dir(folder.path());
        }
        let lock = lock?;
        all().push(folder.path().to_owned());
        Ok(Self {
            _lock: lock,
            folder,
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        all().retain(|folder| folder != self.folder.path());
    }
}

/// From now on temporary files of this process and its probes lie in the folder that is returned.
///
/// # Errors
/// Fails where no temporary file can be made.
pub fn begin() -> Result<Scratch> {
    let scratch = Scratch::new(PREFIX, &std::env::temp_dir())
        .context("name another folder for temporary files in TMPDIR")?;
    // A second command in one process, such as a test, uses the folder of the first.
    if TEMPORARY.set(scratch.path().to_owned()).is_ok() {
        let _ = tempfile::env::override_temp_dir(scratch.path());
    }
    Ok(scratch)
}

/// The folder of temporary files, where a command has one.
pub fn temporary() -> Option<&'static Path> {
    TEMPORARY.get().map(PathBuf::as_path)
}

/// Removes all folders, for a command that ends before its time.
pub fn remove_all() {
    for folder in all().drain(..) {
        let _ = fs::remove_dir_all(folder);
    }
}

fn all() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make(prefix: &str, below: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o700));
    }
    builder.prefix(prefix).tempdir_in(below)
}

/// Removes folders of commands that no longer run, if they are this user's own.
fn remove_abandoned(prefix: &str, below: &Path) {
    let entries = fs::read_dir(below).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with(prefix)
    });
    for folder in folders.map(|entry| entry.path()) {
        // A folder without a lock is just being made.
        let lock = folder.join(LOCK);
        if check_private(&folder).is_ok()
            && lock.is_file()
            && let Ok(Ok(_lock)) = Lock::try_take(&lock)
        {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_command_left_is_removed_and_what_a_living_one_uses_is_not() -> Result<()> {
        let temporary = tempfile::tempdir()?;
        let below = temporary.path();
        let abandoned = make("x-", below)?.keep();
        fs::write(abandoned.join(LOCK), "process 1")?;
        let being_made = make("x-", below)?.keep();
        let used = Scratch::new("x-", below)?;
        let other = Scratch::new("x-", below)?;
        assert!(!abandoned.exists());
        assert!(being_made.exists() && used.path().exists() && other.path().exists());
        let path = used.path().to_owned();
        drop(used);
        assert!(!path.exists() && other.path().exists());
        Ok(())
    }
}
