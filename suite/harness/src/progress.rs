//! What is shown while something is measured.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `length` steps, on standard error; a line of text where that is no terminal.
pub(crate) fn progress(title: &'static str, length: usize) -> ProgressBar {
    // Steps, elapsed and expected time; drawn on standard error, and only on a terminal.
    let template = "{prefix} {bar:30} {pos}/{len} {elapsed_precise} (left: {eta}) {msg}";
    let bar = ProgressBar::new(length as u64).with_prefix(title);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if bar.is_hidden() {
        eprintln!("{title}: {length} processes");
    }
    bar
}
