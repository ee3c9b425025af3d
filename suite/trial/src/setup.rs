//! `firstpass setup`: fetches the native libraries that are not there yet.

use anyhow::{Context, Result, bail};
use firstpass_native::Progress;

use crate::workspace::Workspace;

/// Sets up every native library; where one fails the others are set up all the same.
pub fn run(workspace: &Workspace) -> Result<()> {
    let mut failures = Vec::new();
    for backend in workspace.backends()? {
        let Some(native) = &backend.native else {
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
