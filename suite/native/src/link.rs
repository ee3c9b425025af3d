//! Links the libraries that no wheel holds.

use std::{io::ErrorKind, path::Path, process::Command};

use anyhow::{Context, Error, Result, ensure};

use crate::{host::Host, manifest::ForwardingLibrary};

/// Links an empty shared library that needs the others and finds them beside itself.
pub(crate) fn link(library: &ForwardingLibrary, folder: &Path, host: &Host) -> Result<()> {
    let compiler = host.variable("CC").unwrap_or_else(|| "cc".into());
    let name = library.path.file_name();
    let output = Command::new(&compiler)
        .args([
            "-shared",
            "-fPIC",
            "-nostdlib",
            "-x",
            "c",
            "/dev/null",
            "-x",
            "none",
        ])
        .arg(format!("-Wl,-soname,{name}"))
        .args([
            "-Wl,-rpath,$ORIGIN",
            "-Wl,--allow-shlib-undefined",
            "-Wl,--no-as-needed",
        ])
        .args(library.needs.iter().map(|needed| needed.under(folder)))
        .arg("-o")
        .arg(library.path.under(folder))
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(error).context(
                "no C compiler: install one (on Debian and Ubuntu the package build-essential, on \
                 Fedora gcc), or name it by CC",
            ),
            _ => error.into(),
        })
        .with_context(|| format!("cannot run `{}`", compiler.display()))?;
    ensure!(
        output.status.success(),
        "`{}` could not link {name}:\n{}",
        compiler.display(),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(())
}
