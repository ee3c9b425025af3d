//! The committed pages keep what they promise a reader: the first page fits two screens, no sentence is
//! endless, and every page is found from the first one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_harness::{
    page::{Block, slug},
    record::Record,
    report::terminal,
    studies::first_passes::analysis::Analysis,
};
use firstpass_trial::workspace::Workspace;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Limits of the first page.
const LINES: usize = 120;
const BYTES: usize = 16 * 1024;
const COLUMNS: usize = 100;

/// The words of the longest sentence that is seen.
const WORDS: usize = 40;

/// The lines of a summary on a terminal, with those that say where the report, its HTML and the record are.
const SUMMARY_LINES: usize = 25;
const PATHS: usize = 3;

/// Limits of what a page behind the first one shows before anything is unfolded, and of the tables that it folds.
const SEEN_LINES: usize = 60;
const SEEN_TABLES: usize = 2;
const FOLDED_COLUMNS: usize = 160;

/// The pages of a folder, by file name.
fn pages(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "md") {
            let name = path.file_name().context("a file has a name")?;
            let text = std::fs::read_to_string(&path)?;
            pages.insert(name.to_string_lossy().into_owned(), text);
        }
    }
    Ok(pages)
}

fn reports() -> Result<PathBuf> {
    Ok(Workspace::find()?.reports())
}

/// Paragraphs and entries of lists, without tables, code and folded parts.
fn paragraphs(page: &str) -> Vec<String> {
    let mut paragraphs = Vec::new();
    let mut current = String::new();
    let mut in_table = false;
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Table(_)) => in_table = true,
            Event::End(TagEnd::Table) => {
                in_table = false;
                current.clear();
            }
            Event::Text(text) | Event::Code(text) if !in_table => current.push_str(&text),
            Event::SoftBreak => current.push(' '),
            Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::Heading(_)) => {
                paragraphs.push(std::mem::take(&mut current));
            }
            _ => {}
        }
    }
    paragraphs
}

/// Sentences end with a point, a colon or a question mark before a space.
fn sentences(paragraph: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for word in paragraph.split_whitespace() {
        if let Some(last) = sentences.last_mut() {
            last.push_str(word);
            last.push(' ');
        }
        if word.ends_with(['.', '?', ':', ';']) {
            sentences.push(String::new());
        }
    }
    sentences
}

#[test]
fn the_first_page_fits_two_screens() -> Result<()> {
    let page = std::fs::read_to_string(reports()?.join("README.md"))?;
    assert!(
        page.lines().count() <= LINES,
        "{} lines",
        page.lines().count()
    );
    assert!(page.len() <= BYTES, "{} bytes", page.len());
    for row in page.lines().filter(|line| line.starts_with('|')) {
        assert!(
            row.chars().count() <= COLUMNS,
            "{} columns: {row}",
            row.chars().count()
        );
    }
    for paragraph in paragraphs(&page) {
        for sentence in sentences(&paragraph) {
            let words = sentence.split_whitespace().count();
            assert!(words <= WORDS, "{words} words: {sentence}");
        }
    }
    Ok(())
}

/// The links of a page: file, which is empty for the page itself, and fragment.
fn links(page: &str) -> Vec<(String, String)> {
    let mut links = Vec::new();
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        if let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event
            && !dest_url.contains("://")
        {
            let (file, fragment) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
            links.push((file.to_owned(), fragment.to_owned()));
        }
    }
    links
}

fn headings(page: &str) -> BTreeSet<String> {
    let mut headings = BTreeSet::new();
    let mut current = None;
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::Heading { .. }) => current = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => headings.extend(current.take().map(|h| slug(&h))),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut current {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    headings
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_found_from_the_first() -> Result<()> {
    let folder = reports()?;
    let pages = pages(&folder)?;
    let mut found = BTreeSet::from(["README.md".to_owned()]);
    let mut next = vec!["README.md".to_owned()];
    while let Some(name) = next.pop() {
        for (file, fragment) in links(&pages[&name]) {
            let target = if file.is_empty() { &name } else { &file };
            let path = folder.join(target.replace("%20", " "));
            assert!(
                path.exists(),
                "{name} links to {target}, which is not there"
            );
            if let Some(page) = pages.get(target) {
                let known = fragment.is_empty() || headings(page).contains(&fragment);
                assert!(
                    known,
                    "{name} links to {target}#{fragment}: no such heading"
                );
                if found.insert(target.clone()) {
                    next.push(target.clone());
                }
            }
        }
    }
    let lost: Vec<&String> = pages.keys().filter(|name| !found.contains(*name)).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
    Ok(())
}

/// The part of a page that is seen before anything is unfolded.
fn visible(page: &str) -> String {
    let mut depth = 0;
    let mut seen = String::new();
    for line in page.lines() {
        depth += line.matches("<details>").count();
        if depth == 0 {
            seen += line;
            seen.push('\n');
        }
        depth -= line.matches("</details>").count();
    }
    assert_eq!(depth, 0, "every folded part ends");
    seen
}

/// The widths of the tables of a page of markdown, in characters.
fn widths(page: &str) -> Vec<usize> {
    let mut widths = Vec::new();
    let mut in_table = false;
    for line in page.lines() {
        let is_row = line.starts_with('|');
        if is_row && !in_table {
            widths.push(0);
        }
        if let (true, Some(width)) = (is_row, widths.last_mut()) {
            *width = (*width).max(line.chars().count());
        }
        in_table = is_row;
    }
    widths
}

/// The generated pages behind the first one; what people wrote is prose from beginning to end.
fn detail_pages() -> Result<BTreeMap<String, String>> {
    let folder = reports()?;
    let mut pages = pages(&folder)?;
    pages.retain(|name, _| name != "README.md" && !folder.join(format!("{name}.j2")).exists());
    assert!(!pages.is_empty(), "there are pages behind the first one");
    Ok(pages)
}

/// The paragraphs of a page in the words of its markdown, without headings and notes of what is stale.
fn first_paragraph(page: &str) -> &str {
    let mut blocks = page.split("\n\n");
    let is_note = |block: &str| block.starts_with(['#', '>', '<']);
    blocks.find(|block| !is_note(block)).unwrap_or_default()
}

#[test]
fn a_page_behind_the_first_begins_with_the_answer_that_stands_beside_its_link() -> Result<()> {
    let first = std::fs::read_to_string(reports()?.join("README.md"))?;
    for (name, text) in detail_pages()? {
        let link = format!("]({name}): ");
        let said = first
            .lines()
            .find_map(|line| Some(line.split_once(&link)?.1));
        let said = said.with_context(|| format!("the first page says nothing of {name}"))?;
        assert_eq!(first_paragraph(&text), said, "{name}");
    }
    Ok(())
}

#[test]
fn a_page_behind_the_first_shows_little_and_folds_the_rest() -> Result<()> {
    for (name, text) in detail_pages()? {
        let seen = visible(&text);
        let lines = seen.lines().filter(|line| !line.is_empty()).count();
        assert!(lines <= SEEN_LINES, "{name} shows {lines} lines");
        let tables = widths(&seen);
        assert!(
            tables.len() <= SEEN_TABLES,
            "{name} shows {} tables",
            tables.len()
        );
        for width in tables {
            assert!(
                width <= COLUMNS,
                "{name} shows a table of {width} characters"
            );
        }
        for width in widths(&text) {
            assert!(
                width <= FOLDED_COLUMNS,
                "{name} folds a table of {width} characters"
            );
        }
        for sentence in paragraphs(&seen)
            .iter()
            .flat_map(|paragraph| sentences(paragraph))
        {
            let words = sentence.split_whitespace().count();
            assert!(words <= WORDS, "{name}, {words} words: {sentence}");
        }
    }
    Ok(())
}

#[test]
fn the_summary_of_the_committed_record_fits_a_terminal() -> Result<()> {
    let workspace = Workspace::find()?;
    let page = std::fs::read_to_string(reports()?.join("README.md"))?;
    let record = Block::source_of(&page).context("the first page names its record")?;
    let record = Record::read(&reports()?.join(record))?;
    let summary = terminal::summary(&Analysis::new(&workspace, record)?)?;
    let lines = summary.lines().count();
    assert!(lines + PATHS <= SUMMARY_LINES, "{lines} lines:\n{summary}");
    for line in summary.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    Ok(())
}

#[test]
fn what_is_folded_is_not_seen_and_tables_are_measured() {
    let page =
        "a\n\n<details><summary>b</summary>\n\n| wide table |\n\n</details>\n\n| c |\n|---|\n";
    assert_eq!(visible(page), "a\n\n\n| c |\n|---|\n");
    assert_eq!(widths(page), [14, 5]);
    let page = "# Q\n\n<!-- x -->\n> note\n<!-- y -->\n\nThe answer.\n\nMore.";
    assert_eq!(first_paragraph(page), "The answer.");
}
