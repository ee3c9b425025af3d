//! Where the crates come from that everything is built of, and under which licences.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use firstpass_trial::{process::cargo, workspace::Workspace};
use serde_json::Value;

/// Licences under which a crate may be used here. Of several that are joined by OR one has to be among them.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "NCSA",
    "Unicode-3.0",
    "Zlib",
];

/// Whether one of the alternatives is allowed, in each part of an expression such as `(MIT OR Apache-2.0) AND NCSA`.
fn is_allowed(expression: &str) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')']).replace('/', " OR ");
        part.split(" OR ")
            .any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn expressions_of_licences_are_understood() {
    for allowed in [
        "MIT",
        "Apache-2.0/MIT",
        "Unlicense OR MIT",
        "(MIT OR X) AND NCSA",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in [
        "GPL-3.0",
        "",
        "MIT AND GPL-3.0",
        "(GPL-2.0 OR LGPL-3.0) AND MIT",
    ] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn every_crate_is_of_the_registry_and_under_an_allowed_licence() -> Result<()> {
    let workspace = Workspace::find()?;
    let host = host()?;
    let metadata = |more: &[&str]| {
        let mut command = Command::new(cargo());
        command.current_dir(workspace.root());
        command.args(["metadata", "--format-version", "1", "--locked"]);
        // Crates of other systems are not fetched here.
        command.args(["--filter-platform", &host]);
        command.args(more).output()
    };
    let mut output = metadata(&["--offline"])?;
    // On a fresh machine some were never needed, such as those of fuzz targets.
    if !output.status.success() {
        output = metadata(&[])?;
    }
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    for package in packages {
        let name = package["name"].as_str().context("no name")?;
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence), "{name} is under {licence:?}");
        // A crate of the workspace has no source, and one of a repository or a folder has another.
        let source = package["source"].as_str().unwrap_or("registry+");
        assert!(source.starts_with("registry+"), "{name} is from {source}");
    }
    Ok(())
}

/// The platform that is built for.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}
