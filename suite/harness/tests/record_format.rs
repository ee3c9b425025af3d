//! The format of records is documented: every field that the committed record has.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};
use firstpass_harness::{report::Block, workspace::Workspace};
use serde_json::Value;

/// The keys below these are names of things, not fields.
const MAPS: [&str; 7] = [
    "environment",
    "variants",
    "files",
    "details",
    "operators",
    "knobs",
    "outcome",
];

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                // The knobs of a cell are a map, those of a description a list.
                if !MAPS.contains(&key.as_str()) || value.is_array() {
                    fields(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

fn fields_of(folder: &Path, found: &mut BTreeSet<String>) -> Result<usize> {
    let mut lines = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") => fields(&serde_json::from_slice(&std::fs::read(&path)?)?, found),
            Some("jsonl") => {
                for line in std::fs::read_to_string(&path)?.lines() {
                    fields(&serde_json::from_str(line)?, found);
                    lines += 1;
                }
            }
            _ => {}
        }
    }
    Ok(lines)
}

#[test]
fn every_field_of_the_committed_record_is_documented() -> Result<()> {
    let reports = Workspace::find()?.reports();
    let page = std::fs::read_to_string(reports.join("README.md"))?;
    let source = Block::source_of(&page).context("the report names its record")?;
    let record = reports.join(source);
    let mut found = BTreeSet::new();
    assert!(fields_of(&record, &mut found)? > 0, "the record has lines");
    for beside in ["overhead", "cure/one-at-a-time", "cure/combined"] {
        if record.join(beside).is_dir() {
            fields_of(&record.join(beside), &mut found)?;
        }
    }
    let format = std::fs::read_to_string(reports.join("records/README.md"))?;
    let missing: Vec<&String> = found
        .iter()
        .filter(|field| !format.contains(&format!("`{field}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "not in reports/records/README.md: {missing:?}"
    );
    Ok(())
}
