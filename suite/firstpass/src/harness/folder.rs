//! Where a check keeps what it measures.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use crate::{
    check::Check,
    error::{Error, Result},
};

/// Where a check keeps what it measures, for as long as it holds the lock.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// The folder into which cargo builds.
    target: PathBuf,
    /// Others that measure wait until it is closed.
    _lock: File,
}

impl Folder {
    /// An empty folder, `firstpass/<model>-<what else is said of it>` where cargo builds.
    pub(super) fn of(check: &Check, target: PathBuf) -> Result<Self> {
        let all = target.join("firstpass");
        let unwritable = |path: &Path| {
            let path = path.display().to_string();
            move |error| Error::not_measured(format!("cannot write to {path}: {error}"))
        };
        fs::create_dir_all(&all).map_err(unwritable(&all))?;
        let lock = all.join(".lock");
        let lock = File::create(&lock)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(unwritable(&lock))?;
        let mut hasher = DefaultHasher::new();
        // Paths are relative to where the test runs.
        std::env::current_dir().ok().hash(&mut hasher);
        format!("{check:?}").hash(&mut hasher);
        let stem = check.models.first().and_then(|model| model.file_stem());
        let stem = stem.unwrap_or_default().to_string_lossy();
        let path = all.join(format!("{stem}-{:08x}", hasher.finish() as u32));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(unwritable(&path))?;
        }
        fs::create_dir_all(&path).map_err(unwritable(&path))?;
        Ok(Self {
            path,
            target,
            _lock: lock,
        })
    }

    /// A path in it, from the folder in which one runs cargo where that is the usual one.
    pub(super) fn shown(&self, path: &Path) -> String {
        let root = self.target.parent();
        let root = root.filter(|root| root.join("Cargo.toml").is_file());
        let relative = root.and_then(|root| path.strip_prefix(root).ok());
        relative.unwrap_or(path).display().to_string()
    }
}

/// The folder into which cargo built this test: the one above it that cargo has marked as a cache.
pub(crate) fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let mut above = test.ancestors().skip(1);
    let marked = above.find(|folder| folder.join("CACHEDIR.TAG").is_file());
    match marked {
        Some(folder) => folder.into(),
        None => std::path::absolute("target").unwrap_or_else(|_| "target".into()),
    }
}

#[cfg(test)]
mod tests;
