//! `firstpass init`: a `model.toml` for a model of the user's own.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_trial::{model::ModelDescription, regular_file, shell_word, workspace::Workspace};

use crate::user_model::{self as own, arguments as named};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: named::Arguments,
    /// Where it goes [default: model.toml beside the model]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Succeeds where the file was written and can be read again.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    ensure!(
        arguments.model.described().is_none(),
        "give model files: a model.toml is what is made"
    );
    let first = arguments.model.first().context("give a model file")?;
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| first.with_file_name("model.toml"));
    ensure!(
        arguments.force || !out.exists(),
        "{} is there already; give another file with --out, or replace it with --force",
        out.display()
    );
    let mut model = arguments.model.describe(workspace, &[], false)?;
    model.move_to(&out);
    let text = own::to_toml(&model)?;
    let mut named = arguments
        .model
        .files
        .iter()
        .chain(&arguments.model.torchscript);
    ensure!(
        !out.exists() || named.all(|file| file.canonicalize().ok() != out.canonicalize().ok()),
        "{} is the model itself; give another file with --out",
        out.display()
    );
    regular_file::replace(&out, |new| Ok(std::fs::write(new, text)?))
        .with_context(|| format!("cannot write {}", out.display()))?;
    ModelDescription::read(&out)?;
    println!("{}", out.display());
    println!(
        "`cargo firstpass check {}` measures it",
        shell_word::path(&out)
    );
    Ok(ExitCode::SUCCESS)
}
