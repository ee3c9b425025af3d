//! Standard output reserved for messages.

use std::{borrow::Borrow, fs::File, io::Write};

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

    #[cfg(test)]
    pub(crate) fn to(file: File) -> Self {
        Self(file)
    }

    /// Writes one line and flushes it, so that a crash loses nothing that was observed before it.
    pub(crate) fn send(&mut self, message: &Message) -> Result<()> {
        self.send_all([message])
    }

    /// Writes one line each, all of them at once.
    pub(crate) fn send_all<M: Borrow<Message>>(
        &mut self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<()> {
        let mut lines = Vec::new();
        for message in messages {
            serde_json::to_writer(&mut lines, message.borrow())?;
            lines.push(b'\n');
        }
        self.0.write_all(&lines)?;
        Ok(())
    }
}
