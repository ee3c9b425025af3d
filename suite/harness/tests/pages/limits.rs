//! What the pages of a report promise a reader: two screens, no endless sentence, no lost page.

use std::collections::{BTreeMap, BTreeSet};

use firstpass_harness::page::slug;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Limits of the first page.
const LINES: usize = 120;
const BYTES: usize = 16 * 1024;

/// The width of a table that is seen, and of a summary on a terminal.
pub const COLUMNS: usize = 100;

/// The words of the longest sentence that is seen.
const WORDS: usize = 40;

/// The lines of a summary on a terminal, with those that say where the report, its HTML and the record are.
const SUMMARY_LINES: usize = 25;
const PATHS: usize = 3;

/// Limits of what a page behind the first one shows before anything is unfolded, and of the tables that it folds.
const SEEN_LINES: usize = 60;
const SEEN_TABLES: usize = 2;
const FOLDED_COLUMNS: usize = 160;

/// The name of the first page.
pub const FIRST: &str = "README.md";

/// The pages of one report.
pub struct Report {
    /// How its faults are told from those of other reports.
    pub name: String,
    /// By file name.
    pub pages: BTreeMap<String, String>,
    /// Pages that people wrote, which are prose from beginning to end.
    pub by_hand: BTreeSet<String>,
    /// Whether there is a file of this path, from the folder of the report.
    pub has_file: Box<dyn Fn(&str) -> bool>,
}

impl Report {
    /// Every promise that is not kept.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.of_the_first_page();
        faults.extend(self.of_links());
        for (name, text) in self.behind() {
            faults.extend(self.of_answer(name, text));
            faults.extend(of_page_behind(name, text));
        }
        let named = faults.into_iter();
        named
            .map(|fault| format!("{}/{fault}", self.name))
            .collect()
    }

    fn first(&self) -> &str {
        self.pages.get(FIRST).map_or("", String::as_str)
    }

    /// The generated pages behind the first one.
    pub fn behind(&self) -> impl Iterator<Item = (&str, &str)> {
        let pages = self.pages.iter();
        let pages = pages.filter(|(name, _)| *name != FIRST && !self.by_hand.contains(*name));
        pages.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    fn of_the_first_page(&self) -> Vec<String> {
        let page = self.first();
        let mut faults = Vec::new();
        let lines = page.lines().count();
        if lines > LINES {
            faults.push(format!("{FIRST} has {lines} lines"));
        }
        if page.len() > BYTES {
            faults.push(format!("{FIRST} has {} bytes", page.len()));
        }
        for width in widths(page).into_iter().filter(|width| *width > COLUMNS) {
            faults.push(format!("{FIRST} has a table of {width} characters"));
        }
        faults.extend(of_sentences(FIRST, page));
        faults
    }

    /// Links that lead nowhere, and pages that no link leads to.
    fn of_links(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut found = BTreeSet::from([FIRST.to_owned()]);
        let mut next = vec![FIRST.to_owned()];
        while let Some(name) = next.pop() {
            for (file, fragment) in links(&self.pages[&name]) {
                let target = if file.is_empty() { &name } else { &file };
                let Some(page) = self.pages.get(target) else {
                    if !(self.has_file)(&target.replace("%20", " ")) {
                        faults.push(format!("{name} links to {target}, which is not there"));
                    }
                    continue;
                };
                if !fragment.is_empty() && !headings(page).contains(&fragment) {
                    faults.push(format!(
                        "{name} links to {target}#{fragment}: no such heading"
                    ));
                }
                if found.insert(target.clone()) {
                    next.push(target.clone());
                }
            }
        }
        let lost = self.pages.keys().filter(|name| !found.contains(*name));
        faults.extend(lost.map(|name| format!("{name}: no link leads there")));
        faults
    }

    /// A page behind the first one begins with the answer that stands beside its link.
    fn of_answer(&self, name: &str, text: &str) -> Option<String> {
        let link = format!("]({name}): ");
        let mut lines = self.first().lines();
        let Some(said) = lines.find_map(|line| Some(line.split_once(&link)?.1)) else {
            return Some(format!("{FIRST} says nothing of {name}"));
        };
        let begins = first_paragraph(text);
        (begins != said)
            .then(|| format!("{name} begins with {begins:?}, and {FIRST} says {said:?}"))
    }
}

/// A page behind the first one shows little and folds the rest.
fn of_page_behind(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(seen) = visible(text) else {
        return vec![format!("{name}: a folded part does not end")];
    };
    let lines = seen.lines().filter(|line| !line.is_empty()).count();
    if lines > SEEN_LINES {
        faults.push(format!("{name} shows {lines} lines"));
    }
    let tables = widths(&seen);
    if tables.len() > SEEN_TABLES {
        faults.push(format!("{name} shows {} tables", tables.len()));
    }
    for width in tables.into_iter().filter(|width| *width > COLUMNS) {
        faults.push(format!("{name} shows a table of {width} characters"));
    }
    let folded = widths(text).into_iter();
    for width in folded.filter(|width| *width > FOLDED_COLUMNS) {
        faults.push(format!("{name} folds a table of {width} characters"));
    }
    faults.extend(of_sentences(name, &seen));
    faults.extend(of_cells(name, text));
    faults
}

/// Cells that hold the words of a program instead of a figure or a dash, and names of nothing.
fn of_cells(name: &str, page: &str) -> Vec<String> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let cells = rows.flat_map(|row| row.split('|').map(str::trim));
    let odd = cells.filter(|cell| {
        let is_word = |word: &str| matches!(word, "NaN" | "inf" | "None" | "null");
        cell.split_whitespace().any(is_word) || cell.contains(" on ,")
    });
    odd.map(|cell| format!("{name} has a cell {cell:?}"))
        .collect()
}

/// Sentences that are too long to be read at once.
pub fn of_sentences(name: &str, page: &str) -> Vec<String> {
    let paragraphs = paragraphs(page);
    let sentences = paragraphs.iter().flat_map(|text| sentences(text));
    let long = sentences.filter_map(|sentence| {
        let words = sentence.split_whitespace().count();
        (words > WORDS).then(|| format!("{name}, {words} words: {sentence}"))
    });
    long.collect()
}

/// What is wrong with a summary on a terminal.
pub fn of_summary(summary: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = summary.lines().count();
    if lines + PATHS > SUMMARY_LINES {
        faults.push(format!("the summary has {lines} lines:\n{summary}"));
    }
    let wide = summary
        .lines()
        .filter(|line| line.chars().count() > COLUMNS);
    faults.extend(wide.map(|line| format!("the summary has a wide line: {line}")));
    faults
}

/// Paragraphs and entries of lists, without tables and code.
fn paragraphs(page: &str) -> Vec<String> {
    let mut paragraphs = Vec::new();
    let mut current = String::new();
    let mut is_skipped = false;
    for event in Parser::new_ext(page, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Table(_) | Tag::CodeBlock(_)) => is_skipped = true,
            Event::End(TagEnd::Table | TagEnd::CodeBlock) => {
                is_skipped = false;
                current.clear();
            }
            Event::Text(text) | Event::Code(text) if !is_skipped => current.push_str(&text),
            Event::SoftBreak => current.push(' '),
            Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::Heading(_)) => {
                paragraphs.push(std::mem::take(&mut current));
            }
            _ => {}
        }
    }
    paragraphs
}

/// Sentences end with a point, a colon, a semicolon or a question mark before a space.
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

/// The part of a page that is seen before anything is unfolded; `None` where a folded part does not end.
fn visible(page: &str) -> Option<String> {
    let mut depth = 0;
    let mut seen = String::new();
    for line in page.lines() {
        depth += line.matches("<details>").count();
        if depth == 0 {
            seen += line;
            seen.push('\n');
        }
        depth = depth.checked_sub(line.matches("</details>").count())?;
    }
    (depth == 0).then_some(seen)
}

/// The widths of the tables of a page of markdown, in characters.
fn widths(page: &str) -> Vec<usize> {
    let mut widths = Vec::new();
    let mut is_skipped = false;
    for line in page.lines() {
        let is_row = line.starts_with('|');
        if is_row && !is_skipped {
            widths.push(0);
        }
        if let (true, Some(width)) = (is_row, widths.last_mut()) {
            *width = (*width).max(line.chars().count());
        }
        is_skipped = is_row;
    }
    widths
}

/// The first paragraph of a page in the words of its markdown, without headings and notes of what is stale.
fn first_paragraph(page: &str) -> &str {
    let mut blocks = page.split("\n\n");
    let is_note = |block: &str| block.starts_with(['#', '>', '<']);
    blocks.find(|block| !is_note(block)).unwrap_or_default()
}

#[test]
fn what_is_folded_is_not_seen_and_tables_are_measured() {
    let page =
        "a\n\n<details><summary>b</summary>\n\n| wide table |\n\n</details>\n\n| c |\n|---|\n";
    assert_eq!(visible(page).as_deref(), Some("a\n\n\n| c |\n|---|\n"));
    assert_eq!(visible("<details>\n"), None);
    assert_eq!(widths(page), [14, 5]);
    let page = "# Q\n\n<!-- x -->\n> note\n<!-- y -->\n\nThe answer.\n\nMore.";
    assert_eq!(first_paragraph(page), "The answer.");
}

/// Each promise that is broken is a fault, so that the tests of whole reports can fail.
#[test]
fn a_broken_promise_is_a_fault() {
    let report = |first: &str, behind: &str| Report {
        name: "r".into(),
        pages: [(FIRST, first), ("b.md", behind)]
            .map(|(name, text)| (name.into(), text.into()))
            .into(),
        by_hand: BTreeSet::new(),
        has_file: Box::new(|_| false),
    };
    let first = "[b](b.md): An answer.\n";
    let behind = "# Q\n\nAn answer.\n\n[back](README.md)\n";
    assert_eq!(report(first, behind).faults(), Vec::<String>::new());
    let row = |width: usize| format!("\n| {} |\n|---|\n", "x".repeat(width - 4));
    for (first, behind, fault) in [
        ("", behind, "README.md says nothing of b.md"),
        ("", behind, "b.md: no link leads there"),
        (first, "Another.", "b.md begins with"),
        (
            &format!("{first}{}", "\n".repeat(LINES)),
            behind,
            "121 lines",
        ),
        (&format!("{first}{}", " ".repeat(BYTES)), behind, " bytes"),
        (
            &format!("{first}{}", row(101)),
            behind,
            "a table of 101 characters",
        ),
        (
            &format!("{first}\n{}", "word ".repeat(41)),
            behind,
            "41 words",
        ),
        (
            first,
            &format!("{behind}{}", row(101)),
            "shows a table of 101",
        ),
        (
            first,
            &format!("{behind}\n<details>\n{}\n</details>\n", row(161)),
            "folds a table of 161",
        ),
        (
            first,
            &format!("{behind}{}", row(9).repeat(3)),
            "shows 3 tables",
        ),
        (
            first,
            &format!("{behind}{}", "x\n".repeat(60)),
            "shows 63 lines",
        ),
        (
            first,
            &format!("{behind}\n{}", "word ".repeat(41)),
            "41 words",
        ),
        (
            first,
            &format!("{behind}\n[c](c.md)"),
            "c.md, which is not there",
        ),
        (
            first,
            &format!("{behind}\n[c](#c)"),
            "b.md#c: no such heading",
        ),
    ] {
        let faults = report(first, behind).faults().join("\n");
        assert!(faults.contains(fault), "{fault} in {faults}");
    }
    assert!(of_summary(&"a\n".repeat(30))[0].contains("30 lines"));
    assert!(of_summary(&"a".repeat(101))[0].contains("wide"));
}
