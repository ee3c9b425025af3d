//! An engine, as the folder says that describes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use firstpass_native::{NativeLibrary, sha256_of_file};
use serde::Deserialize;

use crate::{known::Known, processor::Processor, workspace::read_toml};

/// A backend: one folder of `backends/`, or a program of the user's own.
#[derive(Debug, Clone)]
pub struct Backend {
    /// The folder's name; of another version `NAME@VERSION`.
    pub name: String,
    pub dir: PathBuf,
    /// The cargo package, whose probe has the same name.
    pub package: String,
    /// The native library that it needs, if any.
    pub native: Option<NativeLibrary>,
    /// Whether it is one to choose for its speed. A referee is not: it says who is right, and takes
    /// its time (`[package.metadata.firstpass] referee = true`).
    pub is_referee: bool,
    /// The engine that it is of: its own name, but where several folders are ways to use one engine
    /// (`[package.metadata.firstpass] engine = "…"`).
    pub engine: String,
    pub origin: Origin,
    /// Where the user has the native library themselves: variables with their values.
    pub library: Vec<(String, PathBuf)>,
    /// Where its probe runs on another processor than this machine's.
    pub processor: Option<Processor>,
}

/// How the probe of a backend comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Cargo builds it from its folder in a checkout.
    Checkout,
    /// It lies in `bin` of its folder.
    Installed,
    /// The user has named it; nothing is known of it but what it says.
    Program(PathBuf),
}

/// The name of the engine that `NAME@VERSION` is a version of.
pub fn base(name: &str) -> &str {
    name.split_once('@').map_or(name, |(base, _)| base)
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
            engine: Option<String>,
        }
        let manifest: Manifest = read_toml(&dir.join("Cargo.toml"))?;
        let name = dir
            .file_name()
            .and_then(|n| n.to_str())
            .with_context(|| format!("{} has no readable name", dir.display()))?;
        let role = manifest.package.metadata.firstpass;
        Ok(Self {
            name: name.into(),
            dir: dir.into(),
            package: manifest.package.name,
            native: NativeLibrary::read(dir)?,
            is_referee: role.referee,
            engine: role.engine.unwrap_or_else(|| name.into()),
            origin: Origin::Checkout,
            library: Vec::new(),
            processor: None,
        })
    }

    /// A program that speaks the protocol of probes.
    ///
    /// # Errors
    /// Fails where it is no file that may be run.
    pub fn program(name: &str, program: &Path) -> Result<Self> {
        check_program(program).with_context(|| {
            format!("the engine {name} is no program; name one as in {name}=./program")
        })?;
        let program = std::path::absolute(program)?;
        Ok(Self {
            name: name.into(),
            dir: program.parent().unwrap_or(&program).into(),
            package: name.into(),
            native: None,
            is_referee: false,
            engine: name.into(),
            origin: Origin::Program(program),
            library: Vec::new(),
            processor: None,
        })
    }

    /// The probe, where it is not to be built.
    pub fn binary(&self) -> Option<PathBuf> {
        match &self.origin {
            Origin::Checkout => None,
            Origin::Installed => Some(self.dir.join("bin").join(&self.package)),
            Origin::Program(program) => Some(program.clone()),
        }
    }

    /// Where it comes from, with hashes; `None` for one that is here, in its pinned version.
    ///
    /// # Errors
    /// Fails on a file that cannot be read.
    pub fn source(&self) -> Result<Option<String>> {
        let file = |path: &Path| -> Result<String> {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok(format!("{name}, sha256 {}", sha256_of_file(path)?))
        };
        if let Origin::Program(program) = &self.origin {
            return Ok(Some(format!("the program {}", file(program)?)));
        }
        if let Some((variable, path)) = self.library.first() {
            let found = match path.is_file() {
                true => file(path)?,
                false => "a folder".into(),
            };
            return Ok(Some(format!(
                "a library of the user's own, {variable}: {found}"
            )));
        }
        let wheels = self.native.iter().filter(|_| self.base() != self.name);
        let wheels: Vec<String> = wheels
            .flat_map(|native| native.wheels())
            .map(|(name, sha256)| format!("the wheel {name}, sha256 {sha256}"))
            .collect();
        Ok((!wheels.is_empty()).then(|| wheels.join("; ")))
    }

    /// The engine that this is a version of; itself where it is none.
    pub fn base(&self) -> &str {
        base(&self.name)
    }

    /// The divergences declared in the backend's `known.toml`; none where there is no such file.
    ///
    /// # Errors
    /// Fails on a file that cannot be read.
    pub fn known(&self) -> Result<Known> {
        let path = self.dir.join("known.toml");
        if path.is_file() && !matches!(self.origin, Origin::Program(_)) {
            let known: Known = read_toml(&path)?;
            Ok(match self.base() == self.name {
                true => known,
                false => known.of_version(&self.name),
            })
        } else {
            Ok(Known::default())
        }
    }
}

/// Whether this is a program of the user's own, as far as one can tell without running it.
///
/// # Errors
/// Fails where it is no file that may be run, and says what it is instead.
pub fn check_program(program: &Path) -> Result<()> {
    let at = program.display();
    let metadata = match std::fs::metadata(program) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no file {at}")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot look at {at}")),
    };
    ensure!(
        !metadata.is_dir(),
        "{at} is a folder: name the program in it"
    );
    ensure!(
        metadata.is_file(),
        "{at} is a pipe or a device, and no program"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        ensure!(
            metadata.permissions().mode() & 0o111 != 0,
            "{at} may not be run: `chmod +x` lets it"
        );
    }
    Ok(())
}
