//! Processes that a program of the user's own has left behind.
//!
//! A program that forks twice and opens a session has left what it started to the system, which knows nothing any more of
//! where it comes from. Only its environment tells: each program gets a mark there, which what it starts inherits. What
//! clears its environment is not found. Where this process is killed, a [`watcher`] looks for the marks.

#[cfg(target_os = "linux")]
mod watcher;

use std::{
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use firstpass_probe::monotonic_ns;

/// The variable that holds the mark.
const VARIABLE: &str = "FIRSTPASS_PROCESS";

/// How long it is looked whether more are there: one may have started another while it was ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// How all marks of this process begin. It has its number for a while only, and the time tells it from another.
static PREFIX: LazyLock<String> =
    LazyLock::new(|| format!("{}-{}-", std::process::id(), monotonic_ns()));

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The mark of a program and of all that it starts. When it is dropped, what still runs of these is ended.
#[derive(Debug)]
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        watcher::begin();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // What follows ends the number: 1 is not 10.
        Self(format!("{}{number}.", *PREFIX))
    }

    /// Lets a command have it.
    pub(crate) fn put(&self, command: &mut Command) {
        command.env(VARIABLE, &self.0);
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        end(&self.0);
    }
}

/// Ends whatever programs of the user's own, and what these have started, still run for this process.
pub fn end_all() {
    if NEXT.load(Ordering::Relaxed) > 0 {
        end(&PREFIX);
    }
}

/// Ends all processes whose mark begins so.
#[cfg(target_os = "linux")]
fn end(mark: &str) {
    let marked = format!("{VARIABLE}={mark}");
    let deadline = std::time::Instant::now() + PATIENCE;
    while linux::end(marked.as_bytes()) && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Elsewhere no process can be asked for its environment.
#[cfg(not(target_os = "linux"))]
fn end(_: &str) {}

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs, io::Read};

    use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

    /// More of an environment is not looked at: the system allows some MiB of it.
    const MOST: u64 = 1 << 23;

    /// Ends every process that has this in its environment, once; whether there was any.
    pub(super) fn end(marked: &[u8]) -> bool {
        let Ok(processes) = fs::read_dir("/proc") else {
            return false;
        };
        let numbers = processes.filter_map(|entry| {
            let number = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Pid::from_raw(number)
        });
        let mut any = false;
        for pid in numbers.filter(|pid| *pid != getpid()) {
            if !has(pid, marked) {
                continue;
            }
            // Another process may have got its number meanwhile: the descriptor stays with one of them.
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            if has(pid, marked) {
                any |= pidfd_send_signal(&process, Signal::KILL).is_ok();
            }
        }
        any
    }

    /// Whether a process of this user has this in its environment; one that has ended has none.
    fn has(pid: Pid, marked: &[u8]) -> bool {
        let mut environment = Vec::new();
        let file = fs::File::open(format!("/proc/{}/environ", pid.as_raw_nonzero()));
        let read = file.and_then(|file| file.take(MOST).read_to_end(&mut environment));
        let mut variables = environment.split(|byte| *byte == 0);
        read.is_ok() && variables.any(|variable| variable.starts_with(marked))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, path::Path, process::Stdio};

    use anyhow::{Result, ensure};

    use super::*;

    /// A process that sleeps in a session of its own, whose parent has ended; its number.
    pub(super) fn sleeper(mark: &Mark, folder: &Path, name: &str) -> Result<u32> {
        let number = folder.join(name);
        let mut command = Command::new("/bin/sh");
        mark.put(&mut command);
        let status = command
            .args([
                "-c",
                "setsid sh -c 'echo $$ > \"$0.new\"; mv \"$0.new\" \"$0\"; exec sleep 300' \"$0\" &",
            ])
            .arg(&number)
            .stdin(Stdio::null())
            .status()?;
        ensure!(status.success(), "{status}");
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !number.exists() {
            ensure!(std::time::Instant::now() < deadline, "it does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(fs::read_to_string(number)?.trim().parse()?)
    }

    /// A process that has ended may wait to be asked how.
    pub(super) fn runs(pid: u32) -> bool {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let state = status.lines().find(|line| line.starts_with("State:"));
        state.is_some_and(|state| !state.contains('Z') && !state.contains('X'))
    }

    #[test]
    fn what_is_left_behind_is_ended_and_nothing_else() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (first, second) = (Mark::new(), Mark::new());
        let one = sleeper(&first, folder.path(), "one")?;
        let two = sleeper(&first, folder.path(), "two")?;
        let other = sleeper(&second, folder.path(), "other")?;
        drop(first);
        assert!(!runs(one) && !runs(two));
        assert!(runs(other), "it is another's");
        drop(second);
        assert!(!runs(other));
        Ok(())
    }
}
