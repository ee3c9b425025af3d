//! Installs the native libraries of some backends:
//! `cargo run --release -p firstpass-native --example set_up -- .native backends/*`

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use firstpass_native::{NativeLibrary, Progress};

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let native_root = arguments.next().context("which native root?")?;
    for backend in arguments {
        let Some(library) = NativeLibrary::read(&backend)? else {
            continue;
        };
        library.install(&native_root, &Progress::terminal())?;
        for (variable, path) in library.environment(&native_root) {
            println!("{variable}={}", path.display());
        }
    }
    Ok(())
}
