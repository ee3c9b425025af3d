//! An engine as a user names it: by name, in another version, with a library of the user's own, or as a program.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Error, Result, bail, ensure};
use firstpass_native::Progress;

use crate::{engine::Backend, workspace::Workspace};

/// What stands after `--engine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineSpec {
    /// `NAME`: one that is here.
    Named(String),
    /// `NAME@VERSION`: its library in another version than the pinned one.
    Version { name: String, version: String },
    /// `NAME@LABEL:VARIABLE=PATH`: its library where a variable says, called `NAME@LABEL`.
    Library {
        name: String,
        label: String,
        variable: String,
        path: PathBuf,
    },
    /// `NAME=PROGRAM`: any program that speaks the protocol of probes.
    Program { name: String, program: PathBuf },
}

impl FromStr for EngineSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let at = text.find('@');
        let equals = text.find('=');
        match (at, equals) {
            (None, None) => Ok(Self::Named(text.into())),
            (Some(at), None) => Ok(Self::Version {
                name: text[..at].into(),
                version: text[at + 1..].into(),
            }),
            (Some(at), Some(equals)) if at < equals => {
                let (label, variable) = text[at + 1..equals].split_once(':').with_context(|| {
                    format!(
                        "{text:?} names no engine: write NAME@VERSION, or NAME@LABEL:VARIABLE=PATH for a library of \
                         your own"
                    )
                })?;
                check_name(label)?;
                Ok(Self::Library {
                    name: text[..at].into(),
                    label: label.into(),
                    variable: variable.into(),
                    path: text[equals + 1..].into(),
                })
            }
            (_, Some(equals)) => {
                let name = &text[..equals];
                check_name(name)?;
                Ok(Self::Program {
                    name: name.into(),
                    program: text[equals + 1..].into(),
                })
            }
        }
    }
}

/// The longest name of an engine, in bytes: names of files have more parts.
const LONGEST_NAME: usize = 64;

/// Names are names of files, and parts of tables.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        name.len() <= LONGEST_NAME
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(is_plain),
        "{name:?} is no name of an engine: use letters, digits, dots, hyphens and underscores, {LONGEST_NAME} at most"
    );
    Ok(())
}

/// The engines of these names; all but referees where none are named.
///
/// # Errors
/// Fails on a name that nothing here has, and on what cannot be another version or another program.
pub fn chosen_backends(workspace: &Workspace, names: &[String]) -> Result<Vec<Backend>> {
    let all = workspace.backends()?;
    if names.is_empty() {
        let engines: Vec<Backend> = all.into_iter().filter(|b| !b.is_referee).collect();
        ensure!(
            !engines.is_empty(),
            "no engine is installed in {}: `firstpass engines add NAME` installs one",
            workspace.root().display()
        );
        return Ok(engines);
    }
    let mut chosen: Vec<Backend> = Vec::new();
    for name in names {
        let engine = name
            .parse::<EngineSpec>()?
            .resolve(&all, &workspace.native())?;
        ensure!(
            chosen.iter().all(|other| other.name != engine.name),
            "the engine {} is named twice",
            engine.name
        );
        chosen.push(engine);
    }
    // As they are listed where none are named.
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(chosen)
}

impl EngineSpec {
    fn resolve(&self, all: &[Backend], native_root: &Path) -> Result<Backend> {
        match self {
            Self::Named(name) => named(all, name).cloned(),
            Self::Version { name, version } => {
                let base = named(all, name)?;
                let library = base.native.as_ref().with_context(|| {
                    format!(
                        "{name} is compiled into its probe, in the version of this checkout: install another version \
                         from another checkout"
                    )
                })?;
                // The pinned version is the pinned file.
                let native = match library.version() == version {
                    true => library.clone(),
                    false => library.at_version(version, native_root, &Progress::terminal())?,
                };
                Ok(Backend {
                    name: format!("{name}@{version}"),
                    native: Some(native),
                    ..base.clone()
                })
            }
            Self::Library {
                name,
                label,
                variable,
                path,
            } => {
                let base = named(all, name)?;
                let is_known = base
                    .native
                    .as_ref()
                    .is_some_and(|native| native.cargo_features().is_empty());
                ensure!(is_known, "{name} takes no library of another place");
                ensure!(
                    path.exists(),
                    "{name}@{label}: there is no file {}",
                    path.display()
                );
                Ok(Backend {
                    name: format!("{name}@{label}"),
                    library: vec![(variable.clone(), std::path::absolute(path)?)],
                    ..base.clone()
                })
            }
            Self::Program { name, program } => {
                if let Some(other) = all.iter().find(|other| other.name == *name) {
                    bail!(
                        "{} is an engine already: give your program another name",
                        other.name
                    );
                }
                Backend::program(name, program)
            }
        }
    }
}

fn named<'a>(all: &'a [Backend], name: &str) -> Result<&'a Backend> {
    all.iter().find(|b| b.name == name).with_context(|| {
        let known: Vec<&str> = all.iter().map(|b| b.name.as_str()).collect();
        format!("no engine {name:?}; there are: {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read() -> Result<()> {
        let read = |text: &str| text.parse::<EngineSpec>();
        assert_eq!(read("some")?, EngineSpec::Named("some".into()));
        assert_eq!(
            read("some@1.23.1")?,
            EngineSpec::Version {
                name: "some".into(),
                version: "1.23.1".into()
            }
        );
        assert_eq!(
            read("some@mine:SOME_LIB=/a=b@c.so")?,
            EngineSpec::Library {
                name: "some".into(),
                label: "mine".into(),
                variable: "SOME_LIB".into(),
                path: "/a=b@c.so".into()
            }
        );
        assert_eq!(
            read("own=./a@b")?,
            EngineSpec::Program {
                name: "own".into(),
                program: "./a@b".into()
            }
        );
        for wrong in ["some@mine=/a.so", "a/b=./c", "=x", "some@../x:V=/y"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn names_that_nothing_has_are_errors() -> Result<()> {
        let workspace = Workspace::find()?;
        let chosen = |name: &str| chosen_backends(&workspace, &[name.to_owned()]);
        let linked = workspace
            .engines()?
            .into_iter()
            .find(|engine| engine.native.is_none());
        let linked = linked.context("no engine is compiled into its probe")?.name;
        for (wrong, words) in [
            ("nosuch".to_owned(), "there are: "),
            ("nosuch@1.2".to_owned(), "there are: "),
            (format!("{linked}@1.2"), "compiled into its probe"),
            (format!("{linked}@mine:X=/"), "takes no library"),
            (format!("{linked}=/bin/true"), "is an engine already"),
            ("own=/nosuch".to_owned(), "there is no file /nosuch"),
            ("own=/".to_owned(), "/ is a folder: name the program in it"),
            (
                "own=/dev/null".to_owned(),
                "is a pipe or a device, and no program",
            ),
            (
                format!("own={}/Cargo.toml", env!("CARGO_MANIFEST_DIR")),
                "may not be run: `chmod +x` lets it",
            ),
        ] {
            let error = chosen(&wrong).expect_err(&wrong);
            assert!(format!("{error:#}").contains(words), "{wrong}: {error:#}");
        }
        let own = chosen("own=/bin/true")?;
        assert_eq!(own[0].binary(), Some("/bin/true".into()));
        Ok(())
    }
}
