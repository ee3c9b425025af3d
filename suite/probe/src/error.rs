//! The one error type of backends and probes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of a step of a backend.
pub type Result<T> = std::result::Result<T, Error>;

/// The step in which a probe failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Request,
    Start,
    Describe,
    Load,
    Prepare,
    WarmUp,
    Pass,
    Inspect,
    Profile,
    Activations,
    Output,
}

/// What kind of failure it is; a reader of a report acts differently on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The engine is not on this machine, or in a version that cannot be used.
    Unavailable,
    /// The engine, or this backend, cannot do what was asked.
    Unsupported,
    /// The engine tried and failed.
    Engine,
    /// What was given to the probe is not usable: a request, a tensor file, a pixel.
    Input,
}

/// A failure with its causes, outermost first.
///
/// Like `anyhow::Error` it does not implement [`std::error::Error`], so that `?` converts every
/// other error into it (as [`ErrorKind::Engine`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub kind: ErrorKind,
    /// Set by the probe, which knows what it was doing.
    pub phase: Option<Phase>,
    /// The message and its causes; never empty.
    pub chain: Vec<String>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            phase: None,
            chain: vec![message.to_string()],
        }
    }

    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    pub fn unsupported(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub fn engine(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Engine, message)
    }

    pub fn input(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Puts a sentence that says what was attempted in front of the causes.
    #[must_use]
    pub fn context(mut self, message: impl fmt::Display) -> Self {
        self.chain.insert(0, message.to_string());
        self
    }

    pub(crate) fn in_phase(mut self, phase: Phase) -> Self {
        self.phase.get_or_insert(phase);
        self
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut chain = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors repeat their cause in their own message.
            if chain.last() != Some(&text) {
                chain.push(text);
            }
            source = cause.source();
        }
        Self {
            kind: ErrorKind::Engine,
            phase: None,
            chain,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Engine => "engine error",
            ErrorKind::Input => "unusable input",
        };
        match self.phase {
            Some(Phase::WarmUp) => write!(f, "{kind} in warm-up: ")?,
            Some(phase) => write!(f, "{kind} in {}: ", format!("{phase:?}").to_lowercase())?,
            // Not from a probe: the words say what is wrong, of a file for example.
            None => {}
        }
        f.write_str(&self.chain.join(": "))
    }
}
