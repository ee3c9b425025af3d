//! Virtual environments with the Python packages that some engines have.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use firstpass_native::sha256_of_file;
use indicatif::ProgressBar;

/// Written last, and holding the SHA-256 of the requirements: an environment without it, or with
/// another, is made again.
const STAMP: &str = "requirements.sha256";

/// The interpreter that makes environments: `PYTHON`, as in `firstpass setup`, or `python3`.
pub fn interpreter() -> OsString {
    std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into())
}

/// Makes the environment `folder` with exactly what `requirements` names, unless it is there;
/// returns its interpreter.
///
/// # Errors
/// Fails where Python or pip does; the message ends with what they wrote.
pub fn set_up(python: &OsStr, folder: &Path, requirements: &Path) -> Result<PathBuf> {
    let wanted = sha256_of_file(requirements)?;
    let inner = folder.join("bin").join("python");
    let stamp = folder.join(STAMP);
    // Where there is no stamp that can be read there is no finished environment.
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) && inner.exists() {
        return Ok(inner);
    }
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    eprintln!(
        "installing the packages of {} into {}",
        requirements.display(),
        folder.display()
    );
    // Animated, and only on a terminal: packages may be large.
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(200));
    run(Command::new(python)
        .args(["-m", "venv"])
        .arg(folder)
        .env_remove("PYTHONHOME"))
    .context("cannot make a virtual environment; install Python 3.11 with its module venv")?;
    run(Command::new(&inner)
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--no-deps", "--require-hashes", "--requirement"])
        .arg(requirements))
    .with_context(|| format!("pip cannot install what {} names", requirements.display()))?;
    spinner.finish_and_clear();
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(inner)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Python that makes environments holding itself, and counts how often; its pip fails where
    /// the requirements say `bad`.
    const FAKE: &str = r#"#!/bin/sh
case "$2" in
venv)
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo made >> "$3/../made" ;;
pip)
    for last; do :; done
    if grep -q bad "$last"; then echo "no such package" >&2; exit 1; fi ;;
esac
"#;

    fn made(dir: &Path) -> usize {
        let text = fs::read_to_string(dir.join("made"));
        text.map_or(0, |text| text.lines().count())
    }

    #[test]
    fn an_environment_is_made_once_and_again_where_it_is_not_finished() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let python = dir.path().join("python");
        // By a process of its own: a file that this one has open for writing cannot be started,
        // and a test beside this one may be starting a process at that moment.
        let script = r#"printf %s "$1" > "$2" && chmod +x "$2""#;
        run(Command::new("sh")
            .args(["-c", script, "sh", FAKE])
            .arg(&python))?;
        let (folder, requirements) = (dir.path().join("env"), dir.path().join("r.txt"));
        let set_up = || set_up(python.as_os_str(), &folder, &requirements);

        fs::write(&requirements, "good")?;
        assert_eq!(set_up()?, folder.join("bin/python"));
        set_up()?;
        assert_eq!(made(dir.path()), 1, "it was there");

        fs::write(&requirements, "better")?;
        set_up()?;
        assert_eq!(made(dir.path()), 2, "other packages are wanted");

        fs::write(&requirements, "bad")?;
        let error = set_up().expect_err("must fail");
        assert!(
            format!("{error:#}").contains("no such package"),
            "{error:#}"
        );
        fs::write(&requirements, "good")?;
        set_up()?;
        assert_eq!(
            made(dir.path()),
            4,
            "a failed one is not taken for finished"
        );
        Ok(())
    }

    #[test]
    fn a_missing_python_is_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let requirements = dir.path().join("r.txt");
        fs::write(&requirements, "")?;
        let python = dir.path().join("no-python");
        let error = set_up(python.as_os_str(), &dir.path().join("env"), &requirements)
            .expect_err("must fail");
        assert!(format!("{error:#}").contains("no-python"), "{error:#}");
        Ok(())
    }
}
