//! Who measures on this machine: two commands that do so at once make each other slower.
//!
//! Whoever measures holds a lock in the folder for temporary files, which mostly is one for the whole machine. It is no
//! refusal: who else measures is told, and each process that was timed meanwhile says so.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use firstpass_native::{Holder, Lock};
use firstpass_probe::monotonic_ns;
use rustix::{
    fs::{Mode, OFlags, open},
    process::geteuid,
};

/// How the names of the locks begin.
const PREFIX: &str = ".firstpass-measuring-";

/// The lock of this process, while it measures.
static OWN: Mutex<Weak<Held>> = Mutex::new(Weak::new());

/// Held as long as something is measured.
#[derive(Debug, Clone)]
pub struct Measuring {
    _held: Option<Arc<Held>>,
}

#[derive(Debug)]
struct Held {
    path: PathBuf,
    _lock: Lock,
}

/// From now on others are told that this process measures, until the last of these values is dropped. Where no lock can
/// be held, nobody is told.
pub fn begin() -> Measuring {
    let mut own = own();
    if let Some(held) = own.upgrade() {
        return Measuring { _held: Some(held) };
    }
    let held = announce(&std::env::temp_dir()).map(Arc::new);
    *own = held.as_ref().map_or_else(Weak::new, Arc::downgrade);
    Measuring { _held: held }
}

/// The others that measure now.
pub fn others() -> Vec<Holder> {
    let own = own().upgrade();
    held_in(
        &std::env::temp_dir(),
        own.as_ref().map(|held| held.path.as_path()),
    )
}

/// For a command that ends before its time.
pub fn end() {
    if let Some(held) = own().upgrade() {
        let _ = fs::remove_file(&held.path);
    }
}

fn own() -> MutexGuard<'static, Weak<Held>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn announce(folder: &Path) -> Option<Held> {
    let name = format!("{PREFIX}{}-{}", std::process::id(), monotonic_ns());
    let path = folder.join(name);
    // Someone may just be looking whether it is held.
    let lock = (0..10).find_map(|_| Lock::try_take(&path).ok()?.ok())?;
    Some(Held { path, _lock: lock })
}

/// Who holds a lock in this folder, but for this process. A lock that a killed process of this user has left is removed.
fn held_in(folder: &Path, own: Option<&Path>) -> Vec<Holder> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let paths = named.map(|entry| entry.path());
    let others = paths.filter(|path| Some(path.as_path()) != own);
    others.filter_map(|path| holder(&path)).collect()
}

fn holder(path: &Path) -> Option<Holder> {
    // Others may write to the folder: what lies there may be a link, or a pipe that nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let holder = Holder::of(&mut file);
    if holder.is_none() && metadata.uid() == geteuid().as_raw() {
        let _ = fs::remove_file(path);
    }
    holder
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use anyhow::{Context, Result};

    use super::*;

    #[test]
    fn who_measures_is_seen_by_others_until_the_end() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let here = folder.path();
        let seen = |own: Option<&Path>| held_in(here, own).len();
        assert_eq!(seen(None), 0);
        let first = announce(here).context("no lock")?;
        let second = announce(here).context("no lock")?;
        assert_eq!((seen(None), seen(Some(&first.path))), (2, 1));
        let said = held_in(here, Some(&first.path))[0].to_string();
        assert!(
            said.starts_with(&format!("process {} ", std::process::id())),
            "{said}"
        );
        drop((first, second));
        assert_eq!(seen(None), 0);
        assert_eq!(fs::read_dir(here)?.count(), 0, "a lock is left");
        Ok(())
    }

    #[test]
    fn what_no_process_holds_is_none_and_does_no_harm() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(format!("{PREFIX}{name}"));
        fs::write(at("left"), "process 1 (firstpass check)")?;
        fs::create_dir(at("folder"))?;
        fs::write(folder.path().join("victim"), "kept")?;
        symlink("victim", at("link"))?;
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU)?;
        assert_eq!(held_in(folder.path(), None), []);
        assert!(!at("left").exists(), "it was left by a killed process");
        assert_eq!(fs::read_to_string(folder.path().join("victim"))?, "kept");
        Ok(())
    }
}
