//! Where things are: the checkout that one stands in, or what `firstpass engines add` has installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    engine::{Backend, Origin},
    own_model::OwnModels,
};

/// Names the folder of installed engines, in place of the usual one.
pub const HOME: &str = "FIRSTPASS_HOME";

/// A checkout of Firstpass; or the folder of installed engines, which is laid out like one and holds no sources.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    kind: Kind,
    own_models: OwnModels,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Checkout,
    Installed,
}

impl Workspace {
    /// For the command: the checkout that one stands in, or whose cargo runs this; elsewhere what is installed,
    /// even where that is nothing yet.
    ///
    /// # Errors
    /// Fails where there is no checkout and the user has no home.
    pub fn here() -> Result<Self> {
        match around(&standing()) {
            Some(checkout) => Ok(checkout),
            None => Self::installed(),
        }
    }

    /// For a crate that uses Firstpass as a library: as [`Workspace::here`]; where no engine is installed, the
    /// checkout that this crate was compiled from, unless that is one of cargo's own copies.
    ///
    /// # Errors
    /// Fails where no engine is found, and says how one is installed.
    pub fn find() -> Result<Self> {
        Self::found(
            &standing(),
            Self::installed(),
            Path::new(env!("CARGO_MANIFEST_DIR")),
        )
    }

    fn found(standing: &[PathBuf], installed: Result<Self>, compiled: &Path) -> Result<Self> {
        if let Some(checkout) = around(standing) {
            return Ok(checkout);
        }
        if let Ok(installed) = &installed
            && !installed.backends()?.is_empty()
        {
            return Ok(installed.clone());
        }
        if !is_of_cargo(compiled)
            && let Some(checkout) = around(&[compiled.to_owned()])
        {
            return Ok(checkout);
        }
        bail!(
            "no engine is installed{}: install the command with `cargo install` from a checkout or repository of \
             Firstpass (package firstpass-harness), and engines with `firstpass engines add NAME`",
            installed.map_or_else(|_| String::new(), |i| format!(" in {}", i.root.display()))
        )
    }

    /// The folder of installed engines: `$FIRSTPASS_HOME`, by default the folder for data of this user, on Linux
    /// `~/.local/share/firstpass`. Nothing need lie there.
    ///
    /// # Errors
    /// Fails where the user has no home.
    pub fn installed() -> Result<Self> {
        let root = match std::env::var_os(HOME).filter(|home| !home.is_empty()) {
            Some(home) => std::path::absolute(home).context("FIRSTPASS_HOME is no path")?,
            None => firstpass_probe::data_folder()?,
        };
        ensure!(
            root.is_dir() || !root.exists(),
            "{} is no folder: name one for installed engines in {HOME}",
            root.display()
        );
        Ok(Self {
            root,
            kind: Kind::Installed,
            own_models: OwnModels::default(),
        })
    }

    /// The checkout that this program was compiled from, where engines are installed from.
    ///
    /// # Errors
    /// Fails where it is gone.
    pub fn compiled_from() -> Result<Self> {
        let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
        around(&[compiled.to_owned()]).with_context(|| {
            format!(
                "the sources of Firstpass are no longer where this program was built, at {}: name a checkout with \
                 --from",
                compiled.display()
            )
        })
    }

    /// The checkout in this folder, which need not hold anything yet.
    pub fn at(root: PathBuf) -> Self {
        Self {
            root,
            kind: Kind::Checkout,
            own_models: OwnModels::default(),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether engines are built here from their sources.
    pub fn is_checkout(&self) -> bool {
        self.kind == Kind::Checkout
    }

    /// Where this is a checkout, nothing; else why the command cannot do its work.
    ///
    /// # Errors
    /// Fails where one stands in no checkout.
    pub fn needs_checkout(&self, command: &str) -> Result<()> {
        ensure!(
            self.is_checkout(),
            "`firstpass {command}` works on a checkout of Firstpass, and this folder is in none; for a model of your \
             own there is `firstpass check MODEL`"
        );
        Ok(())
    }

    pub fn fixtures(&self) -> PathBuf {
        self.root.join("fixtures")
    }

    /// The recommended settings of each backend, which need not be there.
    pub fn tuned(&self) -> PathBuf {
        self.root.join("tuned.toml")
    }

    /// Where reports go: `reports` of a checkout, elsewhere `firstpass` in the present folder.
    pub fn reports(&self) -> PathBuf {
        match self.kind {
            Kind::Checkout => self.root.join("reports"),
            Kind::Installed => "firstpass".into(),
        }
    }

    /// Where reports on models of the user's own go, each in a folder of its name.
    pub fn checks(&self) -> PathBuf {
        match self.kind {
            Kind::Checkout => self.reports().join("check"),
            Kind::Installed => self.reports(),
        }
    }

    /// Where the models of the user's own are described that this command was given.
    pub fn own_models(&self) -> &OwnModels {
        &self.own_models
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
        if self.kind == Kind::Installed && !folder.is_dir() {
            return Ok(Vec::new());
        }
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        let mut backends = Vec::new();
        for entry in entries {
            let entry = entry?;
            let dir = entry.path();
            // What is being installed has a name with a dot.
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !is_hidden && dir.join("Cargo.toml").is_file() {
                let mut backend = Backend::read(&dir)?;
                if self.kind == Kind::Installed {
                    backend.origin = Origin::Installed;
                }
                backends.push(backend);
            }
        }
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(backends)
    }
}

/// Where one stands: the folder of the crate that cargo runs, if it does, and the present folder.
fn standing() -> Vec<PathBuf> {
    let running = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    running.into_iter().chain(std::env::current_dir()).collect()
}

/// The first checkout around one of these folders.
fn around(folders: &[PathBuf]) -> Option<Workspace> {
    let folders = folders.iter().flat_map(|folder| folder.ancestors());
    let mut folders = folders.filter(|folder| !is_of_cargo(folder));
    let is_checkout = |root: &&Path| {
        ["backends", "fixtures", "suite/harness"]
            .iter()
            .all(|folder| root.join(folder).is_dir())
    };
    let root = folders.find(is_checkout)?;
    Some(Workspace::at(root.into()))
}

/// Whether cargo keeps this folder, in which nothing may be built or written.
fn is_of_cargo(folder: &Path) -> bool {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let homes = home.into_iter().chain(user);
    homes
        .flat_map(|home| ["git", "registry"].map(|kept| home.join(kept)))
        .any(|kept| folder.starts_with(kept))
}

/// Reads a TOML file; the error names the file, and the line where it is malformed.
pub fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = crate::regular_file::read_text(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not as expected", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(below: &Path, folders: &[&str]) -> Result<()> {
        for folder in folders {
            std::fs::create_dir_all(below.join(folder))?;
        }
        Ok(())
    }

    fn installed(root: &Path) -> Result<Workspace> {
        Ok(Workspace {
            root: root.into(),
            kind: Kind::Installed,
            own_models: OwnModels::default(),
        })
    }

    #[test]
    fn engines_of_the_checkout_come_before_installed_ones_and_these_before_the_compiled()
    -> Result<()> {
        let place = tempfile::tempdir()?;
        let (checkout, home) = (place.path().join("checkout"), place.path().join("home"));
        let own = place.path().join("own/src");
        folder(&checkout, &["backends", "fixtures", "suite/harness/src"])?;
        folder(place.path(), &["own/src"])?;
        let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));

        let below = checkout.join("suite/harness/src");
        let found = Workspace::found(&[below], installed(&home), compiled)?;
        assert_eq!(found.root(), checkout);

        // Nothing is installed.
        let found = Workspace::found(std::slice::from_ref(&own), installed(&home), compiled)?;
        assert!(compiled.starts_with(found.root()));

        folder(&home, &["backends/some"])?;
        let manifest = "[package]\nname = \"firstpass-some\"\n";
        std::fs::write(home.join("backends/some/Cargo.toml"), manifest)?;
        let found = Workspace::found(&[own], installed(&home), compiled)?;
        assert_eq!(found.root(), home);
        let [engine] = &found.backends()?[..] else {
            panic!("one engine is installed")
        };
        let binary = home.join("backends/some/bin/firstpass-some");
        assert_eq!(engine.binary(), Some(binary));
        Ok(())
    }

    #[test]
    fn without_any_engine_it_is_said_how_one_is_installed() -> Result<()> {
        let place = tempfile::tempdir()?;
        let gone = place.path().join("gone");
        let error = Workspace::found(&[place.path().into()], installed(&gone), &gone)
            .expect_err("there is none");
        assert!(
            error.to_string().contains("firstpass engines add"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn copies_of_cargo_are_no_place_to_build_in() {
        let Some(home) = std::env::var_os("CARGO_HOME").or_else(|| std::env::var_os("HOME")) else {
            return;
        };
        let home = match std::env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => PathBuf::from(home).join(".cargo"),
        };
        assert!(is_of_cargo(
            &home.join("git/checkouts/firstpass/1234/suite/trial")
        ));
        assert!(!is_of_cargo(&home.join("bin")));
        assert!(!is_of_cargo(Path::new(env!("CARGO_MANIFEST_DIR"))));
    }

    #[test]
    fn what_needs_a_checkout_says_so() -> Result<()> {
        let place = tempfile::tempdir()?;
        let error = installed(place.path())?
            .needs_checkout("bench")
            .expect_err("no checkout");
        assert!(error.to_string().contains("`firstpass bench`"), "{error}");
        Workspace::at(place.path().into()).needs_checkout("bench")
    }
}
