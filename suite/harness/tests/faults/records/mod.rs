//! Records: damaged ones, gates on them, and their pages.

pub mod damaged;
pub mod gates;
pub mod pages;

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Result, ensure};

use crate::{
    fault::Damage,
    place::{Ended, Place},
};

/// A comparison of a sound record with one to which this was done.
pub fn compared(place: &Place, damage: Damage) -> Result<Ended> {
    let record = place.example()?;
    let sound = place.path("sound");
    fs::rename(&record, &sound)?;
    let record = place.example()?;
    damage(&record)?;
    place.run(place.firstpass(["compare", "--all"]).arg(sound).arg(record))
}

/// The pages of a record to which this was done.
pub fn shown(place: &Place, damage: Damage) -> Result<Ended> {
    let record = place.example()?;
    damage(&record)?;
    let mut report = place.firstpass(["report", "--from"]);
    place.run(report.arg(record).arg("--out").arg(place.path("shown")))
}

/// A gate that the sound record passes, on one to which this was done.
pub fn gated(place: &Place, damage: Damage) -> Result<Ended> {
    let gate = ["gate", "--first-pass-max", "100x"];
    let record = place.example()?;
    let sound = place.run(place.firstpass(gate).arg(&record))?;
    ensure!(
        sound.code == Some(0),
        "it is broken before:\n{}",
        sound.said
    );
    damage(&record)?;
    place.run(place.firstpass(gate).arg(record))
}

/// A gate with these options on a sound record.
pub fn limited(place: &Place, options: &[&str]) -> Result<Ended> {
    let record = place.example()?;
    place.run(place.firstpass(["gate"]).args(options).arg(record))
}

/// Compresses the measurements of an engine, and does this to the compressed form.
pub fn compressed(record: &Path, damage: fn(&mut Vec<u8>)) -> Result<()> {
    let path = record.join("alpha.jsonl");
    let mut bytes = zstd::encode_all(&fs::read(&path)?[..], 1)?;
    damage(&mut bytes);
    fs::write(record.join("alpha.jsonl.zst"), bytes)?;
    Ok(fs::remove_file(path)?)
}

pub fn device(file: &Path) -> Result<()> {
    fs::remove_file(file)?;
    Ok(symlink("/dev/zero", file)?)
}

/// Puts another text in the place of one that is there.
pub fn replaced(record: &Path, file: &str, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(record.join(file))?;
    ensure!(text.contains(from), "{file} does not have {from}");
    Ok(fs::write(record.join(file), text.replace(from, to))?)
}

/// Puts a text before the lines of an engine.
pub fn prefixed(record: &Path, text: &str) -> Result<()> {
    let lines = fs::read_to_string(record.join("alpha.jsonl"))?;
    Ok(fs::write(
        record.join("alpha.jsonl"),
        text.to_owned() + &lines,
    )?)
}

/// Gives every number of this name another value.
pub fn numbers(record: &Path, name: &str, value: u64) -> Result<()> {
    let text = fs::read_to_string(record.join("alpha.jsonl"))?;
    let key = format!("\"{name}\":");
    let mut parts = text.split(&key);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        changed += &format!("{key}{value}{rest}");
    }
    Ok(fs::write(record.join("alpha.jsonl"), changed)?)
}
