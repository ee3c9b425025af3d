//! `firstpass trust`: adds programs to the user's own list.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use firstpass_trial::trust::trust;

#[derive(Args)]
pub struct Arguments {
    /// TorchScript files, which are programs: I know where they come from
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// # Errors
/// Fails where a file cannot be read or the list not be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    for file in &arguments.files {
        let (sha256, list) = trust(file)?;
        println!("{sha256}  {}", file.display());
        eprintln!("added to {}", list.display());
    }
    Ok(ExitCode::SUCCESS)
}
