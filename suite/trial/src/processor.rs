//! Processors that this machine does not have: a probe runs under an emulator of them, for its outputs and never
//! for its times.

use std::{ffi::OsString, process::Command};

use anyhow::{Context, Result, ensure};

use crate::engine::Backend;

/// Emulates a processor for one program (Debian's and Ubuntu's package qemu-user).
const EMULATOR: &str = "qemu-x86_64";

/// Common names, and what the emulator calls such a processor where it can emulate all that it has.
const KNOWN: [(&str, &str); 4] = [
    // Without AVX: SSE4.2.
    ("nehalem", "Nehalem"),
    // With AVX2 and FMA, without AVX-512 and VNNI.
    ("haswell", "Haswell-noTSX"),
    ("skylake", "Skylake-Client-noTSX-IBRS"),
    ("zen3", "EPYC-Milan"),
];

/// A processor to emulate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processor {
    name: String,
    model: String,
}

impl Processor {
    /// A processor by a common name, such as `haswell`, or by that of the emulator.
    ///
    /// # Errors
    /// Fails where there is no emulator, or it knows no such processor.
    pub fn named(name: &str) -> Result<Self> {
        let output = Command::new(EMULATOR)
            .args(["-cpu", "help"])
            .output()
            .with_context(|| {
                format!("cannot run {EMULATOR}, which emulates other processors: install qemu-user")
            })?;
        let all = String::from_utf8_lossy(&output.stdout).into_owned();
        let common = KNOWN.iter().find(|(common, _)| *common == name);
        let model = common.map_or(name, |(_, model)| model);
        // `x86 Haswell-noTSX         (alias of Haswell-v2)`
        let is_known = all
            .lines()
            .any(|line| line.split_whitespace().nth(1) == Some(model));
        ensure!(
            is_known && !model.is_empty(),
            "{EMULATOR} emulates no processor {name:?}; give {}, or one that `{EMULATOR} -cpu help` lists",
            KNOWN.map(|(name, _)| name).join(", ")
        );
        Ok(Self {
            name: name.to_lowercase(),
            model: model.into(),
        })
    }

    /// The same engine on this processor, as `NAME@PROCESSOR`.
    pub fn of(&self, engine: &Backend) -> Backend {
        Backend {
            name: format!("{}@{}", engine.name, self.name),
            processor: Some(self.clone()),
            ..engine.clone()
        }
    }

    /// What precedes the program and its arguments.
    pub(crate) fn launcher(&self) -> Vec<OsString> {
        [EMULATOR, "-cpu", &self.model].map(OsString::from).to_vec()
    }

    /// Its name, as the user has given it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With an emulator or without one.
    #[test]
    fn a_processor_that_nobody_emulates_is_an_error() {
        for name in ["no-such-processor", "", "-cpu"] {
            assert!(Processor::named(name).is_err(), "{name:?}");
        }
    }
}
