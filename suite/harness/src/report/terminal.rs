//! The summary table on the terminal.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    report::markdown::{summary_header, summary_rows},
    studies::first_passes::{analysis::Analysis, verdict},
};

/// What a reader wants first: one table a model, and whether all is as expected.
pub fn summary(analysis: &Analysis) -> String {
    let mut text = String::new();
    for model in analysis.models() {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_header(summary_header(analysis, model));
        table.add_rows(summary_rows(model, analysis.rows(model)));
        text += &format!("\n{}\n{table}\n", model.title);
    }
    text + "\n" + &verdict::health(analysis) + "\n"
}
