//! What is shown while something is measured.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// Which of several measurements goes on, where one command makes several.
static STAGE: Mutex<String> = Mutex::new(String::new());

/// Says in front of every later bar which of several measurements it belongs to.
pub(crate) fn stage(text: String) {
    if let Ok(mut stage) = STAGE.lock() {
        *stage = format!("[{text}] ");
    }
}

/// A bar of `length` steps, on standard error; a line of text where that is no terminal.
pub(crate) fn progress(title: &'static str, length: usize) -> ProgressBar {
    // Steps, elapsed and expected time; drawn on standard error, and only on a terminal.
    let template = "{prefix} {bar:30} {pos}/{len} {elapsed_precise} (left: {eta}) {msg}";
    let stage = STAGE.lock().map(|stage| stage.clone()).unwrap_or_default();
    let title = format!("{stage}{title}");
    let bar = ProgressBar::new(length as u64).with_prefix(title.clone());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if bar.is_hidden() {
        eprintln!("{title}: {length} processes");
    }
    bar
}
