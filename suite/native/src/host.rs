//! The machine and the environment that a library is looked for in.

use std::{
    collections::BTreeMap,
    env::{self, consts},
    ffi::OsString,
};

/// The platform and the environment variables that decide where a library comes from.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) os: String,
    pub(crate) arch: String,
    /// `None`: those of this process.
    variables: Option<BTreeMap<String, OsString>>,
}

impl Host {
    /// This machine, with the environment of this process.
    pub fn current() -> Self {
        Self {
            os: consts::OS.into(),
            arch: consts::ARCH.into(),
            variables: None,
        }
    }

    /// A machine described by Rust's names of its system and processor, with these variables and
    /// no others.
    pub fn new(os: &str, arch: &str, variables: &[(&str, OsString)]) -> Self {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()));
        Self {
            os: os.into(),
            arch: arch.into(),
            variables: Some(variables.collect()),
        }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        match &self.variables {
            Some(variables) => variables.get(name).cloned(),
            None => env::var_os(name),
        }
    }
}
