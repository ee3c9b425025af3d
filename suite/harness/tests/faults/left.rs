//! What a command leaves: a report and its record.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use firstpass_trial::workspace::Workspace;

use crate::place::Place;

pub fn has_report(place: &Place) -> Result<()> {
    let page = fs::read_to_string(place.out().join("README.md"))?;
    let mut engines = Workspace::find()?.backends()?.into_iter();
    let engine = engines.find(|engine| engine.name == place.engine);
    let engine = engine.context("there is no such engine")?;
    let called = engine.known()?.called.unwrap_or(engine.name);
    ensure!(page.contains(&called), "{called} is not in the report");
    Ok(())
}

/// The text of a file, unpacked where it is compressed.
pub fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("{}", path.display()))?;
    let bytes = if path.extension().is_some_and(|e| e == "zst") {
        zstd::decode_all(&bytes[..])?
    } else {
        bytes
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub fn lines(place: &Place) -> Result<String> {
    let record = place.record()?;
    let plain = record.join(format!("{}.jsonl", place.engine));
    if plain.is_file() {
        return read(&plain);
    }
    read(&record.join(format!("{}.jsonl.zst", place.engine)))
}

pub fn has_no_row(place: &Place, words: &str) -> Result<()> {
    let lines = lines(place)?;
    ensure!(!lines.contains(words), "a row says {words:?}");
    Ok(())
}

/// Whether no file of the report and its record has these words.
pub fn says_nowhere(place: &Place, words: &str) -> Result<()> {
    let mut folders = vec![place.out()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = read(&path)?;
                ensure!(!text.contains(words), "{} tells it", path.display());
            }
        }
    }
    Ok(())
}
