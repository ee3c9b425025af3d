//! `firstpass gate` as continuous integration runs it: the steps of the example workflow and the line of
//! the README, on records.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use firstpass_harness::{record::lines::read, studies::first_passes::judge::latency::LEAST_PASSES};
use firstpass_trial::workspace::Workspace;
use serde_json::Value;

const FIRSTPASS: &str = env!("CARGO_BIN_EXE_firstpass");

/// The scripts of a workflow: the blocks after `run: |`.
fn scripts(workflow: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = workflow.lines().collect();
    let starts = lines.iter().enumerate();
    let starts = starts.filter(|(_, line)| line.trim() == "run: |");
    let script = |(at, start): (usize, &&str)| {
        let block = lines[at + 1..].iter();
        let block = block.take_while(|line| line.is_empty() || indent(line) > indent(start));
        block.map(|line| format!("{}\n", line.trim())).collect()
    };
    starts.map(script).collect()
}

/// The small record that the crate `firstpass` is tested with, with this factor on each first pass.
fn example(workspace: &Workspace, folder: &Path, factor: u64) -> Result<PathBuf> {
    let source = workspace
        .root()
        .join("suite/firstpass/tests/example/record");
    let record = folder.join(format!("record-{factor}"));
    std::fs::create_dir(&record)?;
    std::fs::copy(source.join("run.json"), record.join("run.json"))?;
    for file in ["alpha.jsonl", "beta.jsonl"] {
        let mut lines = String::new();
        for line in std::fs::read_to_string(source.join(file))?.lines() {
            let mut line: Value = serde_json::from_str(line)?;
            if let Some(wall) = line.pointer_mut("/passes/0/wall_ns") {
                *wall = (wall.as_u64().context("a time")? * factor).into();
            }
            lines += &format!("{line}\n");
        }
        std::fs::write(record.join(file), lines)?;
    }
    Ok(record)
}

/// A record of a run that measured nothing.
fn empty(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let record = example(workspace, folder, 1)?;
    std::fs::remove_file(record.join("alpha.jsonl"))?;
    std::fs::remove_file(record.join("beta.jsonl"))?;
    Ok(record)
}

/// Runs a script of the workflow in its folder, as GitHub does. Its `cargo firstpass` judges a record instead
/// of measuring one.
fn exit_code(workspace: &Workspace, script: &str, record: &Path) -> Result<Option<i32>> {
    let dir = tempfile::tempdir()?;
    let [project, checkout, bin] =
        ["project", "firstpass", "bin"].map(|name| dir.path().join(name));
    for folder in [&project, &checkout, &bin] {
        std::fs::create_dir(folder)?;
    }
    let model = workspace
        .root()
        .join("suite/firstpass/tests/example/model.toml");
    std::fs::copy(model, project.join("model.toml"))?;
    let cargo = bin.join("cargo");
    std::fs::write(
        &cargo,
        "#!/bin/sh\n[ \"$1\" = firstpass ] || exit 99\nshift\nexec \"$FIRSTPASS\" \"$@\" \"$RECORD\"\n",
    )?;
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let status = Command::new("bash")
        .args(["-e", "-c", script])
        .current_dir(&checkout)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("FIRSTPASS", FIRSTPASS)
        .env("RECORD", record)
        .status()?;
    Ok(status.code())
}

#[test]
fn the_workflow_passes_fails_and_does_not_pass_on_nothing() -> Result<()> {
    let workspace = Workspace::find()?;
    let workflow = workspace
        .root()
        .join("examples/github-actions/first-passes.yml");
    let scripts = scripts(&std::fs::read_to_string(workflow)?);
    let [script] = &scripts[..] else {
        panic!("one step runs a script: {scripts:?}");
    };
    let dir = tempfile::tempdir()?;
    let good = example(&workspace, dir.path(), 2)?;
    let bad = example(&workspace, dir.path(), 100)?;
    let empty = empty(&workspace, dir.path())?;
    assert_eq!(
        exit_code(&workspace, script, &good)?,
        Some(0),
        "a good record"
    );
    assert_eq!(
        exit_code(&workspace, script, &bad)?,
        Some(1),
        "a bad record"
    );
    assert_eq!(
        exit_code(&workspace, script, &empty)?,
        Some(2),
        "an empty record"
    );
    Ok(())
}

/// A copy of a record without the files of models on which an engine's processes did too few passes for a
/// verdict: the code of today does more.
fn with_enough_passes(record: &Path, copy: &Path) -> Result<()> {
    std::fs::create_dir(copy)?;
    std::fs::copy(record.join("run.json"), copy.join("run.json"))?;
    for entry in record.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(name) = name.strip_suffix(".zst").filter(|n| n.ends_with(".jsonl")) else {
            continue;
        };
        let lines: Vec<Value> = read(&path)?;
        let file = |line: &Value| (line["model"].to_string(), line["format"].to_string());
        // With cold files a process ends before it could be steady.
        let mut most: BTreeMap<_, usize> = BTreeMap::new();
        for line in lines.iter().filter(|line| line["purpose"] == "latency") {
            let passes = line["passes"].as_array().map_or(0, Vec::len);
            let most = most.entry(file(line)).or_default();
            *most = passes.max(*most);
        }
        let is_short = |line: &Value| most.get(&file(line)).is_some_and(|&n| n < LEAST_PASSES);
        let kept = lines.iter().filter(|line| !is_short(line));
        let text: String = kept.map(|line| format!("{line}\n")).collect();
        std::fs::write(copy.join(name), text)?;
    }
    Ok(())
}

/// The committed record is what an unchanged checkout measures.
#[test]
fn the_line_of_the_readme_passes_where_nothing_changed() -> Result<()> {
    let workspace = Workspace::find()?;
    let readme = std::fs::read_to_string(workspace.root().join("README.md"))?;
    let line = readme
        .lines()
        .find(|line| line.starts_with("cargo firstpass gate ") && line.ends_with("BASELINE"))
        .context("a line with a gate")?;
    let committed = readme
        .split_once("generated from reports/")
        .and_then(|(_, rest)| rest.split_once(' '))
        .map(|(record, _)| workspace.reports().join(record))
        .context("the README names its record")?;
    let folder = tempfile::tempdir()?;
    let record = folder.path().join("record");
    with_enough_passes(&committed, &record)?;
    let options = line.trim_start_matches("cargo firstpass ").split(' ');
    let status = Command::new(FIRSTPASS)
        .args(options.map(|option| option.replace("BASELINE", &record.to_string_lossy())))
        .arg(&record)
        .status()?;
    assert_eq!(status.code(), Some(0), "{line}");
    Ok(())
}
