//! Which state of the code measured, kept beside every record.
//!
//! A state is a list of parts, each with a hash of what it means to a measured process. A comment, a
//! unit test, a file that no probe links and a dependency of tests only are no parts.

mod packages;
mod sources;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use firstpass_trial::{
    engine::Backend,
    machine::first_line,
    workspace::{Workspace, read_toml},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::packages::Packages;

/// The folders of the fixtures whose files processes read. The models were made from the others, and a
/// page compares with the golden outputs whenever it is rendered.
const MEASURED_FIXTURES: [&str; 3] = ["images", "models", "saturation"];

/// A state of the code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The commit, with `+` where the working tree differed from it.
    pub commit: Option<String>,
    /// SHA-256 over the parts. A record is of the code as it stands as long as it is the same.
    pub measured_sha256: String,
    /// Everything that a measured process is built from or reads, by name: each source, manifest, crate
    /// and fixture, with the first 16 hexadecimal digits of a SHA-256. Older records have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
}

impl Code {
    /// # Errors
    /// Fails where a source, a manifest or the list of fixtures cannot be read.
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
        let parts = measured_parts(workspace)?;
        Ok(Self {
            commit,
            measured_sha256: sha256_over(&parts),
            parts,
        })
    }

    /// The names of the parts that differ between this state and the present one. `None` where none
    /// does; an empty list where some do and it cannot be told which.
    ///
    /// An older state has no parts. It differs in the files that git knows to have changed since.
    pub fn changes(&self, workspace: &Workspace, now: &Self) -> Option<Vec<String>> {
        if self.measured_sha256 == now.measured_sha256 {
            return None;
        }
        if self.parts.is_empty() {
            let files = now.parts.keys().filter(|name| name.contains('/'));
            // These stand for the crates, and for the profile.
            let files = files
                .map(String::as_str)
                .chain(["Cargo.lock", "Cargo.toml"]);
            return self.changed_files(workspace, files);
        }
        let names = self.parts.keys().chain(now.parts.keys());
        let mut names: Vec<String> = names
            .filter(|name| self.parts.get(*name) != now.parts.get(*name))
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        Some(names)
    }

    /// The files below these paths, relative to the workspace, that git knows to have changed since the
    /// commit of this state. `None` where none has; an empty list where git does not know the commit.
    ///
    /// What the working tree had beyond the commit (`+`) was committed after that, with the record.
    pub fn changed_files(
        &self,
        workspace: &Workspace,
        paths: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Option<Vec<String>> {
        let commit = self.commit.as_deref().unwrap_or_default();
        let output = Command::new("git")
            .current_dir(workspace.root())
            .args(["--literal-pathspecs", "diff", "--name-only", "--relative"])
            .args([commit.trim_end_matches('+'), "--"])
            .args(paths)
            .output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            return Some(Vec::new());
        };
        let files = String::from_utf8_lossy(&output.stdout);
        let files: Vec<String> = files.lines().map(str::to_owned).collect();
        (!files.is_empty()).then_some(files)
    }
}

/// SHA-256 over what a backend is built from, by meaning, without the packages that it uses.
///
/// # Errors
/// Fails where a source or a manifest cannot be read.
pub fn sources_sha256(workspace: &Workspace, backend: &Backend) -> Result<String> {
    let packages = Packages::read(workspace.root())?;
    let parts = package_parts(workspace.root(), &packages, &backend.dir)?;
    Ok(sha256_over(&parts))
}

/// SHA-256 over the files of a folder without what Python has compiled, and over the fixtures below a
/// folder of these.
///
/// # Errors
/// Fails where a file or the list of fixtures cannot be read.
pub fn folder_sha256(workspace: &Workspace, folder: &Path, fixtures: &str) -> Result<String> {
    let mut parts = fixture_parts(workspace, &[fixtures])?;
    for file in files_below(folder)? {
        if file.components().all(|c| c.as_os_str() != "__pycache__") {
            parts.insert(name(workspace.root(), &file), hash_of_file(&file)?);
        }
    }
    Ok(sha256_over(&parts))
}

fn measured_parts(workspace: &Workspace) -> Result<BTreeMap<String, String>> {
    if !workspace.is_checkout() {
        return installed_parts(workspace);
    }
    let packages = Packages::read(workspace.root())?;
    let engines = workspace.engines()?.into_iter().map(|engine| engine.dir);
    let linked = packages.linked(engines.collect())?;
    let mut parts = linked.parts;
    for folder in linked.own {
        let folder = workspace.root().join(folder);
        parts.extend(package_parts(workspace.root(), &packages, &folder)?);
    }
    parts.extend(fixture_parts(workspace, &MEASURED_FIXTURES)?);
    Ok(parts)
}

/// Installed engines have no sources: their probes stand for these.
fn installed_parts(workspace: &Workspace) -> Result<BTreeMap<String, String>> {
    let engines = workspace.engines()?.into_iter();
    let binaries = engines.filter_map(|engine| Some((engine.binary()?, engine.name)));
    binaries
        .filter(|(binary, _)| binary.is_file())
        .map(|(binary, name)| Ok((format!("installed {name}"), hash_of_file(&binary)?)))
        .collect()
}

/// What one of our own packages is built from, without the packages that it uses.
fn package_parts(
    root: &Path,
    packages: &Packages,
    folder: &Path,
) -> Result<BTreeMap<String, String>> {
    let manifest = folder.join("Cargo.toml");
    let mut files = BTreeMap::from([(manifest, packages.manifest(folder)?)]);
    for crate_root in ["src/lib.rs", "src/main.rs", "build.rs"] {
        let crate_root = folder.join(crate_root);
        if crate_root.is_file() {
            files.extend(sources::hashes(&crate_root)?);
        }
    }
    let native = folder.join("native.toml");
    if native.is_file() {
        let value: toml::Table = read_toml(&native)?;
        files.insert(native, short_hash(&serde_json::to_vec(&value)?));
    }
    for file in files_below(&folder.join("shim"))? {
        let hash = hash_of_file(&file)?;
        files.insert(file, hash);
    }
    let named = files.into_iter();
    Ok(named
        .map(|(file, hash)| (name(root, &file), hash))
        .collect())
}

fn fixture_parts(workspace: &Workspace, folders: &[&str]) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Manifest {
        file: Vec<Fixture>,
    }
    #[derive(Deserialize)]
    struct Fixture {
        path: PathBuf,
        sha256: String,
    }
    let manifest: Manifest = read_toml(&workspace.fixtures().join("manifest.toml"))?;
    let fixtures = manifest.file.into_iter();
    let wanted = fixtures.filter(|f| folders.iter().any(|folder| f.path.starts_with(folder)));
    Ok(wanted
        .map(|f| {
            let file = workspace.fixtures().join(f.path);
            (name(workspace.root(), &file), short(f.sha256))
        })
        .collect())
}

/// The name of a file's part.
fn name(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).unwrap_or(file);
    path.to_string_lossy().into_owned()
}

fn sha256_over(parts: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (name, part) in parts {
        for text in [name, part] {
            hash.update(text);
            hash.update([0]);
        }
    }
    hexadecimal(&hash.finalize())
}

fn hash_of_file(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(short_hash(&bytes))
}

/// The hash of one part.
fn short_hash(bytes: &[u8]) -> String {
    short(hexadecimal(&Sha256::digest(bytes)))
}

fn short(mut sha256: String) -> String {
    sha256.truncate(16);
    sha256
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files in and below a folder; none where there is no such folder.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
