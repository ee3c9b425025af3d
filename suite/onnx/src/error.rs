//! The error of whoever reads a graph or executes one.

use std::fmt;

/// The result of reading a graph, or of executing one.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The graph asks for something valid that is not implemented.
    Unsupported,
    /// The file is malformed, or what executes it failed.
    Engine,
    /// Tensors that were given do not fit the graph.
    Input,
}

/// A failure with its causes, outermost first. Its [`Display`](fmt::Display) tells all of them, so that it
/// has no [`source`](std::error::Error::source).
///
/// `?` makes it of the errors of the standard library; those of other libraries become one by
/// [`EngineResult::engine`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    pub kind: ErrorKind,
    /// The message and its causes; never empty.
    pub chain: Vec<String>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            chain: vec![message.to_string()],
        }
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
            chain,
        }
    }

    /// Puts a sentence that says what was attempted in front of the causes.
    #[must_use]
    pub fn context(mut self, message: impl fmt::Display) -> Self {
        self.chain.insert(0, message.to_string());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain.join(": "))
    }
}

impl std::error::Error for Error {}

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
    std::io::Error,
    std::num::ParseIntError,
    std::num::TryFromIntError,
);

/// What the functions of other libraries return.
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

#[cfg(feature = "probe")]
impl From<Error> for firstpass_probe::Error {
    fn from(Error { kind, chain }: Error) -> Self {
        let kind = match kind {
            ErrorKind::Unsupported => firstpass_probe::ErrorKind::Unsupported,
            ErrorKind::Engine => firstpass_probe::ErrorKind::Engine,
            ErrorKind::Input => firstpass_probe::ErrorKind::Input,
        };
        let mut error = Self::new(kind, "");
        error.chain = chain;
        error
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
            f.write_str("outer: inner")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn causes_are_told_outermost_first() {
        let failed = || Err::<(), _>(Outer(io::Error::other("why")));
        let error = failed().engine().expect_err("it failed");
        let error = error.context("cannot do it");
        assert_eq!(error.kind, ErrorKind::Engine);
        assert_eq!(error.to_string(), "cannot do it: outer: inner: why");
        assert!(error.source().is_none());
    }

    #[cfg(feature = "probe")]
    #[test]
    fn a_probe_says_the_same() {
        for kind in [ErrorKind::Unsupported, ErrorKind::Engine, ErrorKind::Input] {
            let error = Error::new(kind, "why").context("what");
            let said = firstpass_probe::Error::from(error.clone());
            assert_eq!(format!("{:?}", said.kind), format!("{kind:?}"));
            assert_eq!(said.chain, error.chain);
        }
    }
}
