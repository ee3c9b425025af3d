//! The invariants that ARCHITECTURE.md states as absences.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstpass_conformance::imports::{circles, imports, read};
use firstpass_harness::studies;
use firstpass_trial::{engine::Backend, workspace::Workspace};

/// The Rust and C++ sources below a folder.
fn sources(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path
            .extension()
            .is_some_and(|e| e == "rs" || e == "cpp" || e == "h")
        {
            found.push((path.clone(), std::fs::read_to_string(&path)?));
        }
    }
    Ok(found)
}

fn dependencies(manifest: &Path) -> Result<Vec<String>> {
    let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(manifest)?)?;
    let tables = ["dependencies", "build-dependencies"];
    let names = tables.iter().filter_map(|t| manifest.get(*t)?.as_table());
    Ok(names.flat_map(|t| t.keys().cloned()).collect())
}

/// The crates that the workspace pins with `=`.
fn pinned(workspace: &Workspace) -> Result<Vec<String>> {
    let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(
        workspace.root().join("Cargo.toml"),
    )?)?;
    let all = manifest["workspace"]["dependencies"]
        .as_table()
        .context("no dependencies")?;
    let version = |value: &toml::Value| {
        value
            .as_str()
            .or_else(|| value.get("version")?.as_str())
            .map(str::to_owned)
    };
    Ok(all
        .iter()
        .filter(|(_, value)| version(value).is_some_and(|v| v.starts_with('=')))
        .map(|(name, _)| name.clone())
        .collect())
}

#[test]
fn the_suite_names_no_backend() -> Result<()> {
    let workspace = Workspace::find()?;
    let backends = workspace.backends()?;
    for (path, text) in sources(&workspace.root().join("suite"))? {
        let text = text.to_lowercase();
        for backend in &backends {
            let named = if backend.is_referee {
                // The name of a referee may be a word of the language that says what it is.
                let Backend { name, package, .. } = backend;
                [
                    format!("\"{name}\""),
                    format!("backends/{name}"),
                    package.clone(),
                ]
                .iter()
                .any(|named| text.contains(named))
            } else {
                text.split(|c: char| !c.is_alphanumeric())
                    .any(|word| word == backend.name)
            };
            assert!(!named, "{} names {}", path.display(), backend.name);
        }
    }
    Ok(())
}

#[test]
fn one_file_draws_tables() -> Result<()> {
    let harness = Workspace::find()?.root().join("suite/harness/src");
    let mut drawing = sources(&harness)?;
    drawing.retain(|(_, text)| text.contains("comfy_table"));
    let paths: Vec<PathBuf> = drawing.into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [harness.join("page/table.rs")]);
    Ok(())
}

#[test]
fn backends_hold_no_timers_and_no_face_maths() -> Result<()> {
    for backend in Workspace::find()?.backends()? {
        for (path, text) in sources(&backend.dir.join("src"))? {
            for word in [
                "Instant::now",
                "SystemTime",
                "faceboxes",
                "variances",
                "nms",
                "iou",
            ] {
                let found = text
                    .split(|c: char| !(c.is_alphanumeric() || c == ':'))
                    .any(|w| w == word);
                assert!(!found, "{} holds {word:?}", path.display());
            }
        }
    }
    Ok(())
}

#[test]
fn no_probe_links_two_engines() -> Result<()> {
    let workspace = Workspace::find()?;
    let pinned = pinned(&workspace)?;
    // A crate with the engine that it belongs to, of which several backends may be ways.
    let mut owners: Vec<(String, String)> = Vec::new();
    for backend in workspace.backends()? {
        let engines: Vec<String> = dependencies(&backend.dir.join("Cargo.toml"))?
            .into_iter()
            .filter(|name| pinned.contains(name))
            .collect();
        assert_eq!(
            engines.is_empty(),
            backend.is_referee,
            "{} pins {engines:?}",
            backend.name
        );
        for engine in engines {
            let other = owners
                .iter()
                .find(|(name, owner)| *name == engine && *owner != backend.engine);
            assert!(
                other.is_none(),
                "{} and {other:?} share {engine}",
                backend.name
            );
            owners.push((engine, backend.engine.clone()));
        }
    }
    for backend in [
        "suite/probe",
        "suite/onnx",
        "suite/harness",
        "suite/native",
        "suite/conformance",
    ] {
        let used = dependencies(&workspace.root().join(backend).join("Cargo.toml"))?;
        let engine = owners.iter().find(|(name, _)| used.contains(name));
        assert!(engine.is_none(), "{backend} links {engine:?}");
    }
    Ok(())
}

#[test]
fn no_imports_run_in_a_circle_between_folders() -> Result<()> {
    let workspace = Workspace::find()?;
    for crate_ in ["suite/harness", "suite/trial"] {
        let folder = workspace.root().join(crate_).join("src");
        let sources = read(&folder)?;
        for parent in ["", "studies::", "studies::first_passes::"] {
            let mut imports = imports(parent, &sources);
            // What lies in a `mod.rs` is the list of what the folder holds.
            imports.remove("");
            // Files of one folder may know each other; folders may not.
            let mut found = circles(&imports);
            found.retain(|room| {
                let path = format!("{parent}{room}").replace("::", "/");
                folder.join(path).is_dir()
            });
            assert_eq!(found, [""; 0], "in {crate_}, {parent}");
        }
    }
    Ok(())
}

/// Measuring and judging meet only in a record: what is rendered can be rendered without any engine.
#[test]
fn rendering_runs_no_engine() -> Result<()> {
    let harness = Workspace::find()?.root().join("suite/harness/src");
    let mut seen = 0;
    for (path, text) in sources(&harness)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_pure = ["judge.rs", "report.rs", "plot.rs", "data.rs"].contains(&&*name)
            || ["judge", "plots", "page", "report"]
                .iter()
                .any(|folder| path.iter().any(|part| part == *folder));
        if is_pure {
            seen += 1;
            for word in ["trial::process", "process::Probe", "process::start"] {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
    }
    assert!(seen > 30, "only {seen} files were looked at");
    Ok(())
}

#[test]
fn every_folder_of_a_study_is_in_the_list() -> Result<()> {
    let folder = Workspace::find()?.root().join("suite/harness/src/studies");
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The record itself, beside which the others lie.
        if path.is_dir() && name != "first_passes" {
            let is_listed = studies::ALL.iter().any(|study| study.name() == name);
            assert!(is_listed, "{name} is not in the list of studies");
            for file in ["mod.rs", "data.rs", "report.rs", "command.rs"] {
                assert!(path.join(file).is_file(), "{} lacks {file}", path.display());
            }
        }
    }
    Ok(())
}

/// The tests of a backend are built with its engine: an edit of a page must not build them again.
#[test]
fn no_backend_links_the_harness() -> Result<()> {
    let workspace = Workspace::find()?;
    let suite = ["suite/conformance", "suite/trial"].map(|folder| workspace.root().join(folder));
    let backends = workspace.backends()?.into_iter().map(|backend| backend.dir);
    for folder in suite.into_iter().chain(backends) {
        let text = std::fs::read_to_string(folder.join("Cargo.toml"))?;
        assert!(!text.contains("firstpass-harness"), "{}", folder.display());
    }
    Ok(())
}
