//! The settings that `tuned.toml` chooses, which every record measures beside the defaults.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use firstpass_probe::{Knob, Knobs, Tuned};
use firstpass_trial::{engine::Backend, process::Probe, workspace::Workspace};

use crate::record::{Record, Stale};

/// The settings that `tuned.toml` recommends; none where there is no such file.
///
/// # Errors
/// Fails where the file is there and cannot be read, or names an engine that there is not.
pub fn chosen(workspace: &Workspace) -> Result<Tuned> {
    let path = workspace.tuned();
    if !path.is_file() {
        return Ok(Tuned::default());
    }
    let tuned = Tuned::read(&path).map_err(|e| anyhow::anyhow!("{e}"))?;
    let backends = workspace.backends()?;
    let names: Vec<&str> = backends.iter().map(|b| b.name.as_str()).collect();
    check_names(&tuned, &names).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(tuned)
}

/// The recommended settings of each backend, measured beside its defaults; a quick look has them as
/// well.
///
/// # Errors
/// Fails as [`chosen`], and where an engine that runs does not know one of its settings.
pub fn tuned(workspace: &Workspace, backends: &[Backend]) -> Result<BTreeMap<String, Vec<Knobs>>> {
    let tuned = checked(workspace, backends)?;
    let variants = backends
        .iter()
        .map(|backend| (backend.name.clone(), tuned.of(&backend.name)))
        .filter(|(_, knobs)| *knobs != Knobs::default());
    Ok(variants.map(|(name, knobs)| (name, vec![knobs])).collect())
}

/// The settings that `tuned.toml` recommends, every one of them known to its engine: of a misspelled one
/// nothing is measured before it is said.
///
/// # Errors
/// As [`tuned`].
pub fn checked(workspace: &Workspace, backends: &[Backend]) -> Result<Tuned> {
    let tuned = chosen(workspace)?;
    for backend in backends {
        let is_named = tuned.all().any(|(name, ..)| name == backend.name);
        if !is_named {
            continue;
        }
        // Why it does not run is said, and recorded, where it is measured.
        let described = Probe::build(workspace, backend).map(|probe| probe.describe());
        if let Ok(Ok(description)) = described {
            check_knobs(&tuned, &backend.name, &description.knobs)
                .with_context(|| format!("cannot use {}", workspace.tuned().display()))?;
        }
    }
    Ok(tuned)
}

/// Every engine that is named is one that there is.
fn check_names(tuned: &Tuned, backends: &[&str]) -> Result<()> {
    let unknown = tuned.backends().find(|name| !backends.contains(name));
    match unknown {
        None => Ok(()),
        Some(name) => bail!(
            "no engine is called {name:?}; there are: {}",
            backends.join(", ")
        ),
    }
}

/// All settings of a backend, whatever they are for, are such as it declares.
fn check_knobs(tuned: &Tuned, backend: &str, declared: &[Knob]) -> Result<()> {
    let mut own = tuned.all().filter(|(name, ..)| *name == backend);
    own.try_for_each(|(_, need, knobs)| {
        let checked = knobs.check(declared);
        checked.map_err(|error| anyhow::anyhow!("[{backend}.{need}]: {error}"))
    })
}

/// Whether the settings that a record measured beside the defaults are those of `tuned.toml`, of the
/// backends that were measured.
///
/// # Errors
/// Fails where the file is there and cannot be read.
pub fn are_chosen(workspace: &Workspace, record: &Record) -> Result<bool> {
    let none = Knobs::default();
    let is_measured = |(backend, knobs): (&str, Knobs)| {
        let variants = record.run.settings.variants.get(backend);
        let measured = variants.and_then(|variants| variants.first());
        *measured.unwrap_or(&none) == knobs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_there_is_not_is_named_with_those_that_there_are() -> Result<()> {
        let tuned = Tuned::parse("[a.cold]\nfusion = \"off\"\n")?;
        assert!(check_names(&tuned, &["a", "b"]).is_ok());
        let error = check_names(&tuned, &["b", "c"]).expect_err("there is no a");
        assert!(error.to_string().contains("there are: b, c"), "{error}");
        Ok(())
    }

    #[test]
    fn a_setting_that_an_engine_has_not_is_named_with_those_that_it_has() -> Result<()> {
        let declared = [Knob::choice("fusion", &["on", "off"], "")];
        let check = |text: &str| check_knobs(&Tuned::parse(text)?, "a", &declared);
        assert!(check("[a.cold]\nfusion = \"off\"\n").is_ok());
        assert!(check("[b.cold]\nx = 1\n").is_ok(), "another engine's");
        for (wrong, named) in [
            ("[a.cold]\nfusoin = \"off\"\n", "this backend has: fusion"),
            ("[a.serve]\nfusion = \"maybe\"\n", "expected on, off"),
        ] {
            let error = check(wrong).expect_err(wrong).to_string();
            assert!(error.contains(named), "{error}");
        }
        Ok(())
    }
}
