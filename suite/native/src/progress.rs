//! What is shown while a library is set up.

use std::io::{self, Write};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Where set-up tells what it does: one line a step, and on a terminal a bar below it.
pub struct Progress {
    line: Box<dyn Fn(&str)>,
    bars: bool,
}

impl Progress {
    /// On standard error, with bars if that is a terminal.
    pub fn terminal() -> Self {
        Self {
            // Standard error may be full or closed, which does no harm.
            line: Box::new(|line| drop(writeln!(io::stderr(), "{line}"))),
            bars: true,
        }
    }

    /// Passes each line to `line`, and shows no bars.
    pub fn lines_to(line: impl Fn(&str) + 'static) -> Self {
        Self {
            line: Box::new(line),
            bars: false,
        }
    }

    pub(crate) fn line(&self, line: &str) {
        (self.line)(line);
    }

    /// A bar of bytes that vanishes when dropped. Indicatif shows none but on a terminal.
    pub(crate) fn bar(&self, doing: &'static str, bytes: u64) -> ProgressBar {
        if !self.bars {
            return ProgressBar::hidden();
        }
        let template = "  {msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {eta} left";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(bytes)
            .with_style(style)
            .with_message(doing)
    }
}

/// A size in the units of a person.
pub(crate) fn size(bytes: u64) -> HumanBytes {
    HumanBytes(bytes)
}
