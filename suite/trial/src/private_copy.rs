//! Copies of model files that nobody else can change: what was hashed is what engines read.
//!
//! A copy lies in the user's own folder under the hash of its content. So the same file has the same path
//! the next time, and what engines have prepared of it is found again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read, Write},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use firstpass_native::sha256_of_file;
use firstpass_onnx::weight_files;
use firstpass_probe::{cache_folder, check_private, private_folder};
use sha2::{Digest, Sha256};

use crate::{process::most_memory, regular_file};

/// A copy that was not used for so long is removed, and what an engine has prepared of it.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes of copies. Where there are more, those are removed first that were not used for the longest time.
const MOST: u64 = 16 << 30;

/// A copy that was used this lately may be in use.
const IN_USE: Duration = Duration::from_secs(24 * 3600);

/// A model file and its files of weights, as they were at one moment.
#[derive(Debug, Clone)]
pub struct PrivateCopy {
    /// The copy of the model file.
    pub path: PathBuf,
    /// SHA-256 of the model file.
    pub sha256: String,
    /// SHA-256 of each file of weights, by its own path.
    pub weights: BTreeMap<PathBuf, String>,
    /// SHA-256 of each file of the copy, by its path in the folder.
    files: BTreeMap<PathBuf, String>,
}

impl PrivateCopy {
    /// Copies a model file, and the files of weights that it names. Each is opened once.
    ///
    /// # Errors
    /// Fails where a file cannot be read or copied, and where the model names weights outside of its
    /// folder.
    pub fn of(original: &Path) -> Result<Self> {
        let cache = cache_folder()?;
        let folder = private_folder(&cache.join("models"))?;
        remove_old(&folder, MOST);
        for prepared in entries(&cache.join("prepared")) {
            remove_old(&prepared, u64::MAX);
        }
        Self::below(&folder, original)
    }

    /// The copy of a file that had this SHA-256 when it was copied, and its weights those that `weights` tells by
    /// their paths. `None` where there is none any more.
    pub fn find(
        original: &Path,
        sha256: &str,
        weights: impl Fn(&Path) -> Option<String>,
    ) -> Option<PathBuf> {
        let folder = cache_folder().ok()?.join("models");
        check_private(&folder).ok()?;
        Self::find_below(&folder, original, sha256, weights)
    }

    fn find_below(
        folder: &Path,
        original: &Path,
        sha256: &str,
        weights: impl Fn(&Path) -> Option<String>,
    ) -> Option<PathBuf> {
        let is = |file: &Path, sum: &str| sha256_of_file(file).is_ok_and(|found| found == sum);
        let of_weights = |copy: &Path| {
            locations(copy).is_ok_and(|names| {
                names.iter().all(|name| {
                    let sum = weights(&original.with_file_name(name));
                    sum.is_some_and(|sum| is(&copy.with_file_name(name), &sum))
                })
            })
        };
        let name = original.file_name()?;
        let mut copies = entries(folder).into_iter().map(|copy| copy.join(name));
        copies.find(|copy| copy.is_file() && is(copy, sha256) && of_weights(copy))
    }

    /// The same, in this folder.
    ///
    /// # Errors
    /// As [`PrivateCopy::of`].
    pub fn below(folder: &Path, original: &Path) -> Result<Self> {
        let name = original
            .file_name()
            .with_context(|| format!("{} is no file", original.display()))?;
        let unfinished = tempfile::Builder::new()
            .prefix("unfinished-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        let copied = unfinished.path().join(name);
        let mut room = Room(most_memory());
        let sha256 = copy(original, &copied, &mut room)?;

        let mut key = Sha256::new();
        key.update(&sha256);
        let mut weights = BTreeMap::new();
        let mut files = BTreeMap::from([(PathBuf::from(name), sha256.clone())]);
        for location in locations(&copied)? {
            let from = original.with_file_name(&location);
            if location == name {
                // It is copied already.
                continue;
            }
            is_beside(&from, original)?;
            let sum = copy(&from, &unfinished.path().join(&location), &mut room)
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
            files,
        })
    }

    /// Whether it still is what was copied: a program with the rights of the user can change it.
    pub fn is_unchanged(&self) -> bool {
        self.path
            .parent()
            .is_some_and(|folder| is_whole(folder, &self.files))
    }
}

/// Whether a file of weights is in the folder of its model, wherever links to both of them lead: a link to another
/// place would give a model what is none of its own. Where there is nothing, copying says so.
fn is_beside(weights: &Path, model: &Path) -> Result<()> {
    let Ok(place) = weights.canonicalize() else {
        return Ok(());
    };
    let named = model
        .parent()
        .map(|folder| match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        });
    // Caches of downloaded models keep links to both in one folder, and the files in another.
    let named = named.and_then(|folder| folder.canonicalize().ok());
    let real = model.canonicalize().ok();
    let real = real.as_deref().and_then(Path::parent);
    let mut folders = named.as_deref().into_iter().chain(real);
    ensure!(
        folders.any(|folder| place.starts_with(folder)),
        "the model names weights in {}, which is a link out of its folder; it is not read",
        weights.display()
    );
    Ok(())
}

/// The files of weights that a model file names; none where it is not ONNX.
fn locations(model: &Path) -> Result<Vec<PathBuf>> {
    let read = regular_file::check(model).and_then(|()| Ok(fs::read(model)?));
    let bytes = read.with_context(|| format!("cannot read {}", model.display()))?;
    // What is no ONNX file says so itself, in the words of its engine.
    let names = weight_files(&bytes).unwrap_or_default();
    let names = names.into_iter().map(PathBuf::from);
    let names = names.map(|name| -> Result<PathBuf> {
        let is_below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        ensure!(
            !name.as_os_str().is_empty(),
            "the model names a file of weights without a name: the file is damaged"
        );
        ensure!(
            name.components().all(is_below) && name.file_name().is_some(),
            "the model names weights outside of its folder, {name:?}; it is not read"
        );
        // The same file may be named in several ways, such as `w` and `./w`.
        let parts = name.components();
        Ok(parts.filter(|part| *part != Component::CurDir).collect())
    });
    let names: BTreeSet<PathBuf> = names.collect::<Result<_>>()?;
    Ok(names.into_iter().collect())
}

/// How many bytes may still be copied. What no process could have in memory is no model; and a file of holes, which
/// takes no room itself, would fill a disk.
struct Room(u64);

impl Room {
    fn take(&mut self, bytes: u64) -> std::io::Result<()> {
        let left = self.0.checked_sub(bytes);
        self.0 = left.ok_or_else(|| {
            let what = "with its weights it is larger than the memory that a process may have here";
            std::io::Error::new(std::io::ErrorKind::FileTooLarge, what)
        })?;
        Ok(())
    }
}

/// Copies one file, opened once, and returns the SHA-256 of what was copied.
fn copy(from: &Path, to: &Path, room: &mut Room) -> Result<String> {
    let looked = regular_file::check(from);
    looked.with_context(|| format!("cannot read {}", from.display()))?;
    let source = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let metadata = source.metadata().ok().filter(fs::Metadata::is_file);
    let bytes = metadata.map(|metadata| metadata.len());
    let bytes = bytes.with_context(|| format!("{} is no file", from.display()))?;
    let fits = room.take(bytes);
    fits.with_context(|| format!("{} is not read", from.display()))?;
    // It may grow meanwhile.
    let mut source = source.take(bytes);
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

/// Removes what was not used for long, and further entries, the oldest first, until what is left takes no more
/// than so many bytes or may be in use.
fn remove_old(folder: &Path, most: u64) {
    let mut left: Vec<(Duration, u64, PathBuf)> = Vec::new();
    for path in entries(folder) {
        // A date in the future, after the clock has jumped, is not old.
        let age = last_used(&path).and_then(|date| date.elapsed().ok());
        left.push((age.unwrap_or_default(), length(&path), path));
    }
    left.sort();
    let mut total = 0_u64;
    for (age, length, path) in left {
        total = total.saturating_add(length);
        if age > KEPT || (total > most && age > IN_USE) {
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

/// The paths in a folder; none where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// When a file or folder was last made, changed or, as far as the file system notes it, read.
fn last_used(path: &Path) -> Option<SystemTime> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let dates = [metadata.modified().ok(), metadata.accessed().ok()];
    // Listing a folder, as is done here, counts as reading it; reading a file in it does not.
    let own = if metadata.is_dir() {
        dates[0]
    } else {
        dates.into_iter().flatten().max()
    };
    let within = if metadata.is_dir() {
        entries(path)
    } else {
        Vec::new()
    };
    own.into_iter()
        .chain(within.iter().filter_map(|path| last_used(path)))
        .max()
}

/// Bytes of a file, or of all files in a folder.
fn length(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => entries(path).iter().map(|path| length(path)).sum(),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests;
