//! Standard output reserved for messages.

use std::{fs::File, io::Write};

use nix::unistd;

use crate::{Message, Result};

/// The probe's standard output, out of reach of the engine.
pub(crate) struct Channel(File);

impl Channel {
    /// Takes standard output away from everything else in this process: what an engine prints
    /// there from now on goes to standard error, C and C++ libraries included.
    pub(crate) fn reserve_stdout() -> Result<Self> {
        let messages = unistd::dup(std::io::stdout())?;
        unistd::dup2_stdout(std::io::stderr())?;
        Ok(Self(File::from(messages)))
    }

    /// Writes one line and flushes it, so that a crash loses nothing that was observed before it.
    pub(crate) fn send(&mut self, message: &Message) -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.write_all(&line)?;
        Ok(())
    }
}
