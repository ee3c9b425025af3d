//! Which state of the code measured, kept beside every record.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use firstpass_trial::{
    machine::first_line,
    workspace::{Backend, Workspace, read_toml},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Our own crates that a probe links, besides its backend: folders of `suite/`.
const LINKED: [&str; 2] = ["probe", "onnx"];

/// A state of the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The commit, with `+` where the working tree differed from it.
    pub commit: Option<String>,
    /// SHA-256 over all that a measured process is built from: the sources of engines and of what
    /// they link, how these are built, and the list of fixtures. A record is of the code as it stands
    /// as long as it is the same.
    pub measured_sha256: String,
}

impl Code {
    /// # Errors
    /// Fails where a source file cannot be read.
    pub fn observe(workspace: &Workspace) -> Result<Self> {
        let git = |arguments: &[&str]| {
            first_line(
                Command::new("git")
                    .current_dir(workspace.root())
                    .args(arguments),
            )
        };
        let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
        let commit = git(&["rev-parse", "--short=12", "HEAD"])
            .map(|commit| if dirty { commit + "+" } else { commit });
        let lines = Build::read(workspace)?.lines(workspace)?;
        Ok(Self {
            commit,
            measured_sha256: hashed(workspace, lines, measured_files(workspace)?)?,
        })
    }
}

/// SHA-256 over the sources of a backend.
///
/// # Errors
/// Fails where one cannot be read.
pub fn sources_sha256(workspace: &Workspace, backend: &Backend) -> Result<String> {
    let mut files = vec![backend.dir.join("Cargo.toml")];
    collect(&backend.dir.join("src"), &mut files)?;
    files.sort();
    hashed(workspace, Vec::new(), files)
}

/// SHA-256, in hexadecimal, over lines and then over files by their paths in the workspace.
fn hashed(workspace: &Workspace, lines: Vec<String>, files: Vec<PathBuf>) -> Result<String> {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes);
        hash.update([0]);
    };
    for line in lines {
        add(line.as_bytes());
    }
    for file in files {
        let relative = file.strip_prefix(workspace.root()).unwrap_or(&file);
        add(relative.to_string_lossy().as_bytes());
        let contents = std::fs::read(&file);
        add(&contents.with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// SHA-256 over the files of a folder and over others, without what Python has compiled.
///
/// # Errors
/// Fails where one cannot be read.
pub fn folder_sha256(workspace: &Workspace, folder: &Path, others: &[PathBuf]) -> Result<String> {
    let mut files = others.to_vec();
    collect(folder, &mut files)?;
    files.retain(|file| file.components().all(|c| c.as_os_str() != "__pycache__"));
    files.sort();
    hashed(workspace, Vec::new(), files)
}

fn measured_files(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let root = workspace.root();
    let mut files = vec![root.join("fixtures/manifest.toml")];
    for crate_ in LINKED {
        collect(&root.join("suite").join(crate_).join("src"), &mut files)?;
    }
    for engine in workspace.engines()? {
        files.push(engine.dir.join("Cargo.toml"));
        let optional = ["build.rs", "native.toml"].map(|name| engine.dir.join(name));
        files.extend(optional.into_iter().filter(|path| path.is_file()));
        for folder in ["src", "shim"] {
            collect(&engine.dir.join(folder), &mut files)?;
        }
    }
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// What of the workspace decides how probes are built.
struct Build {
    packages: Vec<Package>,
    dependencies: BTreeMap<String, toml::Value>,
    profile: toml::Table,
}

/// A package of the lock file.
#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// Only our own have none.
    checksum: Option<String>,
    /// Names, with versions where there are several.
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Build {
    fn read(workspace: &Workspace) -> Result<Self> {
        #[derive(Deserialize)]
        struct Lock {
            package: Vec<Package>,
        }
        #[derive(Deserialize)]
        struct Manifest {
            workspace: Inherited,
            profile: toml::Table,
        }
        #[derive(Deserialize)]
        struct Inherited {
            dependencies: BTreeMap<String, toml::Value>,
        }
        let lock: Lock = read_toml(&workspace.root().join("Cargo.lock"))?;
        let manifest: Manifest = read_toml(&workspace.root().join("Cargo.toml"))?;
        Ok(Self {
            packages: lock.package,
            dependencies: manifest.workspace.dependencies,
            profile: manifest.profile,
        })
    }

    /// What engines are built from and how, a fact a line. What only the harness uses is not there.
    fn lines(&self, workspace: &Workspace) -> Result<Vec<String>> {
        let engines = workspace.engines()?.into_iter().map(|e| e.package);
        let linked = LINKED.iter().map(|name| format!("firstpass-{name}"));
        let reached = self.reached(engines.chain(linked).collect());
        let names: BTreeSet<&str> = reached.iter().map(|p| p.name.as_str()).collect();
        let inherited = self.dependencies.iter();
        let inherited = inherited.filter(|(name, _)| names.contains(name.as_str()));
        let packages = reached.iter().filter_map(|package| {
            let checksum = package.checksum.as_ref()?;
            Some(format!("{} {} {checksum}", package.name, package.version))
        });
        Ok(packages
            .chain(inherited.map(|(name, how)| format!("{name} = {how}")))
            .chain([self.profile.to_string()])
            .collect())
    }

    /// The packages that some of our own use, directly or through others, in the order of the lock
    /// file.
    fn reached(&self, own: BTreeSet<String>) -> Vec<&Package> {
        let is_named = |package: &Package, dependency: &str| match dependency.split_once(' ') {
            Some((name, version)) => package.name == name && package.version == version,
            None => package.name == dependency,
        };
        let mut found = vec![false; self.packages.len()];
        let mut next: Vec<usize> = (0..self.packages.len())
            .filter(|&at| own.contains(&self.packages[at].name))
            .collect();
        while let Some(at) = next.pop() {
            if std::mem::replace(&mut found[at], true) {
                continue;
            }
            for dependency in &self.packages[at].dependencies {
                let packages = self.packages.iter().enumerate();
                // Tests use the harness, which no probe links.
                next.extend(packages.filter_map(|(at, package)| {
                    let may = package.checksum.is_some() || own.contains(&package.name);
                    (may && is_named(package, dependency)).then_some(at)
                }));
            }
        }
        let packages = self.packages.iter().zip(found);
        packages
            .filter_map(|(p, found)| found.then_some(p))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_link_is_hashed_and_what_only_the_harness_uses_is_not() -> Result<()> {
        let workspace = Workspace::find()?;
        let build = Build::read(&workspace)?;
        let lines = build.lines(&workspace)?;
        let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
        for linked in ["safetensors 0.", "serde_json 1.", "rayon = ", "prost = "] {
            assert!(has(linked), "{linked}");
        }
        for other in ["plotters 0.", "firstpass-harness", "comfy-table = "] {
            assert!(!has(other), "{other}");
        }
        assert!(lines.iter().any(|line| line.contains("opt-level")));
        Ok(())
    }
}
