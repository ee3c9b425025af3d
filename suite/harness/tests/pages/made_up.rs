//! A record with more engines than were measured: those of a record, several times and under made-up names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use firstpass_harness::record::lines;
use firstpass_trial::workspace::Workspace;
use serde_json::Value;
use tempfile::TempDir;

/// The pages that studies add: a record that lacks them tests little.
pub const STUDIES: [&str; 6] = [
    "why.md",
    "layers.md",
    "operators.md",
    "tuning.md",
    "zoo.md",
    "agreement.md",
];

/// Names as engines have them, of none that is measured.
const NAMES: [&str; 12] = [
    "alder",
    "birchbark",
    "cedar",
    "dogwood",
    "elm",
    "fir-inference",
    "ginkgo",
    "hazelruntime",
    "ivy",
    "juniper",
    "kapok",
    "larch",
];

/// A checkout with these engines and their record, as long as it is held.
pub struct MadeUp {
    pub workspace: Workspace,
    pub record: PathBuf,
    _folder: TempDir,
}

/// Who is another engine, under which name.
struct Copies(Vec<(String, &'static str)>);

impl Copies {
    fn of<'a>(&'a self, engine: &'a str) -> impl Iterator<Item = &'static str> + 'a {
        let copies = self.0.iter().filter(move |(of, _)| of == engine);
        copies.map(|(_, name)| *name)
    }
}

/// The engines of a record until there are so many, with everything that was measured beside it. What the engines of
/// the record declare of themselves, the others declare as well, or nothing.
pub fn multiplied(
    workspace: &Workspace,
    record: &Path,
    engines: usize,
    do_declare: bool,
) -> Result<MadeUp> {
    let measured: Vec<String> = lines::files(record)?.into_keys().collect();
    ensure!(!measured.is_empty(), "{} has no engine", record.display());
    let missing = engines.saturating_sub(measured.len());
    ensure!(missing <= NAMES.len(), "there are too few made-up names");
    let of = measured.iter().cycle().cloned();
    let copies = Copies(of.zip(NAMES).take(missing).collect());
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    copy(&workspace.fixtures(), &root.join("fixtures"))?;
    for backend in workspace.backends()? {
        let to = root.join("backends");
        of_engine(&backend.dir, &to.join(&backend.name))?;
        for name in copies.of(&backend.name) {
            let folder = to.join(name);
            of_engine(&backend.dir, &folder)?;
            of_copy(&folder.join("known.toml"), do_declare)?;
        }
    }
    let tuned = fs::read_to_string(workspace.tuned())?;
    fs::write(root.join("tuned.toml"), tuned)?;
    let multiplied = root.join("reports/records/made-up");
    multiply(record, &multiplied, &copies)?;
    Ok(MadeUp {
        workspace: Workspace::at(root.to_owned()),
        record: multiplied,
        _folder: folder,
    })
}

/// What a report reads of an engine's sources.
fn of_engine(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in ["Cargo.toml", "known.toml"] {
        if from.join(file).is_file() {
            fs::copy(from.join(file), to.join(file))?;
        }
    }
    Ok(())
}

/// A copy has a name of its own.
fn of_copy(known: &Path, do_declare: bool) -> Result<()> {
    let text = fs::read_to_string(known).unwrap_or_default();
    let kept = text.lines();
    let kept = kept.filter(|line| do_declare && !line.starts_with("called = "));
    Ok(fs::write(known, kept.collect::<Vec<_>>().join("\n"))?)
}

/// A folder with everything in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            same_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Nobody writes into these files, so that one on the disk is enough.
fn same_file(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// A record, or a folder in one, with the lines and outputs of every copy.
fn multiply(from: &Path, to: &Path, copies: &Copies) -> Result<()> {
    fs::create_dir_all(to)?;
    let of_lines = lines::files(from)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().context("a name is readable")?;
        if entry.file_type()?.is_dir() {
            multiply(&path, &to.join(name), copies)?;
        } else if name == "run.json" {
            let mut run: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
            of_variants(&mut run, copies);
            fs::write(to.join(name), serde_json::to_string(&run)?)?;
        } else if !of_lines.values().any(|lines| *lines == path) {
            same_file(&path, &to.join(name))?;
            // Outputs are called by their engine.
            for (engine, copy) in &copies.0 {
                if let Some(rest) = name.strip_prefix(&format!("{engine}-")) {
                    same_file(&path, &to.join(format!("{copy}-{rest}")))?;
                }
            }
        }
    }
    for (engine, path) in of_lines {
        let text = lines::read_text(&path)?;
        let renamed = |of: &str, name: &str| -> Vec<String> {
            let (from, to) = (
                format!("\"backend\":\"{of}\""),
                format!("\"backend\":\"{name}\""),
            );
            text.iter().map(|line| line.replace(&from, &to)).collect()
        };
        for copy in copies.of(&engine) {
            fs::write(
                lines::plain(to, copy),
                renamed(&engine, copy).join("\n") + "\n",
            )?;
        }
        // A referee has lines about every engine.
        let mut all = text.clone();
        let others = copies.0.iter().filter(|(of, _)| *of != engine);
        for (of, name) in others {
            let lines = renamed(of, name).into_iter();
            all.extend(lines.filter(|line| line.contains(&format!("\"backend\":\"{name}\""))));
        }
        fs::write(lines::plain(to, &engine), all.join("\n") + "\n")?;
    }
    Ok(())
}

/// The settings that were measured beside the defaults.
fn of_variants(run: &mut Value, copies: &Copies) {
    let Some(variants) = run.pointer_mut("/settings/variants") else {
        return;
    };
    let Some(variants) = variants.as_object_mut() else {
        return;
    };
    for (engine, copy) in &copies.0 {
        if let Some(settings) = variants.get(engine).cloned() {
            variants.insert((*copy).to_owned(), settings);
        }
    }
}
