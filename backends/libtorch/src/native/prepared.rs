//! Files that an earlier start has prepared.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
};

use firstpass_probe::{Error, Result};
use tch::CModule;

use super::{engine, module, settings, torch_error};

/// Loads the frozen copy of the file at `path`, which is made where there is none yet.
pub(super) fn load(path: &Path) -> Result<CModule> {
    let prepared = folder()?.join(name(path)?);
    if !prepared.exists() {
        let mut module = module::read(path)?;
        settings::freeze(&mut module)?;
        // Renamed when it is whole: a process may be killed while it writes.
        let partial = prepared.with_extension(format!("{}.part", process::id()));
        module.save(&partial).map_err(torch_error)?;
        fs::rename(&partial, &prepared)?;
    }
    let load = || {
        module::check(&prepared)?;
        module::read(&prepared)
    };
    load().map_err(|error| {
        let file = prepared.display();
        error.context(format!("delete {file}, which is made anew: it is damaged"))
    })
}

/// A folder of this user's own, because a scripted module is a program.
fn folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("firstpass-libtorch");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    // Nobody but its owner can use it then; where that is somebody else, nothing below opens.
    if fs::metadata(&folder)?.permissions().mode() & 0o077 != 0 {
        let folder = folder.display();
        return Err(Error::unsupported(format!(
            "others may write to {folder}: delete it, so that it is made anew"
        )));
    }
    Ok(folder)
}

/// A name that says what the content depends on: the file, and the libtorch that froze it.
fn name(path: &Path) -> Result<String> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let mut hasher = DefaultHasher::new();
    (
        &path,
        metadata.len(),
        metadata.modified()?,
        engine::version()?,
    )
        .hash(&mut hasher);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(format!("{stem}-{:016x}.frozen.pt", hasher.finish()))
}
