//! Copies of model files that nobody else can change: what was hashed is what engines read.
//!
//! A copy lies in the user's own folder under the hash of its content. So the same file has the same path
//! the next time, and what engines have prepared of it is found again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use firstpass_native::sha256_of_file;
use firstpass_onnx::weight_files;
use firstpass_probe::{cache_folder, private_folder};
use sha2::{Digest, Sha256};

/// A copy that was not used for so long is removed.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A model file and its files of weights, as they were at one moment.
#[derive(Debug, Clone)]
pub struct PrivateCopy {
    /// The copy of the model file.
    pub path: PathBuf,
    /// SHA-256 of the model file.
    pub sha256: String,
    /// SHA-256 of each file of weights, by its own path.
    pub weights: BTreeMap<PathBuf, String>,
}

impl PrivateCopy {
    /// Copies a model file, and the files of weights that it names. Each is opened once.
    ///
    /// # Errors
    /// Fails where a file cannot be read or copied, and where the model names weights outside of its
    /// folder.
    pub fn of(original: &Path) -> Result<Self> {
        let folder = private_folder(&cache_folder()?.join("models"))?;
        remove_old(&folder);
        Self::below(&folder, original)
    }

    fn below(folder: &Path, original: &Path) -> Result<Self> {
        let name = original
            .file_name()
            .with_context(|| format!("{} is no file", original.display()))?;
        let unfinished = tempfile::Builder::new()
            .prefix("unfinished-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        let copied = unfinished.path().join(name);
        let sha256 = copy(original, &copied)?;

        let mut key = Sha256::new();
        key.update(&sha256);
        let mut weights = BTreeMap::new();
        let mut files = BTreeMap::from([(PathBuf::from(name), sha256.clone())]);
        for location in locations(&copied)? {
            let from = original.with_file_name(&location);
            let sum = copy(&from, &unfinished.path().join(&location))
                .with_context(|| format!("{} names a file of weights", original.display()))?;
            key.update(location.as_os_str().as_encoded_bytes());
            key.update(&sum);
            weights.insert(from, sum.clone());
            files.insert(location, sum);
        }
        let place = folder.join(hex(&key.finalize()));
        if !is_whole(&place, &files) {
            // Changed by a fault of the disk, or by a program of the user's own.
            let _ = fs::remove_dir_all(&place);
            match fs::rename(unfinished.keep(), &place) {
                // Another process was faster.
                Err(_) if is_whole(&place, &files) => {}
                renamed => {
                    renamed.with_context(|| format!("cannot write {}", place.display()))?;
                }
            }
        }
        // It was used now.
        let _ = File::open(&place).and_then(|f| f.set_modified(SystemTime::now()));
        Ok(Self {
            path: place.join(name),
            sha256,
            weights,
        })
    }
}

/// The files of weights that a model file names; none where it is not ONNX.
fn locations(model: &Path) -> Result<Vec<PathBuf>> {
    let bytes = fs::read(model).with_context(|| format!("cannot read {}", model.display()))?;
    // What is no ONNX file says so itself, in the words of its engine.
    let names = weight_files(&bytes).unwrap_or_default();
    let names = names.into_iter().map(PathBuf::from).map(|name| {
        let is_below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        ensure!(
            name.components().all(is_below) && name.file_name().is_some(),
            "the model names weights outside of its folder, {name:?}; it is not read"
        );
        Ok(name)
    });
    names.collect()
}

/// Copies one file, opened once, and returns the SHA-256 of what was copied.
fn copy(from: &Path, to: &Path) -> Result<String> {
    let mut source = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let is_file = source.metadata().is_ok_and(|metadata| metadata.is_file());
    ensure!(is_file, "{} is no file", from.display());
    let mut copy = || -> std::io::Result<String> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut target = File::options().write(true).create_new(true).open(to)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let length = source.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
            target.write_all(&buffer[..length])?;
        }
        // The same content has the same date, by which prepared files are found again.
        target.set_modified(SystemTime::UNIX_EPOCH + KEPT)?;
        let mut permissions = target.metadata()?.permissions();
        permissions.set_readonly(true);
        target.set_permissions(permissions)?;
        Ok(hex(&hasher.finalize()))
    };
    copy().with_context(|| {
        format!(
            "cannot copy {} to {}; is there space?",
            from.display(),
            to.display()
        )
    })
}

/// Whether these files lie in the folder, each with its SHA-256.
fn is_whole(folder: &Path, files: &BTreeMap<PathBuf, String>) -> bool {
    files.iter().all(|(name, expected)| {
        sha256_of_file(&folder.join(name)).is_ok_and(|sum| &sum == expected)
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn remove_old(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        // A date in the future, after the clock has jumped, is not old.
        let age = modified.ok().and_then(|date| date.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hashed_is_what_is_read_whatever_happens_to_the_file() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let models = folder.path().join("models");
        fs::create_dir(&models)?;
        let file = folder.path().join("model.pt");
        fs::write(&file, "what was looked at")?;
        let copy = PrivateCopy::below(&models, &file)?;
        fs::write(&file, "what was put in its place")?;
        assert_eq!(fs::read_to_string(&copy.path)?, "what was looked at");
        assert_eq!(sha256_of_file(&copy.path)?, copy.sha256);

        // The same content has the same place and date.
        let date = fs::metadata(&copy.path)?.modified()?;
        fs::write(&file, "what was looked at")?;
        let again = PrivateCopy::below(&models, &file)?;
        assert_eq!(again.path, copy.path);
        assert_eq!(fs::metadata(&again.path)?.modified()?, date);

        // A copy that was damaged is made anew.
        fs::remove_file(&copy.path)?;
        fs::write(&copy.path, "damaged")?;
        PrivateCopy::below(&models, &file)?;
        assert_eq!(fs::read_to_string(&copy.path)?, "what was looked at");
        // Nothing half done is left.
        assert_eq!(fs::read_dir(&models)?.count(), 1);
        Ok(())
    }

    #[test]
    fn only_what_was_not_used_for_long_is_removed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let now = SystemTime::now();
        for (name, date) in [
            ("old", now - 2 * KEPT),
            ("new", now),
            ("future", now + 2 * KEPT),
        ] {
            fs::create_dir(folder.path().join(name))?;
            File::open(folder.path().join(name))?.set_modified(date)?;
        }
        remove_old(folder.path());
        let left = |name: &str| folder.path().join(name).exists();
        assert!(!left("old") && left("new") && left("future"));
        Ok(())
    }
}
