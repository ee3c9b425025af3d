//! A table, for a page of markdown and for a terminal.

use std::collections::BTreeSet;

use crate::page::{
    markdown, template,
    terminal::{self, is_hidden},
};
use comfy_table::{
    ContentArrangement, TableStyle,
    presets::{ASCII_MARKDOWN, NOTHING, UTF8_HORIZONTAL_ONLY},
};

/// The widest table that a page shows before anything is unfolded, in characters.
const SEEN: usize = 100;

/// The widest table that it folds.
const FOLDED: usize = 160;

/// No words are cut to less than this: figures stay whole.
const LEAST_WORDS: usize = 48;

/// The same for names of what a row is about.
const LEAST_NAME: usize = 20;

/// A header and rows of cells. A row that is shorter than the header ends with empty cells.
#[derive(Clone)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// How many columns say what a row is about.
    keys: usize,
}

impl Table {
    /// A table without rows.
    pub fn new<C: Into<String>>(header: impl IntoIterator<Item = C>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            keys: 1,
        }
    }

    /// The table with so many columns that say what a row is about. Where it is too wide for a page, each part has
    /// them.
    pub fn keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// Adds one row at the end.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table with these rows added at the end.
    pub fn rows<R>(mut self, rows: impl IntoIterator<Item = R>) -> Self
    where
        R: IntoIterator,
        R::Item: Into<String>,
    {
        for cells in rows {
            self.row(cells);
        }
        self
    }

    /// Whether the table has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For a folded part of a page, as a value that a template prints as it is. Cells that are too long for it stand
    /// in full below it.
    pub fn page(&self) -> minijinja::Value {
        let table = self.markdown(FOLDED);
        let cut = self.in_full(FOLDED);
        if cut.is_empty() {
            return template::markdown(table);
        }
        let cut = cut
            .iter()
            .map(|cell| format!("- {}", cell_of_markdown(cell)));
        let cut = cut.collect::<Vec<_>>().join("\n");
        template::markdown(format!("{table}\n\nIn full:\n\n{cut}"))
    }

    /// The same for what a page shows before anything is unfolded.
    pub fn seen(&self) -> minijinja::Value {
        template::markdown(self.markdown(SEEN))
    }

    /// The same in the width of a page, with cells cut where it must be.
    fn fitted(&self, columns: usize) -> Self {
        let short = self.clone().with_short_words(columns);
        short.with_short_names(columns)
    }

    /// The cells that are cut to fit, as they are, each once.
    fn in_full(&self, columns: usize) -> BTreeSet<&str> {
        let rows = self.rows.iter().zip(self.fitted(columns).rows);
        let cut = rows.flat_map(|(cells, fitted)| {
            let cells = cells.iter().zip(fitted);
            cells.filter(|(cell, fitted)| *cell != fitted)
        });
        cut.map(|(cell, _)| cell.as_str()).collect()
    }

    /// One line for each row. What is wider than `columns` characters is several tables, one below the other.
    fn markdown(&self, columns: usize) -> String {
        let parts = self.fitted(columns).parts(columns);
        let drawn = parts
            .iter()
            .map(|part| part.drawn(ASCII_MARKDOWN, cell_of_markdown).trim_fmt());
        drawn.collect::<Vec<_>>().join("\n\n")
    }

    /// The width of each column on a page, in characters.
    fn widths(&self) -> Vec<usize> {
        let width = |cell: &str| cell_of_markdown(cell).chars().count();
        let mut widths: Vec<usize> = self.header.iter().map(|cell| width(cell)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(cell));
            }
        }
        widths
    }

    /// The same with the longest words of others cut, as far as that makes it no wider than `columns`.
    fn with_short_words(mut self, columns: usize) -> Self {
        loop {
            let widths = self.widths();
            let excess = drawn_width(&widths).saturating_sub(columns);
            let widest = widths.iter().enumerate().max_by_key(|(_, width)| **width);
            let Some((at, &width)) =
                widest.filter(|(_, width)| excess > 0 && **width > LEAST_WORDS)
            else {
                return self;
            };
            self.cut_column(at, width.saturating_sub(excess).max(LEAST_WORDS));
            if self.widths()[at] >= width {
                // It is the header that is so wide.
                return self;
            }
        }
    }

    /// The same with short names in the first column, where that is enough to make it no wider than `columns`.
    fn with_short_names(mut self, columns: usize) -> Self {
        let widths = self.widths();
        let excess = drawn_width(&widths).saturating_sub(columns);
        let to = widths
            .first()
            .map_or(0, |width| width.saturating_sub(excess));
        if excess > 0 && to >= LEAST_NAME {
            self.cut_column(0, to);
        }
        self
    }

    fn cut_column(&mut self, at: usize, to: usize) {
        for row in &mut self.rows {
            if let Some(cell) = row.get_mut(at) {
                *cell = cut(cell, to);
            }
        }
    }

    /// Tables of some of the columns each, none wider than `columns` where that can be.
    fn parts(self, columns: usize) -> Vec<Self> {
        let widths = self.widths();
        let keys = self.keys.min(widths.len());
        let mut groups: Vec<Vec<usize>> = vec![(0..keys).collect()];
        for at in keys..widths.len() {
            let group = groups.last().map_or(&[][..], Vec::as_slice);
            let with: Vec<usize> = group
                .iter()
                .map(|&column| widths[column])
                .chain([widths[at]])
                .collect();
            if group.len() > keys && drawn_width(&with) > columns {
                groups.push((0..keys).collect());
            }
            if let Some(group) = groups.last_mut() {
                group.push(at);
            }
        }
        if groups.len() == 1 {
            return vec![self];
        }
        let of = |row: &[String], group: &[usize]| -> Vec<String> {
            let cells = group.iter().map(|&at| row.get(at).cloned());
            cells.map(Option::unwrap_or_default).collect()
        };
        let part = |group: &Vec<usize>| {
            let rows = self.rows.iter().map(|row| of(row, group));
            Self::new(of(&self.header, group)).keys(keys).rows(rows)
        };
        groups.iter().map(part).collect()
    }

    /// For a terminal: no wider than that, long cells in several lines. Where no person looks, it is plain
    /// text in lines of any length, for the program that reads them.
    pub fn terminal(&self) -> String {
        self.shown(terminal::is_seen().then(terminal::columns))
    }

    /// For a terminal of this width, or in plain text.
    fn shown(&self, columns: Option<usize>) -> String {
        // As on a page, an end of a line is a space: what stands in a cell must not look like a line of its own.
        let shown = |cell: &str| terminal::text(&cell.replace('\n', " ")).into_owned();
        let Some(columns) = columns else {
            return self.drawn(NOTHING, shown).trim_fmt();
        };
        let mut table = self.drawn(UTF8_HORIZONTAL_ONLY, shown);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(columns).unwrap_or(u16::MAX));
        table.to_string()
    }

    /// Draws the table with each cell as `shown` shows it.
    fn drawn(&self, style: TableStyle, shown: impl Fn(&str) -> String) -> comfy_table::Table {
        let row = |cells: &Vec<String>| cells.iter().map(|cell| shown(cell)).collect::<Vec<_>>();
        let (header, rows) = (row(&self.header), self.rows.iter().map(row));
        let mut table = comfy_table::Table::new();
        table.load_style(style).set_header(header).add_rows(rows);
        table
    }
}

/// The width of a table on a page, with these widths of its columns.
fn drawn_width(widths: &[usize]) -> usize {
    // A line before each cell and one at the end, and a space on both sides.
    widths.iter().map(|width| width + 3).sum::<usize>() + 1
}

/// The beginning of a cell, no wider than this on a page; code that is cut ends as code.
fn cut(cell: &str, to: usize) -> String {
    let width = |cell: &str| cell_of_markdown(cell).chars().count();
    let mut shown = cell.to_owned();
    let mut kept = cell.chars().count();
    while width(&shown) > to && kept > 0 {
        kept -= 1;
        shown = cell.chars().take(kept).collect();
        let is_open = shown.matches('`').count() % 2 == 1;
        shown = shown.trim_end().to_owned() + if is_open { "…`" } else { "…" };
    }
    shown
}

/// A cell as words that mean only themselves, but for what pages of our own write: code that stands by itself among
/// other words, and a cell that is nothing but emphasis.
fn cell_of_markdown(cell: &str) -> String {
    let is_emphasis = ["**", "*"].iter().any(|mark| {
        let within = cell.strip_prefix(mark).and_then(|c| c.strip_suffix(mark));
        within.is_some_and(|words| !words.is_empty() && words.chars().all(is_plain))
    });
    if is_emphasis {
        return cell.to_owned();
    }
    let parts: Vec<&str> = cell.split('`').collect();
    let is_code = |at: usize| {
        let before = parts[at - 1].chars().last();
        let after = parts.get(at + 1).map(|next| next.chars().next());
        at % 2 == 1
            && !parts[at].is_empty()
            && parts[at].chars().all(is_plain)
            && before.is_none_or(|c| " (".contains(c))
            && after.is_some_and(|next| next.is_none_or(|c| " ,.;:)".contains(c)))
    };
    if parts.len().is_multiple_of(2) || !(1..parts.len()).step_by(2).all(is_code) {
        return markdown::inline(cell);
    }
    let shown = parts.iter().enumerate().map(|(at, part)| match at % 2 {
        1 => format!("`{part}`"),
        _ => markdown::inline(part),
    });
    shown.collect()
}

/// Whether a character means nothing more, in code or emphasis either.
fn is_plain(c: char) -> bool {
    !is_hidden(c) && !"`*|<>[]\\&".contains(c)
}

#[cfg(test)]
impl Table {
    /// The cells of every row.
    pub fn cells(&self) -> &[Vec<String>] {
        &self.rows
    }
}

#[cfg(test)]
mod tests;
