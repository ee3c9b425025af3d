//! Fetches the native libraries of engines that are not there yet.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use firstpass_native::Progress;

use crate::{engine::Backend, workspace::Workspace};

/// Sets up the native libraries of these; where one fails the others are set up all the same.
///
/// # Errors
/// Fails where one could not be set up, naming each.
pub fn run(workspace: &Workspace, backends: &[Backend]) -> Result<()> {
    let mut failures = Vec::new();
    for backend in backends {
        // The user has it where they say.
        let Some(native) = backend
            .native
            .as_ref()
            .filter(|_| backend.library.is_empty())
        else {
            continue;
        };
        let installed = native
            .install(&workspace.native(), &Progress::terminal())
            .with_context(|| format!("{} could not be set up", backend.name));
        match installed {
            // It has said so itself.
            Ok(status) if status.is_usable() => {}
            Ok(status) => {
                failures.push(format!("{} {}: {status}", native.name(), native.version()))
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("\n"))
}

/// The same for a command that measures: what cannot be set up is said, and its engine becomes a row that says so.
pub fn attempt(workspace: &Workspace, backends: &[Backend]) {
    if let Err(error) = run(workspace, backends) {
        // Standard error may be full or closed, which does no harm.
        let _ = writeln!(io::stderr(), "error: {error:#}");
    }
}
