//! The summary on the terminal: the first page in at most 25 lines.

use anyhow::Result;

use crate::{
    page::{
        template,
        terminal::{self, columns},
    },
    report::first_page::first_page,
    studies::first_passes::analysis::Analysis,
};

/// The table of the first model, then which engine to ship and what is open or went wrong.
///
/// # Errors
/// Fails where a template cannot be rendered.
pub fn summary(analysis: &Analysis) -> Result<String> {
    let page = first_page(analysis);
    let answers = template::render(
        "summary.md.j2",
        minijinja::context! { at => "", at_terminal => true, ..minijinja::Value::from_serialize(&page) },
    )?;
    let answers = terminal::wrapped(&terminal::plain(&answers), columns());
    let table = page
        .first_table()
        .map_or_else(String::new, |table| format!("{table}\n\n"));
    Ok(format!("\n{table}{answers}\n"))
}
