//! A table, for a page of markdown and for a terminal.

use crate::page::{
    markdown, template,
    terminal::{self, is_hidden},
};
use comfy_table::{
    ContentArrangement, TableStyle,
    presets::{ASCII_MARKDOWN, NOTHING, UTF8_HORIZONTAL_ONLY},
};

/// A header and rows of cells. A row that is shorter than the header ends with empty cells.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<C: Into<String>>(header: impl IntoIterator<Item = C>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
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

    /// For a page: one line for each row, however long it is.
    pub fn markdown(&self) -> String {
        self.drawn(ASCII_MARKDOWN, cell_of_markdown).trim_fmt()
    }

    /// The same as a value that a template prints as it is.
    pub fn page(&self) -> minijinja::Value {
        template::markdown(self.markdown())
    }

    /// For a terminal: no wider than that, long cells in several lines. Where no person looks, it is plain
    /// text in lines of any length, for the program that reads them.
    pub fn terminal(&self) -> String {
        self.shown(terminal::is_seen().then(terminal::columns))
    }

    /// For a terminal of this width, or in plain text.
    fn shown(&self, columns: Option<usize>) -> String {
        let shown = |cell: &str| terminal::text(cell).into_owned();
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
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_of_markdown_whatever_is_in_its_cells() {
        let long = "x".repeat(300);
        let mut table = Table::new(["a", "b"]).rows([["1|2", "one\ntwo"]]);
        table.row([long.as_str()]);
        let text = table.markdown();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(
            lines[2].contains("1&#124;2") && lines[2].contains("one two"),
            "{text}"
        );
        assert_eq!(lines[3].matches(" | ").count(), 1, "{text}");
        assert!(lines[3].contains(&long), "{text}");
    }

    #[test]
    fn a_cell_holds_no_html_and_no_orders() {
        let table = Table::new(["a"]).rows([["<b>\u{1b}[1m</b> < 0.01"]]);
        let text = table.markdown();
        assert!(text.contains(r"&#60;b>\u{1b}[1m&#60;/b> < 0.01"), "{text}");
        let text = table.terminal();
        assert!(text.contains(r"<b>\u{1b}[1m</b> < 0.01"), "{text}");
    }

    #[test]
    fn code_and_emphasis_of_our_own_stay() {
        for own in [
            "`exact=on, block=4`",
            "`a`, `b`",
            "**exact**",
            "*other operators*",
        ] {
            assert_eq!(cell_of_markdown(own), own);
        }
        for (other, shown) in [
            ("`a|b`", "&#96;a&#124;b&#96;"),
            ("il`x`", "il&#96;x&#96;"),
            ("`x`y", "&#96;x&#96;y"),
            ("**", "&#42;&#42;"),
        ] {
            assert_eq!(cell_of_markdown(other), shown);
        }
    }

    #[test]
    fn a_terminal_shows_cells_as_they_are() {
        let table = Table::new(["a", "b"]).rows([["1|2", "one\ntwo"]]);
        let text = table.shown(Some(40));
        assert!(text.contains(" 1|2   one "), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
        let plain = table.shown(None);
        assert!(plain.is_ascii() && plain.contains("1|2"), "{plain}");
        assert!(!table.is_empty() && Table::new(["a"]).is_empty());
    }
}
