//! The record of what was installed, by which it is found again and damage is noticed.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::digest::{self, Fingerprint};

const FILE: &str = "installed.json";

/// The installed files by their paths, with slashes.
pub(crate) type Files = BTreeMap<String, Fingerprint>;

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Stamp {
    pub pins: String,
    pub files: Files,
}

impl Stamp {
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        fs::write(&path, serde_json::to_vec(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads the stamp of an installed library, made from the same pins.
    pub fn read(directory: &Path, pins: &str) -> Result<Self> {
        let path = directory.join(FILE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let stamp: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not as expected", path.display()))?;
        ensure!(
            stamp.pins == pins,
            "what lies in {} was made from other pins than native.toml names now",
            directory.display()
        );
        Ok(stamp)
    }

    /// Checks that every file exists and has its size.
    pub fn check_sizes(&self, directory: &Path) -> Result<()> {
        for (path, Fingerprint { bytes, .. }) in &self.files {
            let path = directory.join(path);
            let found =
                fs::metadata(&path).with_context(|| format!("cannot find {}", path.display()))?;
            ensure!(
                found.is_file() && found.len() == *bytes,
                "{} has {} bytes where {bytes} were installed",
                path.display(),
                found.len()
            );
        }
        Ok(())
    }

    /// Checks that every file holds what was installed.
    pub fn check_contents(&self, directory: &Path) -> Result<()> {
        self.check_sizes(directory)?;
        for (path, installed) in &self.files {
            let path = directory.join(path);
            let found = digest::of_file(&path, &ProgressBar::hidden())?;
            ensure!(
                found == *installed,
                "{} is not what was installed",
                path.display()
            );
        }
        Ok(())
    }
}
