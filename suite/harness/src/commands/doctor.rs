//! `firstpass doctor`: what of each engine is there. It builds nothing and reads no library.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use firstpass_native::Status;
use firstpass_probe::{Description, confinement};
use firstpass_trial::{
    engine::Backend,
    engine::Origin,
    observation::Outcome,
    process::{Probe, environment},
    workload::relative,
    workspace::Workspace,
};

use crate::page::{
    numbers::{brief, counted},
    table::Table,
    terminal::text as shown,
};

/// What is not known.
const NONE: &str = "–";

/// An engine that says nothing in this time is ill.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct Arguments {
    /// Read every byte of the installed libraries and compare their checksums, not only their sizes
    #[arg(long)]
    verify: bool,
}

/// What a backend's probe said.
pub(super) enum Health {
    Runs(Description),
    IsIll(Outcome),
    NotBuilt,
}

/// Succeeds where no library is missing and every probe that is built runs.
///
/// # Errors
/// Fails where the backends cannot be listed.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let backends = workspace.backends()?;
    if backends.is_empty() {
        println!(
            "no engine is installed in {}: `firstpass engines add NAME` installs one",
            workspace.root().display()
        );
        return Ok(ExitCode::FAILURE);
    }
    let healths = ask_all(workspace, &backends)?;
    let mut table = Table::new(["engine", "state", "version", "where"]);
    let mut is_well = true;
    let mut advice: BTreeMap<Remedy, Vec<String>> = BTreeMap::new();
    let mut running = 0;
    for (backend, health) in backends.iter().zip(healths) {
        let library = backend.native.as_ref().map(|native| {
            let root = workspace.native();
            if arguments.verify {
                native.verify(&root)
            } else {
                native.status(&root)
            }
        });
        is_well &= !matches!(health, Health::IsIll(_));
        is_well &= library.as_ref().is_none_or(Status::is_usable);
        running += usize::from(matches!(health, Health::Runs(_)));
        for (why, remedy) in what_to_do(&health, library.as_ref(), arguments.verify) {
            let why = format!("{}: {why}", backend.name);
            let remedy = remedy.of(backend);
            advice.entry(remedy).or_default().push(why);
        }
        table.row(row(workspace, backend, &health, library.as_ref()));
    }
    println!("{}", table.terminal());
    println!("probes of model files: {}", confinement());
    println!(
        "\n{running} of {} run{}",
        counted(backends.len(), "engine"),
        advised(&advice)
    );
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks every probe that is built what it is, all at once.
///
/// # Errors
/// Fails where this program has no place.
pub(super) fn ask_all(workspace: &Workspace, backends: &[Backend]) -> Result<Vec<Health>> {
    let folder = probes()?;
    thread::scope(|scope| {
        let asked = backends.iter().map(|backend| {
            let folder = &folder;
            scope.spawn(move || ask(workspace, backend, folder))
        });
        let asked: Vec<_> = asked.collect();
        let healths = asked.into_iter().map(|one| one.join());
        healths.collect::<Result<_, _>>()
    })
    .map_err(|_| anyhow::anyhow!("a probe could not be asked"))
}

/// Where cargo puts probes: this program lies beside them, or in the folder of another profile.
fn probes() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = program.parent().unwrap_or(&program);
    Ok(folder.with_file_name("release"))
}

fn ask(workspace: &Workspace, backend: &Backend, folder: &Path) -> Health {
    let built = || folder.join(&backend.package);
    let binary = backend.binary().unwrap_or_else(built);
    if !binary.is_file() {
        return Health::NotBuilt;
    }
    let probe = Probe {
        environment: environment(workspace, backend),
        timeout: PATIENCE,
        ..Probe::at(&binary)
    };
    match probe.describe() {
        Ok(description) => Health::Runs(description),
        Err(outcome) => Health::IsIll(outcome),
    }
}

/// A command that mends something or tells more, in the order in which they help.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Remedy {
    /// A variable that names a library which is not there.
    Unset(String),
    Setup,
    Build,
    /// Installs the engine of this name anew.
    Add(String),
    Verify,
    /// No library is known for this platform.
    Nothing,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset(variable) => write!(f, "unset {variable}"),
            Self::Setup => f.write_str("cargo firstpass setup"),
            Self::Add(name) => write!(f, "firstpass engines add {name}"),
            Self::Build => f.write_str("cargo firstpass report --quick"),
            Self::Verify => f.write_str("cargo firstpass doctor --verify"),
            Self::Nothing => f.write_str("no command helps here"),
        }
    }
}

impl Remedy {
    /// What mends an engine of the checkout, or the installed one.
    fn of(self, backend: &Backend) -> Self {
        match self {
            Self::Setup | Self::Build if backend.origin == Origin::Installed => {
                Self::Add(backend.name.clone())
            }
            remedy => remedy,
        }
    }
}

/// What is wrong with an engine, each with what mends it or tells more.
fn what_to_do(
    health: &Health,
    library: Option<&Status>,
    is_verified: bool,
) -> Vec<(String, Remedy)> {
    let mut advice = Vec::new();
    match library {
        Some(Status::NotFoundWhereNamed { variable, path }) => {
            let why = format!("nothing is at {}, which {variable} names", path.display());
            advice.push((why, Remedy::Unset(variable.clone())));
            advice.push(("then its own library is fetched".into(), Remedy::Setup));
        }
        Some(Status::Missing) => {
            advice.push(("its library is not installed".into(), Remedy::Setup))
        }
        Some(Status::Damaged { what }) => {
            advice.push((format!("its library has changed ({what})"), Remedy::Setup));
        }
        Some(Status::UnsupportedPlatform { message }) => {
            advice.push((message.clone(), Remedy::Nothing));
        }
        Some(Status::ProvidedByUser { .. } | Status::Installed { .. }) | None => {}
    }
    let is_usable = advice.is_empty();
    match health {
        Health::Runs(_) => {}
        Health::NotBuilt => advice.push(("it is not built yet".into(), Remedy::Build)),
        Health::IsIll(why) if is_usable => {
            let remedy = match library {
                Some(_) if !is_verified => Remedy::Verify,
                _ => Remedy::Build,
            };
            advice.push((format!("it does not run: {why}"), remedy));
        }
        // What is wrong with its library is why.
        Health::IsIll(_) => {}
    }
    advice
}

/// The commands in the order in which they help, each with what it is for.
fn advised(advice: &BTreeMap<Remedy, Vec<String>>) -> String {
    if advice.is_empty() {
        return ".".into();
    }
    let mut text = String::from(". What to do next:");
    for (remedy, reasons) in advice {
        text += &format!("\n  {remedy}");
        for reason in reasons {
            text += &format!("\n      {}", shown(&brief(reason)));
        }
    }
    text
}

fn row(
    workspace: &Workspace,
    backend: &Backend,
    health: &Health,
    library: Option<&Status>,
) -> [String; 4] {
    let place = library.map_or_else(|| "compiled into the probe".into(), Status::to_string);
    let (state, version, place) = match health {
        Health::Runs(description) => {
            let engine = &description.engine;
            let version = format!("{} by {}", engine.version, engine.binding);
            // What lies in the workspace is named from there.
            let library = engine.library.as_ref().map(|path| {
                let path = relative(workspace, Path::new(path));
                path.display().to_string()
            });
            ("runs", version, library.unwrap_or(place))
        }
        Health::NotBuilt => ("not built yet", NONE.into(), place),
        Health::IsIll(_) => ("does not run", NONE.into(), place),
    };
    [backend.name.clone(), state.into(), version, place]
}

#[cfg(test)]
mod tests {
    use firstpass_trial::observation::Stage;

    use super::*;

    #[test]
    fn what_is_not_built_is_said_and_nothing_is_built() -> Result<()> {
        let workspace = Workspace::find()?;
        let nowhere = tempfile::tempdir()?;
        for backend in workspace.backends()? {
            let health = ask(&workspace, &backend, nowhere.path());
            assert!(matches!(health, Health::NotBuilt), "{}", backend.name);
            assert_eq!(row(&workspace, &backend, &health, None)[1], "not built yet");
            let advice = what_to_do(&health, None, false);
            let remedies: Vec<Remedy> = advice.into_iter().map(|(_, remedy)| remedy).collect();
            assert_eq!(remedies, [Remedy::Build], "{}", backend.name);
        }
        assert_eq!(std::fs::read_dir(nowhere.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn each_fault_has_a_command_that_helps_and_what_runs_has_none() {
        let ill = || {
            Health::IsIll(Outcome::TimedOut {
                seconds: 1,
                after: Stage::Spawn,
            })
        };
        let damaged = Status::Damaged {
            what: "x.so is shorter".into(),
        };
        let installed = Status::Installed {
            directory: "lib".into(),
        };
        let elsewhere = Status::NotFoundWhereNamed {
            variable: "X_LIB".into(),
            path: "nowhere".into(),
        };
        let unknown = Status::UnsupportedPlatform {
            message: "no wheel".into(),
        };
        use Remedy::{Build, Nothing, Setup, Unset, Verify};
        for (health, library, verified, expected) in [
            (
                Health::NotBuilt,
                Some(&Status::Missing),
                false,
                vec![Setup, Build],
            ),
            (Health::NotBuilt, Some(&installed), false, vec![Build]),
            (ill(), Some(&damaged), false, vec![Setup]),
            (
                ill(),
                Some(&elsewhere),
                false,
                vec![Unset("X_LIB".into()), Setup],
            ),
            (ill(), Some(&unknown), false, vec![Nothing]),
            (ill(), Some(&installed), false, vec![Verify]),
            (ill(), Some(&installed), true, vec![Build]),
            (ill(), None, false, vec![Build]),
        ] {
            let advice = what_to_do(&health, library, verified);
            let remedies: Vec<Remedy> = advice.into_iter().map(|(_, remedy)| remedy).collect();
            assert_eq!(remedies, expected, "{library:?}");
        }
    }

    #[test]
    fn advice_is_given_in_the_order_in_which_it_helps() {
        assert_eq!(advised(&BTreeMap::new()), ".");
        let advice = BTreeMap::from([
            (Remedy::Build, vec!["b: it is not built yet".into()]),
            (
                Remedy::Setup,
                vec!["a: its library is not installed".into()],
            ),
        ]);
        assert_eq!(
            advised(&advice),
            ". What to do next:\n  cargo firstpass setup\n      a: its library is not installed\n  \
             cargo firstpass report --quick\n      b: it is not built yet"
        );
    }

    #[test]
    fn the_commands_that_are_advised_name_what_there_is() {
        for remedy in [Remedy::Setup, Remedy::Build, Remedy::Verify] {
            assert!(
                remedy.to_string().starts_with("cargo firstpass "),
                "{remedy}"
            );
        }
    }
}
