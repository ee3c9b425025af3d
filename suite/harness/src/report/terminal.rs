//! The summary table on the terminal.

use crate::{
    page::terminal::text as shown,
    report::markdown::summary_table,
    studies::first_passes::{analysis::Analysis, verdict},
};

/// What a reader wants first: one table a model, and whether all is as expected.
pub fn summary(analysis: &Analysis) -> String {
    let mut text = String::new();
    for model in analysis.models() {
        let table = summary_table(analysis, model).terminal();
        text += &format!("\n{}\n{table}\n", model.title);
    }
    text += &format!("\n{}\n", verdict::health(analysis));
    shown(&text).into_owned()
}
