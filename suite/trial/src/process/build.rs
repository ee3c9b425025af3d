//! Building probes and other programs of an engine, each by itself.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_native::{Holder, Lock};

use super::Probe;
use crate::{
    engine::{Backend, Origin},
    processor::Processor,
    scratch::Scratch,
    workspace::Workspace,
};

/// The probes that this command holds, by checkout and by package with its features.
static HELD: Mutex<BTreeMap<(PathBuf, String), Held>> = Mutex::new(BTreeMap::new());

/// Where a probe lies, and its folder as long as it is there.
type Held = (PathBuf, Weak<Scratch>);

impl Probe {
    /// The probe where there is one already; else builds it, by itself: cargo unifies features over the packages of one build, and a
    /// measured binary must not depend on its neighbours. Its tests link the same engine, because the
    /// crate `firstpass-features` gives both the same features.
    ///
    /// As long as a probe of this command is there, it is not built again: even to find nothing to do takes cargo
    /// half a second.
    ///
    /// # Errors
    /// Fails where cargo does; its messages go to standard error.
    pub fn build(workspace: &Workspace, backend: &Backend) -> Result<Self> {
        if let Some(binary) = backend.binary() {
            ensure!(
                binary.is_file(),
                "the probe of {} is not there, at {}",
                backend.name,
                binary.display()
            );
            return Ok(Self {
                environment: environment(workspace, backend),
                launcher: launcher(backend),
                is_own: matches!(backend.origin, Origin::Program(_)),
                ..Self::at(&binary)
            });
        }
        let package = backend.package.as_str();
        let features = features(workspace, backend).join(" ");
        let key = (workspace.root().to_owned(), format!("{package} {features}"));
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let there = held.get(&key);
        let there = there.and_then(|(binary, folder)| Some((binary.clone(), folder.upgrade()?)));
        let (binary, folder) = if let Some((binary, folder)) = there {
            (binary, Some(folder))
        } else {
            let built = build(workspace, backend, &["--bins"], "bin", package)?;
            match hold(&built) {
                Ok((binary, folder)) => {
                    let folder = Arc::new(folder);
                    held.insert(key, (binary.clone(), Arc::downgrade(&folder)));
                    (binary, Some(folder))
                }
                // On a file system without links a build beside this command may replace it.
                Err(_) => (built, None),
            }
        };
        drop(held);
        Ok(Self {
            environment: environment(workspace, backend),
            launcher: launcher(backend),
            folder,
            ..Self::at(&binary)
        })
    }
}

/// Builds an example of the backend as [`Probe::build`] builds its probe, so that both are linked
/// with the same engine; returns the executable.
///
/// # Errors
/// Fails where cargo does; its messages go to standard error.
pub fn build_example(workspace: &Workspace, backend: &Backend, name: &str) -> Result<PathBuf> {
    build(workspace, backend, &["--example", name], "example", name)
}

/// Builds the program of another package that uses the engine of this backend. Both packages are named to
/// cargo, so that the engine has the features that it has in the probe and is not compiled again; returns the
/// executable.
///
/// # Errors
/// Fails where cargo does; its messages go to standard error.
pub fn build_program(workspace: &Workspace, backend: &Backend, package: &str) -> Result<PathBuf> {
    let targets = ["--package", package, "--bin", package];
    build(workspace, backend, &targets, "bin", package)
}

/// Gives a built executable a second name in a folder of this command: what is built while this runs, by a
/// command beside it, is another file then.
fn hold(built: &Path) -> Result<(PathBuf, Scratch)> {
    let (Some(folder), Some(name)) = (built.parent(), built.file_name()) else {
        bail!("{} is no file", built.display());
    };
    let scratch = Scratch::new(".firstpass-", folder)?;
    let held = scratch.path().join(name);
    std::fs::hard_link(built, &held)?;
    Ok((held, scratch))
}

/// Builds `targets` of the backend's package and returns the executable of one of them.
fn build(
    workspace: &Workspace,
    backend: &Backend,
    targets: &[&str],
    kind: &str,
    name: &str,
) -> Result<PathBuf> {
    let say = |holder: &Holder| {
        let _ = writeln!(io::stderr(), "waiting for {holder}, which is building");
    };
    // Cargo has a lock as well, which does not say who holds it. Where there is no place for this one,
    // that has to do.
    let _lock = Lock::wait(&workspace.native().join(".build.lock"), say).ok();
    let output = Command::new(cargo())
        .current_dir(workspace.root())
        .args([
            "build",
            "--release",
            "--locked",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--package", &backend.package])
        .args(targets)
        .args(features(workspace, backend))
        .envs(environment(workspace, backend))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cargo could not build {}; its messages are above",
            backend.package
        );
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .filter(|message| message["target"]["kind"][0] == kind)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no {kind} named {name}"))
}

/// The program `cargo` that runs this command.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// `--features …` for a backend whose native library is there.
pub fn features(workspace: &Workspace, backend: &Backend) -> Vec<String> {
    match &backend.native {
        Some(native)
            if !native.cargo_features().is_empty()
                && native.status(&workspace.native()).is_usable() =>
        {
            vec!["--features".into(), native.cargo_features().join(",")]
        }
        _ => Vec::new(),
    }
}

fn launcher(backend: &Backend) -> Vec<OsString> {
    let processor = backend.processor.as_ref();
    processor.map(Processor::launcher).unwrap_or_default()
}

/// The variables that lead to the backend's native library.
pub fn environment(workspace: &Workspace, backend: &Backend) -> Vec<(String, PathBuf)> {
    if !backend.library.is_empty() {
        return backend.library.clone();
    }
    let native = backend.native.as_ref();
    native
        .map(|n| n.environment(&workspace.native()))
        .unwrap_or_default()
}
