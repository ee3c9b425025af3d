//! A probe is measured with the features that its tests were run with: see `suite/features`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use firstpass_trial::{engine::Backend, process::cargo, workspace::Workspace};

/// The packages of a dependency tree by name and version, each with every set of features that it
/// is compiled with: macros and build scripts choose theirs apart from the program.
type Features = BTreeMap<String, BTreeSet<String>>;

/// What cargo compiles for the probe of a backend, with its native library; `edges` as `cargo tree`
/// takes them.
fn features(workspace: &Workspace, backend: &Backend, edges: &str) -> Result<Features> {
    let native = backend.native.as_ref();
    let of_its_own = native.map(|native| native.cargo_features().join(","));
    let output = Command::new(cargo())
        .current_dir(workspace.root())
        .args(["tree", "--offline", "--locked", "--prefix", "none"])
        .args(["--format", "{p}|{f}", "--edges", edges])
        .args(["--package", &backend.package])
        .args(["--features", &of_its_own.unwrap_or_default()])
        .output()
        .context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", backend.package);
    let mut found = Features::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        // An asterisk stands for what was listed before.
        let line = line.trim_end_matches(" (*)");
        let (package, features) = line.split_once('|').context("cargo tree says less")?;
        let sets = found.entry(package.into()).or_default();
        sets.insert(features.into());
    }
    Ok(found)
}

#[test]
fn a_probe_has_the_features_of_its_tests() -> Result<()> {
    let workspace = Workspace::find()?;
    let mut differing = Vec::new();
    for backend in workspace.backends()? {
        let measured = features(&workspace, &backend, "normal,build")?;
        let tested = features(&workspace, &backend, "normal,build,dev")?;
        ensure!(measured.len() > 1 && tested.len() > measured.len());
        for (package, of_probe) in measured {
            let of_tests = &tested[&package];
            if *of_tests != of_probe {
                let name = &backend.name;
                differing.push(format!(
                    "{name}: {package} has {of_probe:?} in the probe, {of_tests:?} in its tests"
                ));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "the engine would be compiled once to be measured and once to be tested; name the missing \
         features in suite/features/Cargo.toml, or in that of the backend:\n{}",
        differing.join("\n")
    );
    Ok(())
}
