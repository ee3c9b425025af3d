//! Puts engines into the folder of installed ones, which is laid out like a checkout without sources.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_native::{Lock, Progress};
use firstpass_trial::{
    engine::Backend,
    process::{Probe, cargo, environment, features},
    workspace::Workspace,
};

/// What folders of work in progress begin with.
const BUILD: &str = ".build-";
const PARTIAL: &str = ".partial-";

/// What a report needs of a backend's folder beside its probe.
const DESCRIBED_BY: [&str; 4] = ["Cargo.toml", "known.toml", "native.toml", "README.md"];

/// What reports need that is of no backend: lines of Rust that apply settings, and photographs for models that
/// take pictures.
const SHARED: [&str; 3] = [
    "suite/probe/examples",
    "fixtures/images",
    "fixtures/manifest.toml",
];

/// Builds and installs engines of a checkout. One that cannot be installed is an error; those before it are kept.
///
/// # Errors
/// Fails on a name that the checkout has not, and where an engine cannot be built, fetched or started.
pub(super) fn run(source: &Workspace, names: &[String], target: Option<&Path>) -> Result<ExitCode> {
    let all = source.backends()?;
    let chosen: Vec<&Backend> = names
        .iter()
        .map(|name| {
            all.iter()
                .find(|engine| engine.name == *name)
                .with_context(|| {
                    let known: Vec<&str> = all.iter().map(|engine| engine.name.as_str()).collect();
                    format!(
                        "no engine {name:?} in {}; there are: {}",
                        source.root().display(),
                        known.join(", ")
                    )
                })
        })
        .collect::<Result<_>>()?;
    let home = Workspace::installed()?;
    let _lock = lock(&home)?;
    sweep(&home)?;
    let target = target.map(std::path::absolute).transpose()?;
    // Engines share most of what they are built from. It is not kept: it would be larger than all of them.
    let build = tempfile::Builder::new()
        .prefix(BUILD)
        .tempdir_in(home.root())?;
    for engine in chosen {
        install(
            source,
            &home,
            engine,
            target.as_deref().unwrap_or(build.path()),
        )
        .with_context(|| format!("{} is not installed", engine.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn install(source: &Workspace, home: &Workspace, engine: &Backend, build: &Path) -> Result<()> {
    if let Some(native) = &engine.native {
        let status = native.install(&home.native(), &Progress::terminal())?;
        ensure!(status.is_usable(), "{native}: {status}");
    }
    let backends = home.root().join("backends");
    fs::create_dir_all(&backends)
        .with_context(|| format!("cannot create {}", backends.display()))?;
    let staged = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(&backends)?;
    eprintln!("{}: building its probe", engine.name);
    let status = Command::new(cargo())
        // The settings of a project that one stands in are none of this build.
        .current_dir(home.root())
        .args(["install", "--locked", "--no-track", "--bins", "--path"])
        .arg(&engine.dir)
        .arg("--root")
        .arg(staged.path())
        .arg("--target-dir")
        .arg(build)
        .args(features(home, engine))
        .envs(environment(home, engine))
        .status()
        .context("cannot run cargo, which builds probes: install Rust")?;
    ensure!(
        status.success(),
        "cargo could not build it; its messages are above"
    );
    for name in DESCRIBED_BY {
        let file = engine.dir.join(name);
        if file.is_file() {
            copy(&file, &staged.path().join(name))?;
        }
    }
    let settings = format!("examples/settings-{}.rs", engine.name);
    if engine.dir.join(&settings).is_file() {
        copy(&engine.dir.join(&settings), &staged.path().join(&settings))?;
    }
    for name in SHARED {
        let from = source.root().join(name);
        if from.exists() {
            copy(&from, &home.root().join(name))?;
        }
    }
    let probe = Probe {
        environment: environment(home, engine),
        ..Probe::at(&staged.path().join("bin").join(&engine.package))
    };
    let description = match probe.describe() {
        Ok(description) => description,
        Err(outcome) => bail!("its probe was built and does not run: {outcome}"),
    };
    let place = backends.join(&engine.name);
    remove_folder(&place)?;
    fs::rename(staged.keep(), &place)
        .with_context(|| format!("cannot move it to {}", place.display()))?;
    println!(
        "{} {}: {}",
        engine.name,
        description.engine.version,
        place.display()
    );
    Ok(())
}

/// Removes engines, and libraries that no installed engine names.
///
/// # Errors
/// Fails on a name that is not installed.
pub(super) fn remove(names: &[String]) -> Result<ExitCode> {
    let home = Workspace::installed()?;
    let installed = home.backends()?;
    for name in names {
        let known: Vec<&str> = installed
            .iter()
            .map(|engine| engine.name.as_str())
            .collect();
        ensure!(
            known.contains(&name.as_str()),
            "{name:?} is not installed in {}; there are: {}",
            home.root().display(),
            if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            }
        );
    }
    let _lock = lock(&home)?;
    let (gone, kept): (Vec<Backend>, Vec<Backend>) = installed
        .into_iter()
        .partition(|engine| names.contains(&engine.name));
    let libraries = |engines: &[Backend]| -> Vec<PathBuf> {
        let natives = engines.iter().filter_map(|engine| engine.native.as_ref());
        natives
            .map(|native| native.directory(&home.native()))
            .collect()
    };
    let needed = libraries(&kept);
    for folder in libraries(&gone) {
        if !needed.contains(&folder) {
            remove_folder(&folder)?;
        }
    }
    for engine in &gone {
        remove_folder(&engine.dir)?;
        println!("{} is removed", engine.name);
    }
    Ok(ExitCode::SUCCESS)
}

fn lock(home: &Workspace) -> Result<Lock> {
    fs::create_dir_all(home.root())
        .with_context(|| format!("cannot create {}", home.root().display()))?;
    Lock::wait(&home.root().join(".engines.lock"), |holder| {
        eprintln!("waiting for {holder}, which installs engines");
    })
}

/// Removes what an interrupted command has left.
fn sweep(home: &Workspace) -> Result<()> {
    for folder in [home.root().to_owned(), home.root().join("backends")] {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_left = [BUILD, PARTIAL]
                .iter()
                .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
            if is_left {
                remove_folder(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a file, or a folder with all that it holds.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(failed)?;
        for entry in fs::read_dir(from).with_context(failed)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    fs::copy(from, to).map(drop).with_context(failed)
}
