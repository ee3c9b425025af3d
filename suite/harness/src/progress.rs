//! What is shown while something is measured.

use std::{fmt, sync::Mutex, time::Duration};

use indicatif::{ProgressBar, ProgressState, ProgressStyle, style::TemplateError};

use crate::page::numbers::{counted, duration};

/// Which of several measurements goes on, where one command makes several.
static STAGE: Mutex<String> = Mutex::new(String::new());

/// Says in front of every later bar which of several measurements it belongs to.
pub(crate) fn stage(text: String) {
    if let Ok(mut stage) = STAGE.lock() {
        *stage = format!("[{text}] ");
    }
}

/// Steps that are done, and how long those that are left will take at this pace.
const STEPS: &str = "{prefix} {bar:20} {pos}/{len}, {eta} left: {wide_msg}";

/// Measuring that ends with its time, or before.
const TIME: &str = "{prefix} {bar:20} at most {left} left: {wide_msg}";

/// A bar of `length` steps, in one line on standard error; a line of text where that is no terminal.
pub(crate) fn progress(title: &str, length: usize) -> ProgressBar {
    let steps = ProgressBar::new(length as u64);
    begun(steps, STEPS, title, &counted(length, "step"))
}

/// A bar of the time that measuring may take. Its position is the time that is used up, in s.
pub(crate) fn timed(title: &str, time: Duration) -> ProgressBar {
    let whole = ProgressBar::new(time.as_secs());
    begun(
        whole,
        TIME,
        title,
        &format!("at most {}", duration(time.as_secs_f64())),
    )
}

/// The same bar as it begins; `extent` is said where nothing is drawn.
fn begun(bar: ProgressBar, template: &str, title: &str, extent: &str) -> ProgressBar {
    let stage = STAGE.lock().map(|stage| stage.clone()).unwrap_or_default();
    let title = format!("{stage}{title}");
    let bar = bar.with_prefix(title.clone());
    if let Ok(style) = style(template) {
        bar.set_style(style);
    }
    // It is drawn on a terminal only.
    let line = format!("{title}: {extent}");
    if bar.is_hidden() && is_new(&SAID, &line) {
        eprintln!("{line}");
    }
    bar
}

/// The last line of text: what is done several times is said once.
static SAID: Mutex<String> = Mutex::new(String::new());

fn is_new(said: &Mutex<String>, line: &str) -> bool {
    let Ok(mut said) = said.lock() else {
        return true;
    };
    let is_new = *said != line;
    line.clone_into(&mut said);
    is_new
}

fn style(template: &str) -> Result<ProgressStyle, TemplateError> {
    let left = |state: &ProgressState, line: &mut dyn fmt::Write| {
        let left = state.len().unwrap_or_default().saturating_sub(state.pos());
        // Writing a line of a bar cannot fail.
        let _ = line.write_str(&duration(left as f64));
    };
    Ok(ProgressStyle::with_template(template)?.with_key("left", left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_a_row() {
        let said = Mutex::new(String::new());
        let lines = ["a", "a", "b", "a"].map(|line| is_new(&said, line));
        assert_eq!(lines, [true, false, true, true]);
    }

    #[test]
    fn the_lines_of_bars_are_sound() {
        for template in [STEPS, TIME] {
            assert!(style(template).is_ok(), "{template}");
        }
        assert!(style("{bar:20:x}").is_err());
    }
}
