//! The pages keep what they promise a reader: those that are committed, and those of more engines than ever were
//! measured.

mod limits;
mod made_up;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use firstpass_harness::{
    page::Block,
    record::Record,
    report::{self, terminal},
    studies::first_passes::analysis::Analysis,
};
use firstpass_trial::workspace::Workspace;

use limits::{FIRST, Report, of_sentences, of_summary};

/// Folders of `reports` that are nobody's report, or are of this machine only and not committed.
const NOT_COMMITTED: [&str; 4] = ["records", "check", "quick", "reduce"];

/// Every folder whose first page is generated: `reports`, and those of other machines in it.
fn committed(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let reports = workspace.reports();
    let mut folders = vec![reports.clone()];
    for entry in reports.read_dir()? {
        let entry = entry?;
        let is_other = NOT_COMMITTED.iter().any(|name| entry.file_name() == *name);
        if is_other || !entry.path().is_dir() {
            continue;
        }
        let page = entry.path().join(FIRST);
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        if Block::source_of(&text).is_some() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// The pages of a folder.
fn read(folder: &Path) -> Result<Report> {
    let mut pages = BTreeMap::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "md") {
            let name = path.file_name().context("a file has a name")?;
            let text = std::fs::read_to_string(&path)?;
            pages.insert(name.to_string_lossy().into_owned(), text);
        }
    }
    let by_hand = pages.keys();
    let by_hand = by_hand.filter(|name| folder.join(format!("{name}.j2")).exists());
    let at = folder.to_owned();
    Ok(Report {
        name: folder.display().to_string(),
        by_hand: by_hand.cloned().collect(),
        pages,
        has_file: Box::new(move |file| at.join(file).exists()),
    })
}

/// The record that a folder shows.
fn record(folder: &Path) -> Result<PathBuf> {
    let page = std::fs::read_to_string(folder.join(FIRST))?;
    let source = Block::source_of(&page).context("the first page names its record")?;
    Ok(folder.join(source))
}

fn no_faults(faults: &[String]) -> Result<()> {
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn committed_pages_keep_their_limits() -> Result<()> {
    let mut faults = Vec::new();
    for folder in committed(&Workspace::find()?)? {
        let report = read(&folder)?;
        ensure!(report.behind().next().is_some(), "no page behind the first");
        faults.extend(report.faults());
    }
    no_faults(&faults)
}

/// What a newcomer reads first has no endless sentence either.
#[test]
fn documents_have_no_endless_sentences() -> Result<()> {
    let workspace = Workspace::find()?;
    let mut faults = Vec::new();
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "METHODOLOGY.md",
        "BIAS.md",
    ] {
        let text = std::fs::read_to_string(workspace.root().join(name))?;
        faults.extend(of_sentences(name, &text));
    }
    no_faults(&faults)
}

/// Of the report at the top `report --check` says so, too.
#[test]
fn committed_pages_are_what_their_records_render_to() -> Result<()> {
    let workspace = Workspace::find()?;
    for folder in committed(&workspace)? {
        report::check(&workspace, &folder, false)?;
    }
    Ok(())
}

#[test]
fn the_summaries_of_committed_records_fit_a_terminal() -> Result<()> {
    let workspace = Workspace::find()?;
    let mut faults = Vec::new();
    for folder in committed(&workspace)? {
        let analysis = Analysis::new(&workspace, Record::read(&record(&folder)?)?)?;
        faults.extend(of_summary(&terminal::summary(&analysis)?));
    }
    no_faults(&faults)
}

/// How many engines the pages are to hold.
const ENGINES: usize = 12;

/// The faults of a report on a record whose engines were multiplied, and its pages.
fn with_many_engines(folder: &Path, do_declare: bool) -> Result<(Vec<String>, Vec<String>)> {
    let made_up = made_up::multiplied(&Workspace::find()?, &record(folder)?, ENGINES, do_declare)?;
    let workspace = &made_up.workspace;
    let analysis = Analysis::new(workspace, Record::read(&made_up.record)?)?;
    ensure!(analysis.record.backends.len() >= ENGINES);
    let rendered = report::render(workspace, &workspace.reports(), &analysis)?;
    let texts = rendered.files.iter();
    let texts = texts.filter(|(path, _)| path.extension().is_some_and(|e| e == "md"));
    let texts = texts.map(|(path, bytes)| {
        let text = String::from_utf8(bytes.clone())?;
        Ok((path.display().to_string(), text))
    });
    let mut pages: BTreeMap<String, String> = texts.collect::<Result<_>>()?;
    let names = pages.keys().cloned().collect();
    pages.insert(FIRST.into(), rendered.block);
    let files = rendered.files;
    let report = Report {
        name: format!("{} with {ENGINES} engines", folder.display()),
        pages,
        by_hand: [].into(),
        has_file: Box::new(move |file| files.contains_key(Path::new(file))),
    };
    let mut faults = report.faults();
    faults.extend(of_summary(&terminal::summary(&analysis)?));
    Ok((faults, names))
}

#[test]
fn pages_of_many_engines_keep_their_limits() -> Result<()> {
    let (mut faults, mut has_all) = (Vec::new(), false);
    for folder in committed(&Workspace::find()?)? {
        let (found, pages) = with_many_engines(&folder, true)?;
        faults.extend(found);
        let is_there = |page: &&str| pages.iter().any(|name| name == page);
        has_all |= made_up::STUDIES.iter().all(is_there);
    }
    ensure!(has_all, "no record has all studies");
    no_faults(&faults)
}

/// The same differences are faults of engines that declare nothing.
#[test]
fn pages_of_many_engines_with_many_faults_keep_their_limits() -> Result<()> {
    let folder = Workspace::find()?.reports();
    no_faults(&with_many_engines(&folder, false)?.0)
}
