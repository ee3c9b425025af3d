//! Pip itself is not run here: a script stands in for Python.
#![cfg(unix)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use firstpass_native::Pip;

use crate::support::{Place, WHEEL, silent};

#[test]
fn asks_pip_for_the_pinned_wheel() {
    let place = Place::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wheel = folder.path().join(WHEEL);
    fs::write(&wheel, place.fetcher().wheel).expect("the wheel");
    let asked = folder.path().join("asked");
    let python = script(
        folder.path(),
        &format!(
            "echo \"$@\" > '{asked}'\n\
             while [ $# -gt 0 ]; do\n\
               case $1 in --dest) dest=$2;; --requirement) cat \"$2\" >> '{asked}';; esac\n\
               shift\n\
             done\n\
             cp '{wheel}' \"$dest\"\n",
            asked = asked.display(),
            wheel = wheel.display(),
        ),
    );

    let status = place
        .library()
        .install_with(&place.root(), &Pip::of(python), &silent());

    assert!(status.expect("the installation succeeds").is_usable());
    let asked = fs::read_to_string(asked).expect("the arguments");
    for expected in [
        "-m pip download --no-deps --only-binary=:all:",
        "--require-hashes",
        "--platform some_os_x86_64",
        "--implementation cp --python-version 311 --abi cp311",
        "\nengine==1.2.3 --hash=sha256:",
    ] {
        assert!(asked.contains(expected), "{asked}");
    }
}

#[test]
fn says_what_to_install_without_python() {
    let place = Place::new();
    let error = place.fail(&Pip::of("/no/such/python"));
    assert!(
        error.contains("no Python: `/no/such/python` is not found; install"),
        "{error}"
    );
}

#[test]
fn says_what_to_install_without_pip() {
    let place = Place::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let python = script(
        folder.path(),
        "echo \"$0: No module named pip\" >&2; exit 1\n",
    );
    let error = place.fail(&Pip::of(&python));
    let expected = format!("`{}` has no pip: install it", python.display());
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn passes_on_what_pip_says() {
    let place = Place::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let python = script(folder.path(), "echo 'ERROR: no such package' >&2; exit 2\n");
    let error = place.fail(&Pip::of(python));
    assert!(
        error.contains(&format!("pip could not fetch {WHEEL} (exit status: 2)")),
        "{error}"
    );
    assert!(error.contains("ERROR: no such package"), "{error}");
}

#[test]
fn a_disk_that_pip_finds_full_is_named() {
    let place = Place::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let python = script(
        folder.path(),
        "echo 'OSError: [Errno 28] No space left on device' >&2; exit 2\n",
    );
    let error = place.fail(&Pip::of(python));
    let partial = place.root().join("partial");
    let expected = format!("pip could not write {WHEEL} to {}", partial.display());
    assert!(error.contains(&expected), "{error}");
    assert!(error.contains("free some space"), "{error}");
}

/// Makes a script. Another process writes it: were it open for writing here, a process that
/// another test starts at that moment would hold it open too, and it could not be run.
fn script(folder: &Path, text: &str) -> PathBuf {
    let (source, script) = (folder.join("source"), folder.join("python"));
    fs::write(&source, format!("#!/bin/sh\n{text}")).expect("the source");
    let installed = Command::new("install")
        .args(["-m", "755"])
        .arg(source)
        .arg(&script)
        .status();
    assert!(installed.expect("the program `install`").success());
    script
}
