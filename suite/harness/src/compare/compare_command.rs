//! `firstpass compare`: what changed between two records, beyond noise.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    compare::{changes, changes_report},
    record::{Record, check_outside_records},
};

#[derive(Args)]
pub struct Arguments {
    /// The earlier record: a folder with run.json
    before: PathBuf,
    /// The later record
    after: PathBuf,
    /// Show also what did not change
    #[arg(long)]
    all: bool,
    /// Write it as markdown into this file as well
    #[arg(long = "out", alias = "markdown", value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Succeeds whatever has changed; `firstpass gate` is for verdicts.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(file) = &arguments.markdown {
        check_outside_records(file)?;
    }
    let before = Record::read(&arguments.before)?;
    let after = Record::read(&arguments.after)?;
    let changes = changes::compare(&before, &after);
    println!(
        "{}",
        changes_report::changes_on_terminal(&changes, arguments.all)
    );
    if let Some(file) = &arguments.markdown {
        std::fs::write(
            file,
            changes_report::changes_as_markdown(&changes, arguments.all),
        )
        .with_context(|| format!("cannot write {}", file.display()))?;
        println!("markdown: {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
