//! Whether a library is there, and the way to it.

use std::{
    fmt,
    path::{self, Path, PathBuf},
};

use anyhow::Result;

use crate::{
    manifest::{NativeLibrary, UserValue, UserVariable},
    stamp::Stamp,
};

/// Where a native library stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The user named a library of their own.
    ProvidedByUser {
        /// The variable that names it.
        variable: String,
        /// Where it is, if the variable says so.
        path: Option<PathBuf>,
    },
    /// The user named a library that is not there.
    NotFoundWhereNamed {
        /// The variable that names it.
        variable: String,
        /// Where nothing is.
        path: PathBuf,
    },
    /// It is installed, and nothing is missing.
    Installed {
        /// Where it is.
        directory: PathBuf,
    },
    /// It is not installed.
    Missing,
    /// Something is installed, but it is not, or no longer, what it should be.
    Damaged {
        /// What was noticed first.
        what: String,
    },
    /// No wheels are known for this platform.
    UnsupportedPlatform {
        /// What works here, and what does not.
        message: String,
    },
}

impl Status {
    /// Whether the backend can be built and run.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::ProvidedByUser { .. } | Self::Installed { .. })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProvidedByUser {
                variable,
                path: Some(path),
            } => {
                write!(f, "your own, {variable}={}", path.display())
            }
            Self::ProvidedByUser {
                variable,
                path: None,
            } => {
                write!(f, "your own, found by {variable}")
            }
            Self::NotFoundWhereNamed { variable, path } => {
                let path = path.display();
                write!(
                    f,
                    "{variable} names {path}, where nothing is; correct it or unset it"
                )
            }
            Self::Installed { directory } => write!(f, "installed in {}", directory.display()),
            Self::Missing => f.write_str("not installed"),
            Self::Damaged { what } => write!(f, "damaged: {what}"),
            Self::UnsupportedPlatform { message } => f.write_str(message),
        }
    }
}

impl NativeLibrary {
    /// Looks whether the library is there. Of what is installed it compares the sizes, which takes
    /// milliseconds; see [`verify`](Self::verify).
    pub fn status(&self, native_root: &Path) -> Status {
        self.look(native_root, Stamp::check_sizes)
    }

    /// Like [`status`](Self::status), but reads every installed file and compares its hash.
    pub fn verify(&self, native_root: &Path) -> Status {
        self.look(native_root, Stamp::check_contents)
    }

    /// The variables by which a child process finds the installed library. None where the user
    /// provides one, as the child inherits what says so.
    pub fn environment(&self, native_root: &Path) -> Vec<(String, PathBuf)> {
        if self.provided(native_root).is_some() {
            return Vec::new();
        }
        let directory = absolute(&self.directory(native_root));
        let variables = self.platform().map(|platform| &platform.environment);
        variables
            .into_iter()
            .flatten()
            .map(|(variable, path)| (variable.clone(), path.under(&directory)))
            .collect()
    }

    fn look(&self, native_root: &Path, check: fn(&Stamp, &Path) -> Result<()>) -> Status {
        if let Some(provided) = self.provided(native_root) {
            return provided;
        }
        let Some(platform) = self.platform() else {
            return Status::UnsupportedPlatform {
                message: self.unsupported(),
            };
        };
        let directory = absolute(&self.directory(native_root));
        if !directory.exists() {
            return Status::Missing;
        }
        let checked = self
            .pins(platform)
            .and_then(|pins| Stamp::read(&directory, &pins))
            .and_then(|stamp| check(&stamp, &directory));
        match checked {
            Ok(()) => Status::Installed { directory },
            Err(error) => Status::Damaged {
                what: format!("{error:#}"),
            },
        }
    }

    fn provided(&self, native_root: &Path) -> Option<Status> {
        self.provided_by_user
            .iter()
            .find_map(|user| self.provided_by(user, native_root))
    }

    fn provided_by(&self, user: &UserVariable, native_root: &Path) -> Option<Status> {
        let variable = user.variable.clone();
        let value = self.host.variable(&variable)?;
        if user.value == UserValue::Flag {
            return Some(Status::ProvidedByUser {
                variable,
                path: None,
            });
        }
        let path = PathBuf::from(value);
        // Cargo's configuration and `environment` set the same variables to what is installed
        // here: that is not the user's own.
        let ours = real(&self.directory(native_root));
        if path.as_os_str().is_empty() || real(&path).starts_with(ours) {
            return None;
        }
        // What is not absolute, the engine's binding or the dynamic linker looks up in its own way.
        Some(if path.is_absolute() && !path.exists() {
            Status::NotFoundWhereNamed { variable, path }
        } else {
            Status::ProvidedByUser {
                variable,
                path: Some(path),
            }
        })
    }

    fn unsupported(&self) -> String {
        let known: Vec<_> = self
            .platforms
            .iter()
            .map(|p| {
                format!(
                    "{} {}{}",
                    p.os,
                    p.arch,
                    if p.tested { "" } else { " (untested)" }
                )
            })
            .collect();
        let variables: Vec<_> = self
            .provided_by_user
            .iter()
            .map(|u| u.variable.as_str())
            .collect();
        format!(
            "{self} cannot be set up on {} {}, only on {}. Backends without a native.toml work on \
             every platform. For this one, install {self} yourself and name it by {}",
            self.host.os,
            self.host.arch,
            known.join(", "),
            variables.join(" or "),
        )
    }
}

/// The path from the root, without asking the file system: what cargo's configuration gives too.
fn absolute(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.into())
}

/// The path without symbolic links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = absolute(path);
    path.canonicalize()
        .unwrap_or_else(|_| match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => real(parent).join(name),
            _ => path,
        })
}
