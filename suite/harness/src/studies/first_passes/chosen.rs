//! The settings that `tuned.toml` chooses, which every record measures beside the defaults.

use std::collections::BTreeMap;

use anyhow::Result;
use firstpass_probe::{Knobs, Tuned};
use firstpass_trial::workspace::{Backend, Workspace};

use crate::record::{Record, Stale};

/// The settings that `tuned.toml` recommends; none where there is no such file.
///
/// # Errors
/// Fails where the file is there and cannot be read.
pub fn chosen(workspace: &Workspace) -> Result<Tuned> {
    let path = workspace.tuned();
    if path.is_file() {
        Tuned::read(&path).map_err(|e| anyhow::anyhow!("{e}"))
    } else {
        Ok(Tuned::default())
    }
}

/// The recommended settings of each backend, measured beside its defaults; a quick look has them as
/// well.
pub fn tuned(workspace: &Workspace, backends: &[Backend]) -> Result<BTreeMap<String, Vec<Knobs>>> {
    let tuned = chosen(workspace)?;
    let of = |backend: &Backend| (backend.name.clone(), vec![tuned.of(&backend.name)]);
    let all = backends.iter().map(of);
    Ok(all
        .filter(|(_, knobs)| knobs[0] != Knobs::default())
        .collect())
}

/// Whether the settings that a record measured beside the defaults are those of `tuned.toml`, of the
/// backends that were measured.
///
/// # Errors
/// Fails where the file is there and cannot be read.
pub fn are_chosen(workspace: &Workspace, record: &Record) -> Result<bool> {
    let none = Knobs::default();
    let is_measured = |(backend, knobs): (&str, &Knobs)| {
        let variants = record.run.settings.variants.get(backend);
        let measured = variants.and_then(|variants| variants.first());
        measured.unwrap_or(&none) == knobs
    };
    Ok(chosen(workspace)?
        .iter()
        .filter(|(backend, _)| record.backends.contains_key(*backend))
        .all(is_measured))
}

/// Why a record is stale whose settings are not those of `tuned.toml`.
///
/// # Errors
/// Fails where the file is there and cannot be read.
pub fn stale(workspace: &Workspace, record: &Record) -> Result<Option<Stale>> {
    let reason = "measured with other settings than those of tuned.toml";
    Ok((!are_chosen(workspace, record)?).then(|| Stale::new(reason)))
}
