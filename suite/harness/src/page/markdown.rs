//! Parts of a page of markdown.

use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets::ASCII_MARKDOWN};

/// A table of markdown.
pub(crate) fn table<H: Into<String>>(
    header: impl IntoIterator<Item = H>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.into_iter().map(Into::into).collect::<Vec<String>>());
    // A bar would end the cell.
    table.add_rows(rows.into_iter().map(|row| {
        row.into_iter()
            .map(|cell| cell.replace('|', "\\|").replace('\n', " "))
            .collect::<Vec<_>>()
    }));
    table.trim_fmt()
}

/// A picture with its description, for who does not see it.
pub(crate) fn image(path: &Path, alt: &str) -> String {
    format!("![{alt}]({})", path.display())
}
