//! The packages that probes are built from, and how: what of the manifests and of the lock file
//! decides it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_trial::workspace::read_toml;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::short_hash;

/// The tables of a manifest that name what a package is built from. What its tests use is not there.
const DEPENDENCIES: [&str; 2] = ["dependencies", "build-dependencies"];

/// The manifest and the lock file of a workspace.
pub(super) struct Packages {
    root: PathBuf,
    manifest: Table,
    locked: Vec<Locked>,
}

/// What some packages of the workspace are built from.
pub(super) struct Linked {
    /// The folders of the workspace's own packages, below its root.
    pub own: BTreeSet<PathBuf>,
    /// A hash for each other package, and for the release profile.
    pub parts: BTreeMap<String, String>,
}

/// A package of the lock file.
#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    /// The workspace's own packages have no source and no checksum.
    source: Option<String>,
    checksum: Option<String>,
    /// Names, with versions where there are several.
    #[serde(default)]
    dependencies: Vec<String>,
}

/// A dependency of one of the workspace's own packages.
#[derive(Serialize)]
struct Dependency {
    /// The table that names it.
    table: String,
    key: String,
    /// What the package itself says, and what the workspace says where the package inherits that.
    said: [Option<Value>; 2],
}

impl Packages {
    /// # Errors
    /// Fails where one of the two files cannot be read.
    pub(super) fn read(root: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Lock {
            package: Vec<Locked>,
        }
        let lock: Lock = read_toml(&root.join("Cargo.lock"))?;
        Ok(Self {
            root: root.canonicalize()?,
            manifest: read_toml(&root.join("Cargo.toml"))?,
            locked: lock.package,
        })
    }

    /// All that the packages in these folders are built from, themselves included.
    ///
    /// # Errors
    /// Fails where a manifest cannot be read, or the lock file does not have its package.
    pub(super) fn linked(&self, folders: Vec<PathBuf>) -> Result<Linked> {
        let mut own = BTreeMap::new();
        let mut used = BTreeSet::new();
        let mut next = folders;
        while let Some(folder) = next.pop() {
            let folder = folder.canonicalize()?;
            if own.contains_key(&folder) {
                continue;
            }
            let manifest: Table = read_toml(&folder.join("Cargo.toml"))?;
            let dependencies = self.dependencies(&manifest);
            let mut names = BTreeSet::new();
            for dependency in &dependencies {
                match dependency.folder(self, &folder) {
                    Some(folder) => next.push(folder),
                    None => {
                        names.insert(dependency.package());
                    }
                }
            }
            let name = manifest
                .get("package")
                .and_then(|p| p.get("name")?.as_str());
            let mut of_workspace = self.locked.iter().filter(|l| l.source.is_none());
            let locked = of_workspace
                .find(|l| Some(l.name.as_str()) == name)
                .with_context(|| format!("Cargo.lock lacks the package in {}", folder.display()))?;
            for dependency in &locked.dependencies {
                // The lock file has among them what tests use.
                if names.contains(first_word(dependency)) {
                    used.extend(self.named(dependency));
                }
            }
            own.insert(folder, locked.name.as_str());
        }
        let mut next: Vec<usize> = used.iter().copied().collect();
        while let Some(at) = next.pop() {
            for dependency in &self.locked[at].dependencies {
                next.extend(self.named(dependency).filter(|at| used.insert(*at)));
            }
        }
        let used: Vec<&Locked> = used.into_iter().map(|at| &self.locked[at]).collect();
        let names = used.iter().map(|l| l.name.as_str());
        let names = names.chain(own.values().copied()).collect();
        let mut parts: BTreeMap<String, String> = used.iter().map(|l| l.part()).collect();
        parts.insert("release profile".into(), self.profile(&names)?);
        let below_root = |folder: PathBuf| folder.strip_prefix(&self.root).map(Path::to_owned);
        let own = own.into_keys().map(below_root);
        let own = own.collect::<Result<_, _>>();
        Ok(Linked {
            own: own.context("a probe links a package that is not below the workspace")?,
            parts,
        })
    }

    /// The hash of what of the manifest in a folder decides how the package is built.
    ///
    /// # Errors
    /// Fails where the manifest cannot be read.
    pub(super) fn manifest(&self, folder: &Path) -> Result<String> {
        let manifest: Table = read_toml(&folder.join("Cargo.toml"))?;
        let tables = ["features", "lib", "bin"].map(|name| manifest.get(name));
        let package = |name| {
            let said = manifest.get("package")?.get(name)?;
            Some([Some(said), self.inherited(said, "package", name)])
        };
        let package = ["edition", "build", "links"].map(package);
        let dependencies = self.dependencies(&manifest);
        let meaning = serde_json::to_vec(&(tables, package, dependencies))?;
        Ok(short_hash(&meaning))
    }

    /// What a manifest's package is built from; of build scripts and of single targets as well.
    fn dependencies(&self, manifest: &Table) -> Vec<Dependency> {
        let mut dependencies = Vec::new();
        let mut add = |prefix: &str, tables: &Table| {
            for table in DEPENDENCIES {
                let entries = tables.get(table).and_then(Value::as_table);
                dependencies.extend(entries.into_iter().flatten().map(|(key, said)| {
                    Dependency {
                        table: format!("{prefix}{table}"),
                        key: key.clone(),
                        said: [Some(said), self.inherited(said, "dependencies", key)]
                            .map(Option::<&Value>::cloned),
                    }
                }));
            }
        };
        add("", manifest);
        let targets = manifest.get("target").and_then(Value::as_table);
        for (target, tables) in targets.into_iter().flatten() {
            if let Some(tables) = tables.as_table() {
                add(&format!("{target}."), tables);
            }
        }
        dependencies
    }

    /// What the workspace says where a package says `workspace = true`.
    fn inherited(&self, said: &Value, table: &str, key: &str) -> Option<&Value> {
        said.get("workspace")?;
        self.manifest.get("workspace")?.get(table)?.get(key)
    }

    /// Where in the lock file the packages are that an entry of it names.
    fn named(&self, dependency: &str) -> impl Iterator<Item = usize> {
        // A third word is the source.
        let mut words = dependency.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let is_named = move |l: &Locked| l.name == name && version.is_none_or(|v| l.version == v);
        let all = self.locked.iter().enumerate();
        all.filter_map(move |(at, locked)| is_named(locked).then_some(at))
    }

    /// The hash of the profile that probes are built in, without what it says of packages that they do
    /// not link.
    fn profile(&self, linked: &BTreeSet<&str>) -> Result<String> {
        let profile = self.manifest.get("profile").and_then(|p| p.get("release"));
        let mut profile = profile.cloned();
        let packages = profile.as_mut().and_then(|p| p.get_mut("package"));
        if let Some(packages) = packages.and_then(Value::as_table_mut) {
            packages.retain(|spec, _| {
                spec == "*" || linked.contains(spec.split(['@', ':']).next().unwrap_or(spec))
            });
        }
        Ok(short_hash(&serde_json::to_vec(&profile)?))
    }
}

impl Locked {
    fn part(&self) -> (String, String) {
        let contents = self.checksum.as_ref().or(self.source.as_ref());
        let hash = short_hash(contents.map_or(&[][..], |text| text.as_bytes()));
        (format!("crate {} {}", self.name, self.version), hash)
    }
}

impl Dependency {
    fn get(&self, key: &str) -> Option<&str> {
        let mut said = self.said.iter().flatten();
        said.find_map(|value| value.get(key)?.as_str())
    }

    /// The name of its package, which the manifest may have renamed.
    fn package(&self) -> &str {
        self.get("package").unwrap_or(&self.key)
    }

    /// Where it lies, if it is a package of the workspace.
    fn folder(&self, packages: &Packages, dependent: &Path) -> Option<PathBuf> {
        let path = self.get("path")?;
        let is_inherited = self.said[1].is_some();
        let from = if is_inherited {
            &packages.root
        } else {
            dependent
        };
        Some(from.join(path))
    }
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}
