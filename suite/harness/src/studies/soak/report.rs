//! What only time shows: a page, and the same for a terminal.

mod words;

use std::path::{Path, PathBuf};

use anyhow::Result;
use minijinja::context;

use crate::{
    page::{template, write_file},
    studies::soak::{judge::Found, measure::Soaked},
};
use words::OfEngine;

/// Beside the measurements.
const PAGE: &str = "soak.md";

/// The sentences of each engine, for the terminal.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub fn on_terminal(soaked: &Soaked, found: &[Found]) -> Result<String> {
    let mut text = String::new();
    for engine in engines(soaked, found) {
        text += &format!("\n{}\n", engine.engine);
        text += &template::on_terminal("said/soak.md.j2", context! { engine })?;
    }
    Ok(text)
}

/// Writes the page into `folder`; returns where.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write(soaked: &Soaked, found: &[Found], folder: &Path) -> Result<PathBuf> {
    let run = &soaked.run;
    let data = context! {
        model => run.model,
        budget_s => run.settings.budget_s,
        threads => run.settings.threads,
        processor => run.machine.cpu,
        cores => run.machine.cores,
        date => run.date,
        commit => run.code.commit,
        engines => engines(soaked, found),
    };
    let text = template::render("page/soak.md.j2", context! { data })?;
    write_file(folder, Path::new(PAGE), text.as_bytes())?;
    Ok(folder.join(PAGE))
}

fn engines(soaked: &Soaked, found: &[Found]) -> Vec<OfEngine> {
    let measured = found.iter().map(OfEngine::from);
    let unavailable = soaked.unavailable.iter();
    let unavailable = unavailable.map(|(engine, why)| OfEngine::not_run(engine, why));
    measured.chain(unavailable).collect()
}
