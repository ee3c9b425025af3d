//! A table, for a page of markdown and for a terminal.

use comfy_table::{
    TableStyle,
    presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED},
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
        // A bar or the end of a line would end the cell.
        let escaped = |cell: &String| cell.replace('|', "\\|").replace('\n', " ");
        let rows = self.rows.iter();
        self.drawn(
            ASCII_MARKDOWN,
            rows.map(|row| row.iter().map(escaped).collect::<Vec<_>>()),
        )
        .trim_fmt()
    }

    /// For a terminal: with lines around the cells.
    pub fn terminal(&self) -> String {
        self.drawn(UTF8_FULL_CONDENSED, &self.rows).to_string()
    }

    fn drawn<R: Into<comfy_table::Row>>(
        &self,
        style: TableStyle,
        rows: impl IntoIterator<Item = R>,
    ) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table
            .load_style(style)
            .set_header(&self.header)
            .add_rows(rows);
        table
    }
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
            lines[2].contains("1\\|2") && lines[2].contains("one two"),
            "{text}"
        );
        assert_eq!(lines[3].matches(" | ").count(), 1, "{text}");
        assert!(lines[3].contains(&long), "{text}");
    }

    #[test]
    fn a_terminal_shows_cells_as_they_are() {
        let table = Table::new(["a", "b"]).rows([["1|2", "one\ntwo"]]);
        let text = table.terminal();
        assert!(text.contains("│ 1|2 ┆ one │"), "{text}");
        assert!(text.contains("│     ┆ two │"), "{text}");
        assert!(!table.is_empty() && Table::new(["a"]).is_empty());
    }
}
