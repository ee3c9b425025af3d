//! Standard output and standard error, either of which may be a full disk or a closed pipe.
//!
//! The macros of the standard library panic there. A measurement of an hour is not to end so: these go on,
//! and the command fails at its end.
//!
//! Nothing that is written gives a terminal orders: names in records and files are whatever somebody wrote.

use std::{
    fmt::Arguments,
    io::{self, Write},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::page::terminal::text as shown;

/// Why standard output could not be written, the first time.
static FAILED: Mutex<Option<String>> = Mutex::new(None);

/// Whether the command is called `firstpass` here, and not `cargo firstpass`, which only a checkout knows.
static IS_INSTALLED: AtomicBool = AtomicBool::new(false);

/// Says that this command was started outside a checkout.
pub fn outside_checkout() {
    IS_INSTALLED.store(true, Ordering::Relaxed);
}

/// A text with commands as the reader can type them where this command was started.
pub fn as_called(text: String) -> String {
    match IS_INSTALLED.load(Ordering::Relaxed) {
        true => text.replace("cargo firstpass ", "firstpass "),
        false => text,
    }
}

/// Writes to standard output; what fails is told by [`failure`].
pub fn out(text: Arguments<'_>) {
    let text = as_called(text.to_string());
    let text = shown(&text);
    let mut output = io::stdout().lock();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    if let Err(error) = written
        && let Ok(mut failed) = FAILED.lock()
    {
        failed.get_or_insert_with(|| error.to_string());
    }
}

/// Writes to standard error. There is nowhere to say that this failed.
pub fn err(text: Arguments<'_>) {
    let text = as_called(text.to_string());
    let text = shown(&text);
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Why something did not get to standard output, if so.
pub fn failure() -> Option<String> {
    FAILED.lock().map_or(None, |failed| failed.clone())
}

/// In this crate these names mean the functions above, which never panic.
macro_rules! println {
    () => { $crate::output::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::out(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprintln {
    () => { $crate::output::err(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::err(format_args!("{}\n", format_args!($($text)*))) };
}
