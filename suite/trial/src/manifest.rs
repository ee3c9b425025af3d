//! `fixtures/manifest.toml`: the checksum of every committed artifact.
//!
//! A TorchScript file is executable content, so nothing is loaded before its checksum agrees.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_native::sha256_of_file;
use serde::Deserialize;

use crate::workspace::read_toml;

/// The checksums of the committed fixtures.
#[derive(Debug, Clone)]
pub struct Manifest {
    root: PathBuf,
    files: HashMap<PathBuf, Entry>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// Where there are no fixtures at all, as beside installed engines, nothing is listed.
    ///
    /// # Errors
    /// Fails where `manifest.toml` cannot be read.
    pub fn read(fixtures: &Path) -> Result<Self> {
        if !fixtures.exists() {
            return Ok(Self {
                root: fixtures.into(),
                files: HashMap::new(),
            });
        }
        #[derive(Deserialize)]
        struct Document {
            file: Vec<Entry>,
        }
        let document: Document = read_toml(&fixtures.join("manifest.toml"))?;
        Ok(Self {
            root: fixtures.into(),
            files: document
                .file
                .into_iter()
                .map(|entry| (entry.path.clone(), entry))
                .collect(),
        })
    }

    /// Checks one file below the fixtures folder.
    ///
    /// # Errors
    /// Fails where the file is not listed, is missing, or is not the one that was committed.
    pub fn verify(&self, path: &Path) -> Result<()> {
        let canonical = path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?;
        let root = self.root.canonicalize()?;
        let relative = canonical
            .strip_prefix(&root)
            .with_context(|| format!("{} is not below {}", path.display(), root.display()))?;
        let Some(entry) = self.files.get(relative) else {
            bail!(
                "{} is not listed in {}; it is not loaded",
                path.display(),
                self.root.join("manifest.toml").display()
            );
        };
        let bytes = std::fs::metadata(path)?.len();
        ensure!(
            bytes == entry.bytes && sha256_of_file(path)? == entry.sha256,
            "{} is not the file that manifest.toml lists ({bytes} bytes, expected {}, or another \
             sha256); it is not loaded. Restore it with `git checkout -- {}`",
            path.display(),
            entry.bytes,
            Path::new("fixtures").join(relative).display()
        );
        Ok(())
    }

    /// Checks every listed file.
    ///
    /// # Errors
    /// As [`Manifest::verify`], for the first file that fails.
    pub fn verify_all(&self) -> Result<()> {
        self.files
            .keys()
            .try_for_each(|path| self.verify(&self.root.join(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixtures(content: &[u8], listed: &[u8]) -> Result<(tempfile::TempDir, Manifest)> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("model.pt");
        std::fs::write(&path, listed)?;
        let sha256 = sha256_of_file(&path)?;
        std::fs::write(&path, content)?;
        std::fs::write(
            dir.path().join("manifest.toml"),
            format!(
                "[[file]]\npath = \"model.pt\"\nbytes = {}\nsha256 = \"{sha256}\"\n",
                listed.len()
            ),
        )?;
        let manifest = Manifest::read(dir.path())?;
        Ok((dir, manifest))
    }

    #[test]
    fn accepts_what_was_committed() -> Result<()> {
        let (_dir, manifest) = fixtures(b"weights", b"weights")?;
        manifest.verify_all()
    }

    #[test]
    fn refuses_one_flipped_bit() -> Result<()> {
        let (dir, manifest) = fixtures(b"wdights", b"weights")?;
        let error = manifest.verify_all().expect_err("must be refused");
        assert!(error.to_string().contains("not loaded"), "{error}");
        assert!(error.to_string().contains("model.pt"), "{error}");
        drop(dir);
        Ok(())
    }

    #[test]
    fn refuses_a_truncated_and_a_missing_file() -> Result<()> {
        let (dir, manifest) = fixtures(b"weig", b"weights")?;
        assert!(manifest.verify_all().is_err());
        std::fs::remove_file(dir.path().join("model.pt"))?;
        assert!(manifest.verify_all().is_err());
        Ok(())
    }

    #[test]
    fn refuses_a_file_that_is_not_listed() -> Result<()> {
        let (dir, manifest) = fixtures(b"weights", b"weights")?;
        let other = dir.path().join("other.pt");
        std::fs::write(&other, b"x")?;
        let error = manifest.verify(&other).expect_err("must be refused");
        assert!(error.to_string().contains("not listed"), "{error}");
        Ok(())
    }
}
