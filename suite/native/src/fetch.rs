//! Gets wheels: from an earlier attempt, or by pip.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    panic,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context, Error, Result, bail, ensure};
use indicatif::ProgressBar;

use crate::{
    digest,
    manifest::Wheel,
    progress::{Progress, size},
};

/// Gets a wheel from somewhere; whoever asked for it checks its hash.
pub trait Fetch: Sync {
    /// Writes the wheel into the folder, under its name. The folder is empty and may hold
    /// temporary files too.
    ///
    /// # Errors
    /// Fails where the wheel cannot be had; the error says what to do about it.
    fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<()>;
}

/// Fetches by `python -m pip download`, with the user's configuration of pip.
#[derive(Debug, Clone)]
pub struct Pip {
    python: OsString,
}

impl Pip {
    /// The pip of this Python, a program or a path.
    pub fn of(python: impl Into<OsString>) -> Self {
        Self {
            python: python.into(),
        }
    }

    /// `pip index versions` of a package.
    pub(crate) fn versions(&self, package: &str) -> Command {
        let mut command = Command::new(&self.python);
        command
            .args(["-m", "pip", "index", "versions", "--no-input"])
            .args([
                "--disable-pip-version-check",
                "--only-binary=:all:",
                package,
            ]);
        command
    }

    /// `pip download` into a folder, of wheels only and without what they depend on.
    pub(crate) fn download(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
            .args([
                "--disable-pip-version-check",
                "--no-input",
                "--progress-bar=off",
            ])
            .arg("--dest")
            .arg(folder)
            // pip downloads into a temporary folder first: there it is seen growing, lies on the
            // disk that it is meant for, and is found after an interruption.
            .env("TMPDIR", folder);
        command
    }

    fn command(&self, wheel: &Wheel, requirements: &Path, folder: &Path) -> Command {
        let mut command = self.download(folder);
        command
            .arg("--require-hashes")
            .arg("--requirement")
            .arg(requirements);
        for platform in wheel.name.platforms() {
            command.args(["--platform", platform]);
        }
        // The wheel need not fit the Python that runs pip: no Python will ever import it.
        if let Some(version) = wheel.name.interpreter().strip_prefix("cp") {
            command.args(["--implementation", "cp", "--python-version", version]);
            command.args(["--abi", wheel.name.abi()]);
        }
        command
    }

    fn explain(&self, wheel: &Wheel, folder: &Path, output: &Output) -> Error {
        let python = self.python.display();
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        if said.contains("No module named pip") {
            return Error::msg(format!(
                "`{python}` has no pip: install it (on Debian and Ubuntu the package python3-pip, \
                 elsewhere `{python} -m ensurepip`), or name another Python by PYTHON"
            ));
        }
        if said.contains("[Errno 28]") {
            let error = io::Error::from(ErrorKind::StorageFull);
            let message = format!("pip could not write {} to {}", wheel.name, folder.display());
            return Error::new(error).context(message);
        }
        let lines: Vec<_> = said.trim_end().lines().collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n  ");
        Error::msg(format!(
            "pip could not fetch {} ({}):\n  {last}\n`{python} -m pip config list` shows which \
             index and proxy it uses",
            wheel.name, output.status
        ))
    }
}

impl Fetch for Pip {
    fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<()> {
        let requirements = folder.join("requirements.txt");
        let line = format!(
            "{} --hash=sha256:{}\n",
            wheel.name.requirement(),
            wheel.sha256.as_str()
        );
        fs::write(&requirements, line)
            .with_context(|| format!("cannot write {}", requirements.display()))?;
        let output = self.command(wheel, &requirements, folder).output().map_err(|error| {
            let python = self.python.display();
            let message = match error.kind() {
                ErrorKind::NotFound => format!(
                    "no Python: `{python}` is not found; install Python 3 with pip (on Debian and \
                     Ubuntu the packages python3 and python3-pip), or name one by PYTHON"
                ),
                _ => format!("cannot run `{python}`"),
            };
            Error::new(error).context(message)
        })?;
        match output.status.success() {
            true => Ok(()),
            false => Err(self.explain(wheel, folder, &output)),
        }
    }
}

/// Gets a wheel with the right hash into the folder of downloads.
pub(crate) fn obtain(
    wheel: &Wheel,
    downloads: &Path,
    partial: &Path,
    fetcher: &dyn Fetch,
    progress: &Progress,
) -> Result<PathBuf> {
    let kept = downloads.join(wheel.name.as_str());
    let what = format!("{} ({})", wheel.name.requirement(), size(wheel.bytes));
    if kept.is_file() {
        if verify(wheel, &kept, progress).is_ok() {
            progress.line(&format!("  {what} is here already"));
            return Ok(kept);
        }
        fs::remove_file(&kept).with_context(|| format!("cannot remove {}", kept.display()))?;
    }

    progress.line(&format!("  fetching {what}"));
    let folder = tempfile::tempdir_in(partial)
        .with_context(|| format!("cannot create a folder in {}", partial.display()))?;
    let bar = progress.bar("fetching", wheel.bytes);
    watch(folder.path(), &bar, || fetcher.fetch(wheel, folder.path()))?;
    drop(bar);
    let fetched = folder.path().join(wheel.name.as_str());
    ensure!(
        fetched.is_file(),
        "{} was fetched, but not under this name",
        wheel.name
    );
    verify(wheel, &fetched, progress)?;
    fs::rename(&fetched, &kept)
        .with_context(|| format!("cannot move {} to {}", fetched.display(), kept.display()))?;
    Ok(kept)
}

fn verify(wheel: &Wheel, path: &Path, progress: &Progress) -> Result<()> {
    let found = digest::of_file(path, &progress.bar("checking", wheel.bytes))?;
    let Wheel {
        name,
        sha256,
        bytes,
        ..
    } = wheel;
    if found.sha256 != sha256.as_str() {
        bail!(
            "{name} is not the file that native.toml pins, and was thrown away:\n  \
             expected sha256 {}, {bytes} bytes\n  received sha256 {}, {} bytes\n\
             If it comes from a mirror or a proxy, ask that; do not change the pin",
            sha256.as_str(),
            found.sha256,
            found.bytes
        );
    }
    Ok(())
}

/// Runs the work, and moves the bar with the largest file in the folder.
fn watch<T: Send>(folder: &Path, bar: &ProgressBar, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let work = scope.spawn(work);
        while !work.is_finished() {
            bar.set_position(largest_file(folder));
            thread::sleep(Duration::from_millis(50));
        }
        work.join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn largest_file(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| match entry.metadata().ok()? {
            metadata if metadata.is_dir() => Some(largest_file(&entry.path())),
            metadata => Some(metadata.len()),
        })
        .max()
        .unwrap_or(0)
}
