//! The format of records is documented: every field that the committed record has.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result};
use firstpass_harness::{
    page::Block,
    record::{code::Code, lines},
    studies::{
        self,
        explain::{self, ExplainProcess, ExplainRun, Variant},
    },
};
use firstpass_probe::{Format, Knobs, Profile, ProfiledOperator, ProfiledPass, Span};
use firstpass_trial::{machine::Machine, workspace::Workspace};
use serde_json::Value;

/// The keys below these are names of things, not fields.
const MAPS: [&str; 13] = [
    "variable",
    "counts",
    "environment",
    "variants",
    "files",
    "parts",
    "details",
    "operators",
    "knobs",
    "rules",
    "simplest",
    "referees",
    "outcome",
];

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                // The knobs of a cell are a map, those of a description a list; rules are maps in a list.
                let is_map = MAPS.contains(&key.as_str()) && !value.is_array();
                if !is_map && key != "exact_under" {
                    fields(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

/// Adds the fields of the files in a folder; returns the number of lines.
fn fields_of(folder: &Path, found: &mut BTreeSet<String>) -> Result<usize> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            fields(&serde_json::from_slice(&std::fs::read(&path)?)?, found);
        }
    }
    let mut count = 0;
    for path in lines::files(folder)?.values() {
        for line in lines::read::<Value>(path)? {
            fields(&line, found);
            count += 1;
        }
    }
    Ok(count)
}

/// Those that the description of the format does not name.
fn undocumented(found: &BTreeSet<String>) -> Result<Vec<&String>> {
    let format = std::fs::read_to_string(Workspace::find()?.reports().join("records/README.md"))?;
    let missing = found.iter();
    Ok(missing
        .filter(|field| !format.contains(&format!("`{field}`")))
        .collect())
}

#[test]
fn every_field_of_the_committed_record_is_documented() -> Result<()> {
    let reports = Workspace::find()?.reports();
    let page = std::fs::read_to_string(reports.join("README.md"))?;
    let source = Block::source_of(&page).context("the report names its record")?;
    let record = reports.join(source);
    let mut found = BTreeSet::new();
    assert!(fields_of(&record, &mut found)? > 0, "the record has lines");
    for study in studies::ALL {
        let folder = record.join(study.name());
        // Two records lie in that of `tune`.
        for folder in [
            &folder,
            &folder.join("one-at-a-time"),
            &folder.join("combined"),
        ] {
            if folder.is_dir() {
                fields_of(folder, &mut found)?;
            }
        }
    }
    let missing = undocumented(&found)?;
    assert!(
        missing.is_empty(),
        "not in reports/records/README.md: {missing:?}"
    );
    Ok(())
}

/// The committed record need not hold any profile.
#[test]
fn every_field_of_a_profile_is_documented() -> Result<()> {
    let run = ExplainRun {
        version: explain::VERSION,
        date: String::new(),
        machine: Machine::observe(),
        code: Code {
            parts: BTreeMap::from([("suite/probe/src/lib.rs".into(), String::new())]),
            ..Code::default()
        },
        settings: explain::ExplainSettings {
            rounds: 1,
            passes: 1,
            threads: 1,
            budget_s: 1.0,
        },
        image: String::new(),
    };
    let process = ExplainProcess {
        variant: Variant::Profiled,
        round: 0,
        model: Some(String::new()),
        format: Some(Format::ONNX),
        threads: 1,
        knobs: Knobs::default().with("fusion", "off"),
        engine: Some(String::new()),
        load_average: 0.0,
        profile: Some(Profile::new(
            "",
            vec![ProfiledOperator {
                layer: String::new(),
                kind: String::new(),
            }],
            vec![ProfiledPass {
                span: Span::default(),
                self_ns: vec![1],
                minor_faults: vec![1],
                counts: BTreeMap::from([("nodes of the graph".into(), 1)]),
            }],
        )),
        passes: vec![Span::default()],
        failure: Some(String::new()),
    };
    let mut found = BTreeSet::new();
    fields(&serde_json::to_value(run)?, &mut found);
    fields(&serde_json::to_value(process)?, &mut found);
    for field in ["self_ns", "counts", "parts"] {
        assert!(found.contains(field), "{field}");
    }
    assert!(!found.contains("nodes of the graph"));
    assert!(!found.contains("suite/probe/src/lib.rs"));
    let missing = undocumented(&found)?;
    assert!(
        missing.is_empty(),
        "not in reports/records/README.md: {missing:?}"
    );
    Ok(())
}
