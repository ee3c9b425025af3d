//! A lock that says who holds it.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};

/// Held for as long as the value lives. The system gives it back when the process dies, however it
/// dies: a file that is left behind is no lock.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    // After `drop` has removed the path.
    _file: File,
}

/// Who holds a lock, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder(String);

impl Holder {
    /// Who holds the lock whose file this is; `None` where nobody does.
    pub fn of(file: &mut File) -> Option<Self> {
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| holder(file))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end of the name of each lock file. The name begins with a dot.
const SUFFIX: &str = ".lock";

impl Lock {
    /// The lock of what lies, or is going to lie, at `place`: a hidden file beside it.
    pub fn beside(place: &Path) -> PathBuf {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        place.with_file_name(format!(".{name}{SUFFIX}"))
    }

    /// Takes the lock at this path, or says who holds it.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn try_take(path: &Path) -> Result<Result<Self, Holder>> {
        let context = || format!("cannot lock {}", path.display());
        loop {
            let mut file = open(path).with_context(context)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(holder(&mut file))),
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
            }
            if let Some(lock) = Self::sign(file, path).with_context(context)? {
                return Ok(Ok(lock));
            }
        }
    }

    /// Takes the lock at this path. Where another holds it, `say` is told who does, once, and then this
    /// waits.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn wait(path: &Path, say: impl FnOnce(&Holder)) -> Result<Self> {
        let context = || format!("cannot lock {}", path.display());
        match Self::try_take(path)? {
            Ok(lock) => return Ok(lock),
            Err(holder) => say(&holder),
        }
        loop {
            let file = open(path).with_context(context)?;
            file.lock().with_context(context)?;
            if let Some(lock) = Self::sign(file, path).with_context(context)? {
                return Ok(lock);
            }
        }
    }

    /// Who holds a lock whose file lies in this folder; `None` where nobody does.
    pub fn holder_in(folder: &Path) -> Option<Holder> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let locks = entries.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with('.') && name.ends_with(SUFFIX)
        });
        let mut locks = locks.filter(|path| path.symlink_metadata().is_ok_and(|at| at.is_file()));
        locks.find_map(|path| Holder::of(&mut File::options().read(true).open(path).ok()?))
    }

    /// Writes who holds it; `None` where the file was removed meanwhile by the one who held it before.
    fn sign(mut file: File, path: &Path) -> io::Result<Option<Self>> {
        if !is_at(&file, path) {
            return Ok(None);
        }
        file.set_len(0)?;
        let words = std::env::args_os().skip(1).take(3);
        let words: Vec<String> = words
            .map(|word| word.to_string_lossy().escape_debug().to_string())
            .collect();
        let program = std::env::current_exe().unwrap_or_default();
        let program = program.file_stem().unwrap_or_default().to_string_lossy();
        let command = format!("{program} {}", words.join(" "));
        write!(file, "process {} ({})", process::id(), command.trim_end())?;
        Ok(Some(Self {
            path: path.into(),
            _file: file,
        }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What stays behind is no lock once the file is closed.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| no_folder(folder, &error))?;
    }
    // What another has put there may lead to a file of the user's, which would be written to, or be a pipe.
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a link, a folder or a pipe, and no lock of this program; remove it",
        ));
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path)
}

/// Why there is no folder for a lock, which is the first file that a command writes into one.
fn no_folder(folder: &Path, error: &io::Error) -> io::Error {
    let why = match fs::metadata(folder) {
        Ok(there) if there.is_dir() => error.to_string(),
        // A link may lead nowhere, or to itself.
        _ if folder.symlink_metadata().is_ok() => "what has this name is no folder".into(),
        _ => error.to_string(),
    };
    let message = format!(
        "cannot make the folder {}: {why}; name another one",
        folder.display()
    );
    io::Error::new(error.kind(), message)
}

fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(1000).read_to_string(&mut text));
    Holder(match read {
        Ok(_) if !text.trim().is_empty() => text.trim().escape_debug().to_string(),
        _ => "another process".into(),
    })
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(held), Ok(there)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_says_by_whom() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = Lock::beside(&folder.path().join("record"));
        let lock = Lock::try_take(&path)?.map_err(anyhow::Error::msg)?;
        let holder = Lock::try_take(&path)?.expect_err("it is held");
        let expected = format!("process {} ", process::id());
        assert!(holder.to_string().starts_with(&expected), "{holder}");
        assert_eq!(Lock::holder_in(folder.path()), Some(holder));
        drop(lock);
        assert_eq!(Lock::holder_in(folder.path()), None);
        assert!(Lock::try_take(&path)?.is_ok());
        Ok(())
    }

    #[test]
    fn what_is_no_folder_is_named() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("file");
        fs::write(&file, "")?;
        let own = folder.path().join("own");
        std::os::unix::fs::symlink("own", &own)?;
        for no_folder in [file, own] {
            let error = Lock::try_take(&no_folder.join(".x.lock")).expect_err("no folder");
            let said = format!("{error:#}");
            let expected = format!("{}: what has this name is no folder", no_folder.display());
            assert!(said.contains(&expected), "{said}");
        }
        Ok(())
    }

    #[test]
    fn a_file_that_a_dead_process_left_is_no_lock() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(".x.lock");
        fs::write(&path, "process 1 (firstpass check)")?;
        assert_eq!(Lock::holder_in(folder.path()), None);
        assert!(Lock::try_take(&path)?.is_ok());
        Ok(())
    }

    #[test]
    fn whoever_waits_is_told_for_whom_and_gets_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(".x.lock");
        let lock = Lock::try_take(&path)?.map_err(anyhow::Error::msg)?;
        let (told, heard) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            Lock::wait(&path, |holder| told.send(holder.clone()).expect("heard")).map(drop)
        });
        let holder = heard.recv()?;
        assert!(holder.to_string().contains("process"), "{holder}");
        drop(lock);
        waiting.join().expect("no panic")
    }
}
