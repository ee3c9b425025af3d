//! The one error type of backends and probes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of a step of a backend.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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

/// A failure with its causes, outermost first. Its [`Display`](fmt::Display) tells all of them, so that it
/// has no [`source`](std::error::Error::source).
///
/// `?` makes it of the errors of the standard library; those of other libraries become one by
/// [`EngineResult::engine`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Error {
    pub kind: ErrorKind,
    /// Set by the probe, which knows what it was doing.
    pub phase: Option<Phase>,
    /// The message and its causes; never empty.
    pub chain: Vec<String>,
}

impl std::error::Error for Error {}

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

    /// What a library says, with its causes, as [`ErrorKind::Engine`].
    pub fn caused_by(error: &dyn std::error::Error) -> Self {
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

    /// Puts a sentence that says what was attempted in front of the causes.
    #[must_use]
    pub fn context(mut self, message: impl fmt::Display) -> Self {
        self.chain.insert(0, message.to_string());
        self
    }

    /// The same failure as one of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same failure in this step, where it has none yet.
    #[must_use]
    pub fn in_phase(mut self, phase: Phase) -> Self {
        self.phase.get_or_insert(phase);
        self
    }
}

macro_rules! from_errors {
    ($($type:ty),* $(,)?) => {
        $(impl From<$type> for Error {
            fn from(error: $type) -> Self {
                Self::caused_by(&error)
            }
        })*
    };
}

from_errors!(
    nix::errno::Errno,
    safetensors::SafeTensorError,
    serde_json::Error,
    std::io::Error,
    std::num::ParseIntError,
    std::num::TryFromIntError,
);

/// What the functions of an engine, and of other libraries, return.
pub trait EngineResult<T> {
    /// The same with an [`Error`] of the kind [`ErrorKind::Engine`].
    ///
    /// # Errors
    /// Where it is one already.
    fn engine(self) -> Result<T>;
}

impl<T, E: std::error::Error> EngineResult<T> for std::result::Result<T, E> {
    fn engine(self) -> Result<T> {
        self.map_err(|error| Error::caused_by(&error))
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

#[cfg(test)]
mod tests {
    use std::{error::Error as _, io};

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn causes_are_told_once() {
        let failed = || Err::<(), _>(Outer(io::Error::other("inner")));
        let error = failed().engine().expect_err("it failed");
        assert_eq!(error.kind, ErrorKind::Engine);
        assert_eq!(error.chain, ["outer", "inner"]);
        let error = error.context("cannot do it").in_phase(Phase::Load);
        // Whoever follows sources as well, as anyhow does, tells nothing twice.
        assert_eq!(
            error.to_string(),
            "engine error in load: cannot do it: outer: inner"
        );
        assert!(error.source().is_none());
        let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
        assert!(boxed.downcast_ref::<Error>().is_some());
    }

    #[test]
    fn question_marks_convert_what_the_standard_library_says() {
        fn number(text: &str) -> Result<u8> {
            Ok(u8::try_from(text.parse::<i64>()?)?)
        }
        assert_eq!(number("7"), Ok(7));
        for wrong in ["seven", "700"] {
            assert_eq!(number(wrong).map_err(|e| e.kind), Err(ErrorKind::Engine));
        }
    }
}
