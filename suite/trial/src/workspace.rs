//! Where things are: the folders of the workspace and the backends found in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use firstpass_native::NativeLibrary;
use serde::Deserialize;

use crate::known::Known;

/// The checkout that this command belongs to.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

/// One folder of `backends/`.
#[derive(Debug, Clone)]
pub struct Backend {
    /// The folder's name.
    pub name: String,
    pub dir: PathBuf,
    /// The cargo package, whose probe has the same name.
    pub package: String,
    /// The native library that it needs, if any.
    pub native: Option<NativeLibrary>,
    /// Whether it is one to choose for its speed. A referee is not: it says who is right, and takes
    /// its time (`[package.metadata.firstpass] referee = true`).
    pub is_referee: bool,
}

impl Workspace {
    /// Finds the workspace from the folder of the crate that runs, as cargo gives it at run time, so that
    /// a checkout may be moved; else, in a crate outside of it, from where this crate was compiled.
    ///
    /// # Errors
    /// Fails where the folders `backends` and `fixtures` are not found.
    pub fn find() -> Result<Self> {
        let running = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        Self::above(running.as_deref(), Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    /// The checkout above one of these folders.
    fn above(running: Option<&Path>, compiled: &Path) -> Result<Self> {
        for folder in running.into_iter().chain([compiled]) {
            for root in folder.ancestors() {
                if root.join("backends").is_dir() && root.join("fixtures").is_dir() {
                    return Ok(Self { root: root.into() });
                }
            }
        }
        bail!(
            "the checkout of Firstpass is no longer where this program was built, at {}, and {}: probes are built \
             from it. Go to a checkout and run `cargo firstpass …` there; models and samples may lie anywhere and are \
             given by their paths",
            compiled.display(),
            match running {
                Some(folder) => format!("{} is of another project", folder.display()),
                None => "no project of Cargo runs it".into(),
            }
        )
    }

    /// The checkout in this folder, which need not hold anything yet.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn fixtures(&self) -> PathBuf {
        self.root.join("fixtures")
    }

    /// The recommended settings of each backend, which need not be there.
    pub fn tuned(&self) -> PathBuf {
        self.root.join("tuned.toml")
    }

    pub fn reports(&self) -> PathBuf {
        self.root.join("reports")
    }

    /// Where fetched native libraries lie.
    pub fn native(&self) -> PathBuf {
        self.root.join(".native")
    }

    /// The backends whose speed is of interest, by name: all but referees.
    ///
    /// # Errors
    /// Fails on a manifest that cannot be read.
    pub fn engines(&self) -> Result<Vec<Backend>> {
        let mut backends = self.backends()?;
        backends.retain(|backend| !backend.is_referee);
        Ok(backends)
    }

    /// Every backend, by name: each folder of `backends/` with a `Cargo.toml`.
    ///
    /// # Errors
    /// Fails on a manifest that cannot be read.
    pub fn backends(&self) -> Result<Vec<Backend>> {
        let folder = self.root.join("backends");
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        let mut backends = Vec::new();
        for entry in entries {
            let dir = entry?.path();
            if dir.join("Cargo.toml").is_file() {
                backends.push(Backend::read(&dir)?);
            }
        }
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(backends)
    }
}

impl Backend {
    /// # Errors
    /// Fails where the folder's `Cargo.toml` or `native.toml` cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Manifest {
            package: Package,
        }
        #[derive(Deserialize)]
        struct Package {
            name: String,
            #[serde(default)]
            metadata: Metadata,
        }
        #[derive(Deserialize, Default)]
        struct Metadata {
            #[serde(default)]
            firstpass: Role,
        }
        #[derive(Deserialize, Default)]
        #[serde(deny_unknown_fields)]
        struct Role {
            #[serde(default)]
            referee: bool,
        }
        let manifest: Manifest = read_toml(&dir.join("Cargo.toml"))?;
        let name = dir
            .file_name()
            .and_then(|n| n.to_str())
            .with_context(|| format!("{} has no readable name", dir.display()))?;
        Ok(Self {
            name: name.into(),
            dir: dir.into(),
            package: manifest.package.name,
            native: NativeLibrary::read(dir)?,
            is_referee: manifest.package.metadata.firstpass.referee,
        })
    }

    /// The divergences declared in the backend's `known.toml`; none where there is no such file.
    ///
    /// # Errors
    /// Fails on a file that cannot be read.
    pub fn known(&self) -> Result<Known> {
        let path = self.dir.join("known.toml");
        if path.is_file() {
            read_toml(&path)
        } else {
            Ok(Known::default())
        }
    }
}

/// Reads a TOML file; the error names the file, and the line where it is malformed.
pub fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not as expected", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_of_the_users_own_is_told_where_to_go() -> Result<()> {
        let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
        let own = tempfile::tempdir()?;
        let found = Workspace::above(Some(own.path()), compiled)?;
        assert!(compiled.starts_with(found.root()));
        let gone = own.path().join("gone");
        for running in [None, Some(own.path())] {
            let error = Workspace::above(running, &gone).expect_err("there is none");
            assert!(
                error.to_string().contains("run `cargo firstpass …` there"),
                "{error}"
            );
        }
        Ok(())
    }
}
