//! Which engines are here.

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use firstpass_trial::{engine::Backend, engine::Origin, workspace::Workspace};
use indicatif::HumanBytes;

use crate::{
    commands::doctor::{Health, ask_all},
    page::table::Table,
};

/// Lists the engines that commands use where one stands, then installed ones that these hide.
///
/// # Errors
/// Fails where a manifest cannot be read.
pub(super) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let mut table = Table::new(["engine", "version", "size", "from"]);
    let installed = Workspace::installed();
    let hidden = installed.ok().filter(|_| workspace.is_checkout());
    let mut count = 0;
    for place in [Some(workspace.clone()), hidden].into_iter().flatten() {
        let backends = place.backends()?;
        count += backends.len();
        for (backend, health) in backends.iter().zip(ask_all(&place, &backends)?) {
            table.row(row(&place, backend, &health));
        }
    }
    if count == 0 {
        println!(
            "no engine is here; `firstpass engines add NAME` installs one in {}",
            workspace.root().display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", table.terminal());
    Ok(ExitCode::SUCCESS)
}

fn row(workspace: &Workspace, backend: &Backend, health: &Health) -> [String; 4] {
    let version = match health {
        Health::Runs(description) => description.engine.version.clone(),
        Health::NotBuilt => "not built yet".into(),
        Health::IsIll(why) => format!("does not run: {why}"),
    };
    let probe = backend.binary().map_or(0, |file| bytes(&file));
    let library = backend.native.as_ref().map_or(0, |native| {
        let directory = native.directory(&workspace.native());
        bytes(&directory)
    });
    let size = match probe + library {
        0 => "–".into(),
        all => HumanBytes(all).to_string(),
    };
    let from = match backend.origin {
        Origin::Checkout => "this checkout".into(),
        _ => format!("installed, {}", backend.dir.display()),
    };
    [backend.name.clone(), version, size, from]
}

/// All bytes of a file or folder; none where it is not there.
fn bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return path.metadata().map_or(0, |file| file.len());
    };
    entries.flatten().map(|entry| bytes(&entry.path())).sum()
}
