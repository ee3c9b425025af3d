//! `firstpass engines new NAME`: the folder of a backend that compiles and does nothing yet.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, ensure};
use firstpass_trial::workspace::Workspace;
use serde::Serialize;

use crate::page::template;

/// The files of a backend, and the templates that they are written from.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", "engine/Cargo.toml.j2"),
    ("README.md", "engine/README.md.j2"),
    ("known.toml", "engine/known.toml.j2"),
    ("src/lib.rs", "engine/lib.rs.j2"),
    ("src/main.rs", "engine/main.rs.j2"),
    ("tests/suite/main.rs", "engine/suite.rs.j2"),
];

#[derive(Serialize)]
struct Names {
    name: String,
    /// As a path of Rust has it.
    #[serde(rename = "crate")]
    in_paths: String,
    /// As a type of Rust has it.
    #[serde(rename = "type")]
    as_type: String,
}

/// # Errors
/// Fails on a name that no package can have, where there is such a folder, and outside a checkout.
pub(super) fn run(workspace: &Workspace, name: &str) -> Result<ExitCode> {
    workspace.needs_checkout("engines new")?;
    let names = names(name)?;
    let folder = workspace.root().join("backends").join(name);
    ensure!(!folder.exists(), "{} is there already", folder.display());
    for (file, from) in FILES {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        fs::write(&path, template::render(from, &names)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!(
        "{}: fill in src/lib.rs, then `cargo test --package firstpass-{name}`; CONTRIBUTING.md has the rest",
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn names(name: &str) -> Result<Names> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(is_plain)
            && !name.ends_with('-'),
        "{name:?} is no name for a folder of backends/: use small letters, digits and hyphens"
    );
    let words = name.split('-').filter(|word| !word.is_empty());
    let capitalized = words.map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    Ok(Names {
        name: name.into(),
        in_paths: name.replace('-', "_"),
        as_type: capitalized.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_written_and_is_what_it_should_be() -> Result<()> {
        let place = tempfile::tempdir()?;
        let workspace = Workspace::at(place.path().into());
        run(&workspace, "my-engine")?;
        let folder = place.path().join("backends/my-engine");
        let read = |file: &str| fs::read_to_string(folder.join(file));
        for (file, _) in FILES.iter().filter(|(file, _)| file.ends_with(".rs")) {
            let text = read(file)?;
            syn::parse_file(&text).with_context(|| format!("{file} is no Rust:\n{text}"))?;
        }
        assert!(read("src/main.rs")?.contains("firstpass_my_engine::MyEngine"));
        let [engine] = &workspace.backends()?[..] else {
            panic!("it is one backend")
        };
        assert_eq!(
            (engine.name.as_str(), engine.package.as_str()),
            ("my-engine", "firstpass-my-engine")
        );
        engine.known()?;
        assert!(
            run(&workspace, "my-engine").is_err(),
            "nothing is overwritten"
        );
        for wrong in ["", "My", "a/b", "../x", "-x", "x-", "1x"] {
            assert!(names(wrong).is_err(), "{wrong:?}");
        }
        Ok(())
    }
}
