//! `firstpass referee`: whose arithmetic is an engine's?

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use firstpass_trial::{shell_word, workspace::Workspace};

use crate::page::terminal::text as shown;
use crate::studies::{
    first_passes::arguments::reported,
    referee::{self, report::referee_on_terminal},
};

#[derive(Args)]
pub struct Arguments {
    /// The record whose engines are compared, and beside which the comparison is kept [default: that
    /// of reports/README.md]
    #[arg(long, value_name = "RECORD", alias = "from")]
    record: Option<PathBuf>,
}

/// Succeeds where the comparison was written, whatever it says.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let record = match &arguments.record {
        Some(record) => record.clone(),
        None => reported(workspace, "--record")?,
    };
    let folder = referee::measure(workspace, &record)?;
    let compared = referee::read(&record)?.context("the comparison was removed meanwhile")?;
    println!("{}", shown(&referee_on_terminal(&compared)?));
    println!("comparisons: {}", folder.display());
    println!(
        "`cargo firstpass report --from {}` puts them into a report",
        shell_word::path(&record)
    );
    Ok(ExitCode::SUCCESS)
}
