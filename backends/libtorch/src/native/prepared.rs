//! Files that an earlier start has prepared.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    process,
};

use firstpass_probe::{Backend, Result, prepared_folder};
use tch::CModule;

use crate::Libtorch;

use super::{engine, module, settings, torch_error};

/// Loads the frozen copy of the file at `path`, which is made where there is none yet.
pub(super) fn load(path: &Path) -> Result<CModule> {
    // A folder of this user's own, because a scripted module is a program.
    let prepared = prepared_folder(Libtorch::NAME)?.join(name(path)?);
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
