//! What is said and done when a command is ended before its time: by the user (Ctrl-C), by the system
//! (`SIGTERM`), or by a terminal that closes (`SIGHUP`).

use std::{
    process::exit,
    sync::{Arc, Mutex, atomic::AtomicBool},
    thread,
};

use anyhow::{Context, Result};
use firstpass_trial::{left_behind, measuring, scratch};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag,
    iterator::Signals,
};

/// What is kept of measurements that go on, in the order in which they were begun.
static KEPT: Mutex<Vec<(usize, String)>> = Mutex::new(Vec::new());

/// Announced for as long as it lives.
#[derive(Debug)]
pub struct Announcement(usize);

/// Says what is kept, and how to go on, if the command is ended from now on.
pub fn announce(text: String) -> Announcement {
    let Ok(mut kept) = KEPT.lock() else {
        return Announcement(usize::MAX);
    };
    let number = kept.last().map_or(0, |(number, _)| number + 1);
    kept.push((number, text));
    Announcement(number)
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Ok(mut kept) = KEPT.lock() {
            kept.retain(|(number, _)| *number != self.0);
        }
    }
}

/// From now on each of the three signals ends this command with a message and without temporary files,
/// but for those that it was started to ignore, as by `nohup`. Probes die with it.
///
/// # Errors
/// Fails where the system refuses.
pub fn watch() -> Result<()> {
    let ignored = ignored();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let wanted = wanted.filter(|signal| ignored & (1 << (signal - 1)) == 0);
    // Where the user limits the size of files, a write fails with words and does not end the command without any. What
    // this command starts is ended by it as ever.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .context("cannot watch for signals")?;
    let mut signals = Signals::new(wanted).context("cannot watch for signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("\n{}", message(signal));
            left_behind::end_all();
            measuring::end();
            scratch::remove_all();
            exit(128 + signal);
        }
    });
    Ok(())
}

fn message(signal: i32) -> String {
    let by = match signal {
        SIGTERM => " by SIGTERM",
        SIGHUP => " by SIGHUP",
        _ => "",
    };
    let kept = KEPT.lock().map(|kept| kept.clone()).unwrap_or_default();
    if kept.is_empty() {
        return format!("interrupted{by}; nothing was being measured: run the same command again");
    }
    let kept: Vec<String> = kept.into_iter().map(|(_, text)| text).collect();
    format!("interrupted{by}; {}", kept.join("; "))
}

/// The signals that this process ignores, as bits; none where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_said_until_it_is_complete() {
        let announcement = announce("the lines are in x.partial: do this".into());
        assert!(message(SIGTERM).contains("by SIGTERM; "));
        assert!(message(SIGHUP).contains("x.partial: do this"));
        drop(announcement);
        assert!(!message(SIGINT).contains("x.partial"));
    }
}
