//! Reading what a process writes without being woken by each line.
//!
//! A write to a pipe on which a reader sleeps also wakes the reader: 20 µs and more for the writer
//! where the other core has to be fetched from its rest, and a core less for the passes meanwhile. A
//! reader that looks now and then lets the writer find nobody waiting.

use std::{
    io::{BufReader, Read, Result},
    os::fd::AsFd,
    time::Duration,
};

/// How long lines may gather; a process is heard to its end by so much later.
const REST: Duration = Duration::from_millis(20);

/// What a pipe is to hold, in bytes: thousands of messages. This much any user may ask for.
pub(crate) const CAPACITY: usize = 1 << 20;

/// What a process writes to a pipe, read some milliseconds after it was written.
pub(crate) struct PollingReader<R>(R);

impl<R: AsFd> PollingReader<R> {
    pub(crate) fn new(pipe: R) -> Self {
        // A system that gives no more makes a process that passes thousands of times a second wait
        // for its reader between two passes.
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, CAPACITY);
        Self(pipe)
    }
}

impl<R: Read> PollingReader<R> {
    /// With a buffer that takes at once whatever has gathered.
    pub(crate) fn buffered(self) -> BufReader<Self> {
        BufReader::with_capacity(CAPACITY, self)
    }
}

impl<R: Read> Read for PollingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        std::thread::sleep(REST);
        self.0.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::BufRead,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn every_line_arrives() -> Result<()> {
        // More than a pipe holds by itself, in lines.
        let mut child = Command::new("seq")
            .arg("100000")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::NotFound)?;
        let lines = PollingReader::new(stdout).buffered().lines();
        let lines: Vec<String> = lines.collect::<Result<_>>()?;
        assert_eq!(lines.len(), 100_000);
        assert_eq!(lines.last().map(String::as_str), Some("100000"));
        assert!(child.wait()?.success());
        Ok(())
    }
}
