//! What can go wrong.

use std::{convert::Infallible, fmt};

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// What failed and what to do next, in words.
///
/// A test that returns it shows these words: [`Debug`](fmt::Debug) prints what
/// [`Display`](fmt::Display) does.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Which kind of thing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something that you gave is not as it must be: an input, a limit, a number, a name, a file.
    Invalid,
    /// There is no figure: an engine cannot run the model, has no steady state, or ran too rarely.
    NotMeasured,
    /// A figure is above its limit.
    AboveLimit,
    /// Outputs are not those that they are compared with.
    OtherOutputs,
    /// There is nothing that outputs could be compared with.
    NothingToCompare,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn not_measured(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotMeasured, message)
    }

    /// Which kind of thing failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// For [`Check::input`](crate::Check::input), which takes an [`InputSpec`](crate::InputSpec) as it is.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
