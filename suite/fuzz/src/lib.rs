//! What the fuzz targets share. Each gives arbitrary bytes to one reader of what others wrote: it may
//! refuse them in words, and may neither panic nor take more memory than the bytes justify.

use std::path::{Path, PathBuf};

use firstpass_harness::user_model::Signature;
use firstpass_probe::TensorSpec;
use tempfile::TempDir;

/// A folder of this process for files that are read by their path.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// # Panics
    /// Where there is no room for files: nothing can be tried then.
    pub fn new() -> Self {
        // In memory where the system has such a place: it is written thousands of times a second.
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() {
            TempDir::new_in(memory)
        } else {
            TempDir::new()
        };
        Self(made.expect("a temporary folder"))
    }

    /// Replaces the file `name`.
    ///
    /// # Panics
    /// As [`Folder::new`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        path
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

/// The inputs of a model; those of unknown rank are small pictures, and lengths that are left open are 1.
pub fn inputs(signature: &Signature) -> Vec<TensorSpec> {
    let inputs = signature.inputs.iter().map(|declared| {
        let lengths = declared.lengths.as_ref();
        TensorSpec {
            name: declared.name.clone(),
            shape: lengths.map_or_else(
                || vec![1, 3, 8, 8],
                |lengths| lengths.iter().map(|l| *l.as_ref().unwrap_or(&1)).collect(),
            ),
            dtype: declared.dtype,
        }
    });
    inputs.collect()
}
