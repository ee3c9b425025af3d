//! What a process writes to standard error.
//!
//! It goes through a pipe and is kept in memory, the end of it only: nothing of it lies on a disk, and a process
//! that goes on writing after its reader has gone, even by `SIGKILL`, is ended by the system.

use std::{
    io::Read,
    process::ChildStderr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use crate::polling_reader::{CAPACITY, PollingReader};

/// So much of standard error is kept, in bytes.
const KEPT: usize = 4096;

/// How long is waited for the last words of a process that has ended. They are there already, unless a process that it
/// has left behind holds the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Standard error of a process, while it is read.
pub(crate) struct StandardError {
    shared: Arc<Shared>,
    /// Is heard from when all is read.
    end: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    written: AtomicU64,
    kept: Mutex<Vec<u8>>,
    /// Nobody wants to know more.
    is_over: AtomicBool,
}

impl StandardError {
    /// Begins to read.
    pub(crate) fn of(stderr: Option<ChildStderr>) -> Self {
        let shared = Arc::new(Shared::default());
        let (sender, end) = mpsc::channel();
        if let Some(stderr) = stderr {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                shared.gather(PollingReader::new(stderr));
                // The receiver is gone where nobody waits.
                let _ = sender.send(());
            });
        }
        Self { shared, end }
    }

    /// How many bytes were written so far.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// The end of what was written by a process that has ended.
    pub(crate) fn tail(&self) -> String {
        // Either all is read, or what is still written is of another process.
        let _ = self.end.recv_timeout(LAST_WORDS);
        let kept = self.shared.kept();
        String::from_utf8_lossy(&kept).into_owned()
    }
}

impl Drop for StandardError {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Reads until the end, or until nobody wants to know more.
    fn gather(&self, mut stderr: impl Read) {
        let mut buffer = vec![0; CAPACITY];
        while let Ok(read) = stderr.read(&mut buffer) {
            if read == 0 || self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let new = &buffer[..read];
            self.written.fetch_add(read as u64, Ordering::Relaxed);
            let mut kept = self.kept();
            kept.extend_from_slice(&new[read.saturating_sub(KEPT)..]);
            let surplus = kept.len().saturating_sub(KEPT);
            kept.drain(..surplus);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use anyhow::Result;

    use super::*;

    fn shell(script: &str) -> Result<(Child, StandardError)> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = StandardError::of(child.stderr.take());
        Ok((child, stderr))
    }

    #[test]
    fn the_end_is_kept_and_all_is_counted() -> Result<()> {
        let (mut child, stderr) = shell("seq 1000000 >&2; echo the end >&2")?;
        child.wait()?;
        let tail = stderr.tail();
        assert_eq!(tail.len(), KEPT);
        assert!(tail.ends_with("1000000\nthe end\n"), "{tail}");
        assert_eq!(stderr.written(), 6_888_896 + 8);
        Ok(())
    }

    #[test]
    fn a_process_that_is_left_behind_holds_nothing_up() -> Result<()> {
        let (mut child, stderr) = shell("echo here >&2; sleep 15 &")?;
        child.wait()?;
        let began = std::time::Instant::now();
        assert_eq!(stderr.tail(), "here\n");
        assert!(began.elapsed() < Duration::from_secs(5));
        Ok(())
    }

    #[test]
    fn who_writes_when_nobody_reads_is_ended() -> Result<()> {
        let (mut child, stderr) = shell("exec yes >&2")?;
        while stderr.written() == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(stderr);
        let status = child.wait()?;
        assert!(!status.success(), "{status}");
        Ok(())
    }
}
